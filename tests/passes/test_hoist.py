from __future__ import annotations

import pytest
from optloom.codegen.ir.verify import IllegalProgram, verify
from optloom.codegen.passes.hoist import hoist
from optloom.spec import Hyper, Option, Rule, Slot, Value, norm, where
from programs import RULES, frozen, lines, program_before, same, scalar_lines


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "hoist")
    assert same(before, hoist(before))


def test_tensor_statements_hold_no_scalar_arithmetic(rule: type[Rule]) -> None:
    verify(hoist(program_before(rule, "hoist")), "hoist")


def test_the_verifier_refuses_what_is_not_hoisted() -> None:
    with pytest.raises(IllegalProgram, match=r"not hoisted .*\.py:\d+"):
        verify(program_before(RULES["adam"], "hoist"), "hoist")


class Scaled(Rule):
    """Scalars under guards, a value per tensor."""

    lr = Hyper(0.1, ge=0)
    decay = Hyper(None, ge=0)
    fast = Option(False)
    m = Slot("moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = where(self.decay.given, g + self.decay * self.lr * w, g)
        return w - self.lr * where(self.fast, 2 * self.lr, self.lr) * norm(g) * self.m


class InBothBranches(Rule):
    """A value per tensor in two branches, and again under no guard."""

    lr = Hyper(0.1, ge=0)
    decay = Hyper(None, ge=0)
    fast = Option(False)
    m = Slot("moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        inner = where(self.decay.given, g * (self.decay * norm(w)), g * (norm(w) + norm(g)))
        self.m = where(self.fast, g / (norm(w) + norm(g)), inner)
        return w - self.lr * self.m * where(self.fast, self.decay_or_norm(w), norm(w) + norm(g))

    def decay_or_norm(self, w: Value) -> Value:
        return where(self.decay.given, self.decay * norm(w), 1)


def test_a_value_that_several_branches_share_is_computed_where_any_of_them_is() -> None:
    before = frozen(InBothBranches)
    program = verify(hoist(before), "hoist")
    assert same(before, program)
    shared = "root_of_sum_of_squared_w_plus_root_of_sum_of_squared_g = "
    made = [line for line in lines(program) if line.startswith(shared)]
    assert made == [f"{shared}sqrt(total(w**2, over=tensor)) + sqrt(total(g**2, over=tensor))"]


def test_scalars_are_named_in_order_and_keep_their_guards() -> None:
    program = hoist(frozen(Scaled))
    assert scalar_lines(program) == [
        "decay_times_lr = decay * lr    if decay given",
        "lr_times_two_times_lr_if_fast = lr * (2 * lr if fast else lr)",
    ]
    assert lines(program) == [
        "m <- g + [decay_times_lr] * w if decay given else g",
        "lr_times_two_times_lr_if_fast_times_root_of_sum_of_squared_g"
        " = [lr_times_two_times_lr_if_fast] * sqrt(total(g**2, over=tensor))",
        "w <- w - lr_times_two_times_lr_if_fast_times_root_of_sum_of_squared_g * m",
    ]
