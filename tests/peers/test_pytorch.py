"""Each rule in the dialect of its torch peer computes what the peer does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from parity import Meeting, Numbers, State, cases, check, gradients, ours, rate, start

RENAMED = {"learning_rate": "lr", "epsilon": "eps"}
TUPLES = {
    "betas": ("beta_1", "beta_2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_size_min", "step_size_max"),
    "eps": ("epsilon_1", "epsilon_2"),
}  # fmt: skip
"""Numbers that are one argument together."""
OFF = {"weight_decay": 0.0, "momentum_decay": 1.0}
"""What means the same as None."""


def argument(meeting: Meeting, name: str) -> str:
    """The peer's argument for a hyperparameter or option of ours."""
    for together, parts in TUPLES.items():
        if name in parts and set(parts) <= {hyper.name for hyper in meeting.program.hypers}:
            return together
    return meeting.peer.names.get(name, RENAMED.get(name, name))


def arguments(meeting: Meeting, given: Numbers) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value in given.items():
        whole = argument(meeting, name)
        together = tuple(given[part] for part in TUPLES.get(whole, ()) if part in given)
        made[whole] = together or (OFF.get(name) if value is None else value)
    return made


def accepts(meeting: Meeting, name: str) -> bool:
    return argument(meeting, name) in meeting.signature()


@pytest.fixture(autouse=True)
def scalars_of_float64() -> Iterator[None]:
    """NAdam's product of momenta has the default dtype, whatever the parameter's."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(meeting: Meeting, given: Numbers) -> Iterator[State]:
    parameters = [torch.tensor(w, requires_grad=True) for w in start()]
    try:
        optimizer = meeting.theirs()(parameters, **arguments(meeting, given))
    except ValueError as refused:
        pytest.skip(f"the peer does not take this together: {refused}")
    for step, tensors in enumerate(gradients()):
        optimizer.param_groups[0]["lr"] = rate(float(given["learning_rate"] or 0), step)
        for w, g in zip(parameters, tensors, strict=True):
            w.grad = torch.tensor(g)
        optimizer.step()
        state = {"w": [w.detach().numpy().copy() for w in parameters]}
        for slot, name in meeting.slots.items():
            values = [optimizer.state[w].get(name) for w in parameters]
            if all(value is not None for value in values):
                state[slot] = [value.numpy().copy() for value in values]
        yield state


@pytest.mark.parametrize(("meeting", "given"), cases("torch", accepts))
def test_a_rule_in_its_peers_dialect_is_the_peer(meeting: Meeting, given: Numbers) -> None:
    check(ours(meeting, given), theirs(meeting, given))
