"""The optax peers: under the dialect that the rule names, a factory computes what they do and continues their state."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import RULES, Doors, field, gradients
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.targets.jax.target import names_in_optax
from optloom.spec.declarations import Peer

PEERS = [(name, peer) for name in RULES for peer in discover()[name].peers if peer.ecosystem == "optax"]
OTHER_SIGN = ("optax.rmsprop",)
"""Its trace is of what is added, ours of what is taken off: only the run from the start is compared."""
EXTRA = {
    "optax.sgd": {"momentum": 0.9},
    "optax.rmsprop": {"momentum": 0.5},
    "optax.adafactor": {"learning_rate": 0.5},  # above 1/sqrt(t), which its dialect does not cap it at
}


def function(peer: Peer) -> Callable[..., Any]:
    module, _, name = peer.path.rpartition(".")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def meetings() -> list[Any]:
    """Every rule with every peer that is made of numbers (and not of other optimizers)."""
    taken = {peer.path: inspect.signature(function(peer)).parameters for _, peer in PEERS}
    made_of_numbers = [(name, peer) for name, peer in PEERS if argument(peer, "learning_rate") in taken[peer.path]]
    return [pytest.param(name, peer, id=peer.path) for name, peer in made_of_numbers]


def argument(peer: Peer, name: str) -> str:
    return peer.names.get(name, name)


def arguments(name: str, peer: Peer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of ours and of the peer's: its own defaults, and for ours its dialect."""
    program = program_for(discover()[name], "jax")
    names = names_in_optax(program)
    theirs: dict[str, Any] = {argument(peer, "learning_rate"): 0.1}
    ours: dict[str, Any] = {}
    signature = inspect.signature(function(peer))
    for hyper in program.hypers:
        parameter = signature.parameters.get(names[hyper.name])
        if parameter is not None and isinstance(parameter.default, float):
            ours[names[hyper.name]] = parameter.default
    extra = EXTRA.get(peer.path, {})
    dialect = {names[option]: value for option, value in peer.dialect.items() if option in names}
    return ours | theirs | extra | dialect, theirs | extra | peer.settings


def extra_arguments(name: str, peer: Peer, step: int) -> dict[str, float]:
    """What the rule takes beside gradients: numbers that change."""
    program = program_for(discover()[name], "jax")
    return {argument(peer, source.name): 1 + step / 8 for source in program.inputs}


@pytest.mark.parametrize(("name", "peer"), meetings())
def test_dialects_and_states_of_peers(name: str, peer: Peer, rendered: Callable[..., Doors]) -> None:
    """Ten steps from the start; ten from the peer's state after its first five; in float64, within rounding.

    A state that lacks one of our slots is refused; where it has no count, this is set by hand. A peer that computes
    otherwise gives its state alone: that it does is seen where rules are compared with it.
    """
    ours, theirs = arguments(name, peer)
    doors = rendered(name)
    names = names_in_optax(doors.program)
    known = {slot for other in doors.program.peers if other.ecosystem == "optax" for slot in other.slots}
    with jax.enable_x64(True):
        params = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(5, 3))), "b": jnp.ones(4)}
        peers = function(peer)(**theirs)
        optimizer = doors.factory(**ours)
        expected, state = params, peers.init(params)
        moved, own = params, optimizer.init(params)
        held = {slot.name for slot in doors.program.slots if field(own, names[slot.name]) is not None}
        taken, adopted = params, None
        for seed in range(15):
            grads, extra = gradients(params, seed), extra_arguments(name, peer, seed)
            updates, state = peers.update(grads, state, expected, **extra)
            expected = optax.apply_updates(expected, updates)
            updates, own = optimizer.update(grads, own, moved, **extra)
            moved = optax.apply_updates(moved, updates)
            if adopted is not None:
                updates, adopted = optimizer.update(grads, adopted, taken, **extra)
                taken = optax.apply_updates(taken, updates)
            if seed == 4 and held - known:
                with pytest.raises(ValueError, match="is found 0 times"):
                    doors.module.adopt_state(optimizer.init(params), state)
            elif seed == 4 and peer.path not in OTHER_SIGN:
                taken, adopted = expected, doors.module.adopt_state(optimizer.init(params), state)
                adopted = (adopted[0]._replace(count=own[0].count), *adopted[1:])
        for made in () if "step" in peer.otherwise else (moved,) if adopted is None else (moved, taken):
            for x, y in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-6 if peer.in_float32 else 1e-11, atol=1e-13)
