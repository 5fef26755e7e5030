"""The optax peers: under the dialect that the rule names, a factory computes what they do and continues their state."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import RULES, Doors, gradients
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.targets.jax.target import names_in_optax
from optloom.spec.declarations import Peer

PEERS = [(name, peer) for name in RULES for peer in discover()[name].peers if peer.ecosystem == "optax"]
OTHER_SIGN = ("optax.rmsprop",)
"""Its trace is of what is added, ours of what is taken off: only the run from the start is compared."""
EXTRA = {"optax.sgd": {"momentum": 0.9}, "optax.rmsprop": {"momentum": 0.5}}


def arguments(name: str, peer: Peer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of ours and of the peer's: its own defaults, and for ours its dialect."""
    program = program_for(discover()[name], "jax")
    names = names_in_optax(program)
    theirs: dict[str, Any] = {"learning_rate": 0.1}
    ours: dict[str, Any] = {}
    signature = inspect.signature(getattr(optax, peer.path.removeprefix("optax.")))
    for hyper in program.hypers:
        parameter = signature.parameters.get(names[hyper.name])
        if parameter is not None and isinstance(parameter.default, float):
            ours[names[hyper.name]] = parameter.default
    extra = EXTRA.get(peer.path, {})
    dialect = {names[option]: value for option, value in peer.dialect.items() if option in names}
    return ours | theirs | extra | dialect, theirs | extra


@pytest.mark.parametrize(("name", "peer"), PEERS, ids=[peer.path for _, peer in PEERS])
def test_dialects_and_states_of_peers(name: str, peer: Peer, rendered: Callable[..., Doors]) -> None:
    """Ten steps from the start; ten from the peer's state after its first five; in float64, within rounding."""
    ours, theirs = arguments(name, peer)
    doors = rendered(name)
    with jax.enable_x64(True):
        params = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(5, 3))), "b": jnp.ones(4)}
        peers = getattr(optax, peer.path.removeprefix("optax."))(**theirs)
        optimizer = doors.factory(**ours)
        expected, state = params, peers.init(params)
        moved, own = params, optimizer.init(params)
        taken, adopted = params, None
        for seed in range(15):
            grads = gradients(params, seed)
            updates, state = peers.update(grads, state, expected)
            expected = optax.apply_updates(expected, updates)
            updates, own = optimizer.update(grads, own, moved)
            moved = optax.apply_updates(moved, updates)
            if adopted is not None:
                updates, adopted = optimizer.update(grads, adopted, taken)
                taken = optax.apply_updates(taken, updates)
            if seed == 4 and peer.path not in OTHER_SIGN:
                taken, adopted = expected, doors.module.adopt_state(optimizer.init(params), state)
        for made in (moved,) if adopted is None else (moved, taken):
            for x, y in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)
