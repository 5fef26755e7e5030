"""The parts of the language that no rule of ours uses yet, and those that all rest on."""

from __future__ import annotations

from optloom.codegen.compiler import Settings, compile_rule
from optloom.codegen.ir.nodes import Kind, references
from optloom.codegen.ir.text import program_text, statement_text
from optloom.spec import Composition, Hyper, Input, Option, Rule, Slot, Value, norm, old, sign, where
from optloom.spec.guards import And, Flag, Given, Not, conjunction, implies, simplify
from optloom.spec.stages import PIPELINE, Decay


class Polyak(Rule):
    """The loss is an input, and so is a tensor of the parameter's shape."""

    largest = Hyper(1.0, ge=0)
    loss = Input("the loss")
    curvature = Input("a diagonal", shape="parameter")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.length = self.loss / norm(g) ** 2
        return w - self.largest * self.length * g / self.curvature


def test_inputs_reach_the_program() -> None:
    program = compile_rule(Polyak)
    assert [(source.name, source.shape) for source in program.inputs] == [
        ("loss", "scalar"),
        ("curvature", "parameter"),
    ]
    names = {ref.name for s in program.update.statements for ref in references(s.value) if ref.kind is Kind.INPUT}
    assert "curvature" in names


class Formed(Rule):
    """An option with several forms, and the old value of a slot."""

    form = Option("plain", choices=("plain", "sign"))
    m = Slot("momentum")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.m + g
        self.change = self.m - old(self.m)
        return w - where(self.form.is_("sign"), sign(self.change), self.change)


def test_a_form_is_a_guard() -> None:
    last = compile_rule(Formed, settings=Settings(())).update.statements[-1]
    assert statement_text(last) == "w <- w - (sign(change) if form is 'sign' else change)"


class Wrapping(Rule):
    """A rule around another: the inner one's declarations join."""

    share = Hyper(0.5, ge=0, le=1)
    wraps = Formed

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.inside = self.inner(w, g, t)
        return w + self.share * (self.inside - w)


def test_a_wrapped_rule_runs_inside() -> None:
    text = program_text(compile_rule(Wrapping))
    assert "slot m:" in text
    assert "inside = w - (sign(change) if form is 'sign' else change)" in text


class OwnDecay(Rule):
    """Declares the decay stage's hyperparameter: it takes the stage's place."""

    learning_rate = Hyper(0.1, ge=0)
    weight_decay = Hyper(0.1, ge=0)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return w - self.weight_decay * w - self.learning_rate * g


def test_a_stage_exists_only_around_rules_with_what_it_needs() -> None:
    assert Composition(Polyak, PIPELINE).stages == tuple(stage for stage in PIPELINE if stage is not Decay)


def test_a_rule_takes_the_place_of_a_stage_whose_hyperparameter_it_declares() -> None:
    composition = Composition(OwnDecay, PIPELINE)
    assert composition.stages == tuple(stage for stage in PIPELINE if stage is not Decay)
    assert sum("weight_decay" in hyper.name for hyper in composition.hypers) == 1


def test_guards() -> None:
    a, b = Flag("a"), Given("b")
    assert conjunction(a, b, a) == And((a, b))
    assert implies(And((a, b)), a) and not implies(a, And((a, b)))
    assert simplify(And((a, b)), lambda atom: True if atom == a else None) == b
    assert simplify(And((a, b)), lambda atom: False if atom == a else None) is None
    assert simplify(Not(a), lambda atom: False) is not None
