from __future__ import annotations

from optloom.codegen.ir.nodes import Fn
from optloom.codegen.passes.legalise import legalise
from optloom.spec.rule import Rule
from programs import RULES, lines, program_before, same

CONTRACTED = frozenset({(Fn.ADD, Fn.MUL), (Fn.SUB, Fn.MUL), (Fn.DIV, Fn.SQRT)})


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "legalise")
    assert same(before, legalise(before, strict=True, nestings=CONTRACTED))


def test_strict_marks_the_nestings_of_the_target() -> None:
    program = legalise(program_before(RULES["adagrad"], "legalise", "own"), strict=True, nestings=CONTRACTED)
    assert lines(program)[1:] == [
        "w = w - exact([weight_decay_times_learning_rate] * w)    if weight_decay given",
        "accumulator <- old(accumulator) + g**2",
        "accumulated_gradient <- 0    if gradient_accumulation_steps given",
        "w <- w - [learning_rate] * g / exact(sqrt(accumulator + [epsilon]))",
    ]


def test_a_name_stands_for_the_operation_that_made_it() -> None:
    sums = frozenset({(Fn.ADD, Fn.ADD), (Fn.DIV, Fn.SUB)})
    program = legalise(program_before(RULES["adagrad"], "legalise", "own"), strict=True, nestings=sums)
    assert lines(program)[2] == "accumulator <- old(accumulator) + g**2"
    assert lines(program)[-1] == "w <- w - [learning_rate] * g / sqrt(exact(accumulator) + [epsilon])"


def test_fast_marks_nothing() -> None:
    before = program_before(RULES["adagrad"], "legalise", "own")
    assert legalise(before, strict=False, nestings=CONTRACTED).regions == before.regions
