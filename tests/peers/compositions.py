"""What the tests of compositions share: a rule with stages runs beside its peer, around which the same was put by hand.

The peer's own means do it: each ecosystem has functions, or arguments, for most of what stages do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from parity import Meeting, State, class_of, gradients, meetings, start

NUMBERS: dict[str, dict[str, float]] = {
    "adam": {"beta_1": 0.875, "beta_2": 0.9375, "epsilon": 2.0**-10}, "sgd": {"momentum": 0.75}
}  # fmt: skip
"""The rules, with numbers that no framework rounds."""
PAIRED = "adam"
"""The rule that stages are combined around; others have each alone."""
RATE = 0.125
ALONE: tuple[dict[str, Any], ...] = (
    {"loss_scale_factor": 8.0}, {"gradient_accumulation_steps": 3}, {"clipvalue": 0.5}, {"clipnorm": 0.5},
    {"global_clipnorm": 0.5}, {"weight_decay": 0.125}, {"use_ema": True, "ema_momentum": 0.75},
    {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 2},
)  # fmt: skip
CLIPS = ("clipvalue", "clipnorm", "global_clipnorm")
AVERAGE = "weight_average"
"""Our slot of the moving average."""


def combined() -> Iterator[dict[str, Any]]:
    """Each stage alone, each pair that can be set together, and all with each way to clip."""
    yield from ALONE
    for one, other in combinations(ALONE, 2):
        if not one.keys() & other.keys() and len([name for name in CLIPS if name in {**one, **other}]) < 2:
            yield {**one, **other}
    everything = {name: value for settings in ALONE for name, value in settings.items()}
    for chosen in CLIPS:
        yield {name: value for name, value in everything.items() if name not in CLIPS or name == chosen}


def cases(ecosystem: str, why_not: Callable[[Meeting, Mapping[str, Any]], str]) -> list[Any]:
    """The parameters of a test. `why_not`: what the composition computes otherwise, if anything: the test must fail."""
    made = []
    for meeting in meetings(ecosystem):
        if meeting.name not in NUMBERS or meeting.peer.path.rpartition(".")[2].lower() != meeting.name:
            continue
        for stages in combined() if meeting.name == PAIRED else ALONE:
            reason = why_not(meeting, stages)
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            named = " ".join(name for name in stages if name not in ("use_ema", "ema_momentum") or len(stages) == 2)
            made.append(pytest.param(meeting, stages, id=f"{meeting.peer.path} {named}", marks=marks))
    return made


def ours(meeting: Meeting, stages: Mapping[str, Any]) -> Iterator[State]:
    """The parameters, and their average if one is kept, after each call of the rule with stages."""
    parameters = start()
    optimizer = class_of(meeting)(parameters, learning_rate=RATE, **NUMBERS[meeting.name], **stages)
    for tensors in gradients():
        optimizer.step(tensors)
        state: State = {"w": [w.copy() for w in parameters]}
        if stages.get("use_ema"):
            state[AVERAGE] = [slots.weight_average.copy() for slots in optimizer.slots]
        yield state


def calls(stages: Mapping[str, Any]) -> Iterator[tuple[list[np.ndarray], bool, bool]]:
    """By hand: the unscaled mean of the gradients since the last update; whether it is time for an update, and whether
    the average is to overwrite the weights then."""
    every = stages.get("gradient_accumulation_steps") or 1
    overwrite = stages.get("ema_overwrite_frequency") or len(gradients()) + 1
    gathered: list[list[np.ndarray]] = []
    updates = 0
    for tensors in gradients():
        gathered.append([g / stages.get("loss_scale_factor", 1) for g in tensors])
        is_update = len(gathered) == every
        updates += is_update
        mean = [sum(parts) / every for parts in zip(*gathered, strict=True)]
        yield mean, is_update, is_update and updates % overwrite == 0
        gathered = [] if is_update else gathered
