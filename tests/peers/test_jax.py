"""Each rule in the dialect of its optax peer computes what the peer does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optloom.codegen.ir.nodes import Kind, Ref
from parity import SHAPES, Meeting, Numbers, State, cases, check, gradients, inputs, ours, rate, start

RENAMED = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps"}
OFF = {"weight_decay": 0.0}
"""What means the same as None."""


def argument(meeting: Meeting, name: str) -> str:
    return meeting.peer.names.get(name, RENAMED.get(name, name))


def accepts(meeting: Meeting, name: str) -> bool:
    return argument(meeting, name) in meeting.signature()


def arguments(meeting: Meeting, given: Numbers) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in given.items():
        made[argument(meeting, name)] = OFF.get(name) if value is None else value
    base = float(given["learning_rate"] or 0)
    starts_state = any(slot.init == Ref(Kind.HYPER, "learning_rate") for slot in meeting.program.slots)
    if starts_state or not meeting.rate_falls:
        return made  # no schedule is taken there
    rates = jnp.array([rate(base, step) for step in range(len(gradients()))])
    return made | {"learning_rate": lambda count: rates[count]}


def fields(state: Any, name: str) -> Iterator[Any]:
    """The fields called `name`, wherever in the state they are."""
    if hasattr(state, "_fields"):
        for field in state._fields:
            if field == name:
                yield getattr(state, field)
            else:
                yield from fields(getattr(state, field), name)
    elif isinstance(state, tuple):
        for part in state:
            yield from fields(part, name)


def theirs(meeting: Meeting, given: Numbers) -> Iterator[State]:
    parameters = [jnp.asarray(w) for w in start()]
    optimizer = meeting.theirs()(**arguments(meeting, given), **meeting.peer.settings)
    state = optimizer.init(parameters)
    update = jax.jit(optimizer.update)
    for step, tensors in enumerate(gradients()):
        extra = {meeting.peer.names.get(name, name): value for name, value in inputs(meeting, step).items()}
        updates, state = update([jnp.asarray(g) for g in tensors], state, parameters, **extra)
        parameters = [w + u for w, u in zip(parameters, updates, strict=True)]
        kept: State = {"w": [np.array(w) for w in parameters]}
        for slot, name in meeting.kept(given).items():
            for value in fields(state, name):
                value = value if isinstance(value, list) else [value] * len(SHAPES)
                assert len(value) == len(SHAPES)
                kept[slot] = [np.array(part) for part in value]
        yield kept


@pytest.mark.parametrize(("meeting", "given"), cases("optax", accepts))
def test_a_rule_in_its_peers_dialect_is_the_peer(meeting: Meeting, given: Numbers) -> None:
    with jax.enable_x64(True):
        unit = 2.0 ** (-24 if meeting.peer.in_float32 else -53)
        check(ours(meeting, given), theirs(meeting, given), unit)
