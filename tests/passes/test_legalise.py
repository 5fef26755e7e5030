from __future__ import annotations

from optloom.codegen.ir.nodes import Fn
from optloom.codegen.passes.legalise import legalise
from optloom.spec.rule import Rule
from optloom.spec.stages import Accumulate, Decay
from programs import RULES, lines, program_before, same

CONTRACTED = frozenset({(Fn.ADD, Fn.MUL), (Fn.SUB, Fn.MUL), (Fn.DIV, Fn.SQRT)})


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "legalise")
    assert same(before, legalise(before, strict=True, nestings=CONTRACTED))


def test_strict_marks_the_nestings_of_the_target() -> None:
    program = legalise(
        program_before(RULES["adagrad"], "legalise", "own", (Accumulate, Decay)), strict=True, nestings=CONTRACTED
    )
    assert lines(program)[1:] == [
        "w = w - exact([weight_decay_times_learning_rate] * w)    if weight_decay given",
        "accumulator <- old(accumulator) + g**2",
        "accumulated_gradient <- 0    if gradient_accumulation_steps given",
        "w <- w - [learning_rate] * g / exact(sqrt(accumulator + [epsilon]))",
    ]


def test_a_name_stands_for_the_operation_that_made_it() -> None:
    sums = frozenset({(Fn.ADD, Fn.ADD), (Fn.DIV, Fn.SUB)})
    program = legalise(
        program_before(RULES["adagrad"], "legalise", "own", (Accumulate, Decay)), strict=True, nestings=sums
    )
    assert lines(program)[2] == "accumulator <- old(accumulator) + g**2"
    assert lines(program)[-1] == "w <- w - [learning_rate] * g / sqrt(exact(accumulator) + [epsilon])"


def test_fast_marks_nothing() -> None:
    before = program_before(RULES["adagrad"], "legalise", "own", (Accumulate, Decay))
    assert legalise(before, strict=False, nestings=CONTRACTED).regions == before.regions


def test_strict_scalars_hold_literals_to_all_digits() -> None:
    before = program_before(RULES["nadam"], "legalise", "own", (Accumulate, Decay))
    strict, fast = (str(legalise(before, strict).update.scalars) for strict in (True, False))
    literal = "Literal(value=Fraction(24, 25))"
    assert literal in fast and literal not in strict
    assert (
        "Op(fn=<Fn.DIV: 'div'>, arguments=(Literal(value=Fraction(24, 1)), Literal(value=Fraction(25, 1))))" in strict
    )
