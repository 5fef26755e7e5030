"""Conventions: what is bound leaves no trace and means what the option said; what is left open is the target's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, compile_rule, dialect_of, render, specialised
from optloom.codegen.dialects import UnknownPeer
from optloom.codegen.ir.evaluate import Run
from optloom.codegen.ir.text import program_text
from optloom.spec import Hyper, Option, Peer, Rule, Slot, Value, where
from programs import program_before, same_stores, state_of


class Heavy(Rule):
    """A rule of which peers have three opinions, and one of them a number more."""

    learning_rate = Hyper(0.5, ge=0)
    damping = Hyper(0.0, ge=0, off=0, convention=True, doc="share of the gradient left out")
    inside = Option(True, convention=True, doc="the velocity carries the learning rate")
    sign_of = Option("old", choices=("old", "new"), convention=True, doc="which of two")
    twice = Option(False, doc="an option that users flip")

    m = Slot("velocity")
    extra = Slot("only some peer has it", when=sign_of.is_("new"))

    peers = (
        Peer("torch.optim.Heavy", arguments=("lr", "damping"), dialect={"inside": False}),
        Peer("optax.heavy", dialect={"sign_of": "new", "twice": True}),
        Peer("keras.optimizers.Heavy"),
    )

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.used = where(self.damping.given, (1 - self.damping) * g, g)
        self.m = self.m + where(self.inside, self.learning_rate * self.used, self.used)
        self.extra = self.m - g
        self.outside = self.learning_rate * self.m
        moved = where(self.inside, self.m, self.outside)
        return w - where(self.twice, 2 * moved, moved) + where(self.sign_of.is_("new"), self.extra, 0)


def names(program: object) -> set[str]:
    return {item.name for group in ("options", "hypers", "slots") for item in getattr(program, group)}


def test_a_bound_convention_leaves_no_trace() -> None:
    program = compile_rule(Heavy)
    assert names(program) >= {"learning_rate", "m", "twice"}
    assert names(program).isdisjoint({"damping", "inside", "sign_of", "extra"})
    text = program_text(program) + "\n".join(program.formula)
    assert not any(word in text for word in ("damping", "inside", "outside", "sign_of", "extra"))
    assert program.formula == ("m = m + learning_rate * g", "w = w - (2 * m if twice else m) + 0")


def test_a_target_keeps_what_its_own_peers_set_otherwise() -> None:
    of_torch, of_optax = (names(compile_rule(Heavy, ecosystem=package)) for package in ("torch", "optax"))
    assert of_torch >= {"damping", "inside"} and of_torch.isdisjoint({"sign_of", "extra"})
    assert of_optax >= {"sign_of", "extra"} and of_optax.isdisjoint({"damping", "inside"})
    assert names(compile_rule(Heavy, ecosystem="keras")) == names(compile_rule(Heavy))
    everything = names(compile_rule(Heavy, settings=Settings(conventions="all")))
    assert everything >= {"damping", "inside", "sign_of", "extra"}
    kept = {o.name for o in compile_rule(Heavy, ecosystem="torch").options if o.convention}
    assert kept == {"inside"}


def test_a_dialect_is_bound_whole_by_the_peers_path() -> None:
    of_torch = compile_rule(Heavy, settings=dialect_of(Heavy, "torch.optim.Heavy"))
    assert "damping" in names(of_torch), "a number that this peer has stays an argument"
    assert names(of_torch).isdisjoint({"inside", "sign_of", "extra"})
    of_optax = compile_rule(Heavy, ecosystem="torch", settings=dialect_of(Heavy, "optax.heavy"))
    assert "extra" in names(of_optax)
    assert names(of_optax).isdisjoint({"damping", "inside", "sign_of", "twice"})
    with pytest.raises(UnknownPeer, match=r"has no peer called 'optax.heavi': did you mean optax.heavy\?"):
        dialect_of(Heavy, "optax.heavi")


def test_a_bound_dialect_means_what_its_options_say(rule: type[Rule]) -> None:
    before = program_before(rule, "specialise")
    for peer in rule.peers:
        bound = specialised(rule, dialect_of(rule, peer.path))
        assert not any(option.convention for option in bound.options)
        options = {option.name: option.default for option in before.options if option.convention} | peer.dialect
        absent = {h.name: h.off for h in before.hypers if h.name not in {hyper.name for hyper in bound.hypers}}
        for variant in range(3):
            state = state_of(before, np.random.default_rng(variant), 3, variant)
            state = replace(state, options={**state.options, **options}, hypers={**state.hypers, **absent})
            runs = [(Run(program, state), program.regions) for program in (before, bound)]
            stored = [[whole.carry_out(region) for region in regions] for whole, regions in runs]
            assert all(same_stores(a, b) for a, b in zip(*stored, strict=True)), (peer.path, variant)


def test_a_file_has_its_targets_conventions_alone() -> None:
    with_decay = {target: render(Heavy, target) for target in ("numpy", "pytorch")}
    assert "inside" not in with_decay["numpy"]["numpy/test_dialects.py"]
    assert "inside: bool = True" in with_decay["pytorch"]["pytorch/test_dialects.py"]
