from __future__ import annotations

from optloom.codegen.ir.nodes import Kind, Ref, Store, references
from optloom.codegen.passes.hoist import hoist
from optloom.codegen.passes.schedule import schedule
from optloom.spec import Rule, Slot, Value, old
from optloom.spec.stages import Accumulate, Decay
from programs import RULES, frozen, lines, program_before, same


def test_meaning_is_kept(rule: type[Rule]) -> None:
    before = program_before(rule, "schedule")
    assert same(before, schedule(before))


def test_no_old_value_is_read_after_its_store(rule: type[Rule]) -> None:
    for region in schedule(program_before(rule, "schedule")).regions:
        stored: set[str] = set()
        for statement in region.statements:
            assert not {ref.name for ref in references(statement.value) if ref.kind is Kind.BEFORE} & stored
            if isinstance(statement, Store):
                stored.add(statement.slot)


class Extrapolated(Rule):
    """Reads a slot's old value after assigning it."""

    m = Slot("moment")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.m + g
        self.change = self.m - old(self.m)
        return w - self.change - self.m


def test_a_store_waits_for_the_last_reader_of_the_old_value() -> None:
    assert lines(schedule(hoist(frozen(Extrapolated)))) == [
        "new_m = old(m) + g",
        "change = new_m - old(m)",
        "m <- new_m",
        "w <- w - change - m",
    ]


def test_stages_take_over_the_names_of_parameter_and_gradient() -> None:
    program = schedule(program_before(RULES["adagrad"], "schedule", "own", (Accumulate, Decay)))
    assert lines(program)[:2] == [
        "g = old(accumulated_gradient) * [inverse_gradient_accumulation_steps]    if gradient_accumulation_steps given",
        "w = w - [weight_decay_times_learning_rate] * w    if weight_decay given",
    ]
    assert Ref(Kind.LET, "w_1") not in {ref for s in program.update.statements for ref in references(s.value)}
