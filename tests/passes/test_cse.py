from __future__ import annotations

from optloom.codegen.ir.verify import verify
from optloom.codegen.passes.cse import cse
from optloom.codegen.passes.hoist import hoist
from optloom.codegen.passes.numerics import numerics
from optloom.spec import Hyper, Option, Rule, Slot, Value, sqrt, where
from programs import frozen, lines, program_before, same, scalar_lines


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "cse")
    assert same(before, cse(before))


class Twice(Rule):
    """A dear scalar and a dear tensor expression, both written twice; a cheap one too."""

    b = Hyper(0.5, ge=0, lt=1)
    m = Slot("moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = g * sqrt(1 - self.b**t) * (1 / (1 - self.b**t)) + sqrt(g * g + w)
        return w - sqrt(g * g + w) - g * w - g * w


def test_what_is_dear_is_shared_and_what_is_cheap_is_not() -> None:
    program = cse(hoist(numerics(frozen(Twice))))
    assert scalar_lines(program) == [
        "one_minus_power_of_b = 1 - b**t",
        "root_of_one_minus_power_of_b = sqrt(one_minus_power_of_b)",
        "inverse_one_minus_power_of_b = 1 / one_minus_power_of_b",
    ]
    assert lines(program) == [
        "root_of_g_times_g_plus_w = sqrt(g * g + w)",
        "m <- g * [root_of_one_minus_power_of_b] * [inverse_one_minus_power_of_b] + root_of_g_times_g_plus_w",
        "w <- w - root_of_g_times_g_plus_w - g * w - g * w",
    ]


class Branches(Rule):
    """The same under two guards of which neither holds wherever the other does; and everywhere."""

    fancy = Option(False)
    other = Option(False)
    m = Slot("moment", when=fancy)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = g
        both = where(self.other, sqrt(where(self.fancy, self.m * g + w, g)), where(self.fancy, self.m * g + w, g))
        return w - both - where(self.fancy, sqrt(w * g + w), sqrt(w * g + w) + g) - sqrt(w * g + w)


def test_what_exists_under_a_guard_is_not_taken_out_of_it() -> None:
    program = verify(cse(hoist(numerics(frozen(Branches)))), "cse")
    assert [line for line in lines(program) if "=" in line and "<-" not in line] == [
        "root_of_w_times_g_plus_w = sqrt(w * g + w)"
    ]
    assert lines(program)[-1].count("m * g + w") == 2
