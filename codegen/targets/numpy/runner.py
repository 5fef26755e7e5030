"""Runs the generated NumPy optimizers for the conformance suite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ...conformance.protocol import Episode, Job, Mode, Slots, Snapshot, load_module

MODES = (Mode("plain", numerics=("strict",), follows_tree=True),)


def run(job: Job) -> list[list[Snapshot]]:
    """The snapshots of each episode; every episode has an optimizer of its own."""
    optimizer = getattr(load_module(job.file), job.rule)
    return [_episode(optimizer, job, episode) for episode in job.episodes]


def _episode(factory: Any, job: Job, episode: Episode) -> list[Snapshot]:
    parameters = [np.array(w) for w in episode.parameters]
    optimizer = factory(parameters, **job.hypers, **job.options)
    if episode.slots is not None:
        _put(optimizer, episode.slots)
        optimizer.updates, optimizer.calls = episode.updates, episode.calls
    snapshots = []
    for call, gradients in enumerate(episode.gradients):
        extra = episode.inputs[call : call + 1]
        optimizer.step(gradients, *extra)
        skipped = getattr(optimizer, "skipped", 0)
        snapshots.append(Snapshot([w.copy() for w in parameters], _slots(optimizer), optimizer.updates, skipped))
    return snapshots


def _put(optimizer: Any, slots: Slots) -> None:
    scalars = next(iter(getattr(optimizer, "scalar_slots", {}).values()), SimpleNamespace())
    for name, values in slots.items():
        if hasattr(scalars, name):
            setattr(scalars, name, values[0].dtype.type(values[0]))
        else:
            for of_parameter, value in zip(optimizer.slots, values, strict=True):
                if getattr(of_parameter, name) is not None:
                    setattr(of_parameter, name, np.array(value))


def _slots(optimizer: Any) -> Slots:
    kept: Slots = {}
    for scalars in getattr(optimizer, "scalar_slots", {}).values():
        kept |= {name: [np.array(value)] for name, value in vars(scalars).items()}
    names = dict.fromkeys(name for slots in optimizer.slots for name in vars(slots))
    for name in names:
        values = [getattr(slots, name, None) for slots in optimizer.slots]
        if any(value is not None for value in values):
            kept[name] = [np.zeros(0) if value is None else np.array(value) for value in values]
    return kept
