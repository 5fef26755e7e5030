from __future__ import annotations

from optloom.codegen.passes.numerics import numerics
from optloom.spec import Hyper, Rule, Slot, Value
from programs import frozen, lines, program_before, same


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "numerics")
    assert same(before, numerics(before))


class Corrected(Rule):
    """A tensor over a scalar, a scalar over a scalar, a power, a root."""

    b = Hyper(0.5, ge=0, lt=1)
    m = Slot("moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = g / (1 - self.b**t)
        self.ratio = self.b / (1 - self.b)
        return w - self.ratio * self.m / g**0.5


def test_the_rewrites() -> None:
    assert lines(numerics(frozen(Corrected))) == [
        "m <- g * (1 / (1 - b**t))",
        "ratio = b / (1 - b)",
        "w <- w - ratio * m / sqrt(g)",
    ]
