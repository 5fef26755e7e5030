"""Judging a run of many calls: every call from the target's own state before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .inputs import Question
from .judge import Judgement, judge
from .noise import with_spread
from .oracle import Batch, step
from .protocol import Array, Snapshot
from .worst import with_case

EVERY_CALL = ("cube", "scalar")
"""Tensors judged at every call; the others of ordinary numbers at every tenth."""
SELDOM = 10


def judge_run(question: Question, snapshots: list[Snapshot], features: frozenset[str]) -> Judgement:
    """`snapshots`: one per call of `question.run`."""
    judgement = Judgement()
    if len(snapshots) != len(question.run.gradients):
        judgement.complaints.append(f"{len(snapshots)} snapshots of {len(question.run.gradients)} calls")
        return judgement
    every = np.arange(len(snapshots))
    names = [tensor.name for tensor in question.run_tensors]
    often = [index for index, name in enumerate(names) if name in EVERY_CALL]
    seldom = [index for index, name in enumerate(names) if name == "matrix"]
    if "tensors" in features:
        plan = [(list(range(len(names))), every[::SELDOM])]
    else:
        plan = [(often, every), (seldom, every[::SELDOM])]
    for tensors, calls in plan:
        due = (calls + 1) % question.period == 0
        for chosen in (calls[due], calls[~due]):
            if chosen.size:
                judgement.merge(_judged(question, snapshots, tensors, chosen))
    return judgement


def _judged(question: Question, snapshots: list[Snapshot], tensors: list[int], calls: NDArray[np.int64]) -> Judgement:
    """Some tensors at some calls, which the regions treat alike."""
    parts = [question.run_tensors[index] for index in tensors]
    after = [_only(snapshots[call], tensors) for call in calls]
    start = Snapshot(question.run.parameters, question.given.start(question.run.parameters), 0)
    before = [_only(start if call == 0 else snapshots[call - 1], tensors) for call in calls]
    if any(state.slots.keys() != before[0].slots.keys() for state in before):
        return Judgement(complaints=["the slots differ from call to call"])
    batch = Batch(
        [_stacked([state.parameters[i] for state in before]) for i in range(len(tensors))],
        [_stacked([question.run.gradients[call][index] for call in calls]) for index in tensors],
        {
            name: [_stacked([state.slots[name][i] for state in before]) for i in range(len(arrays))]
            for name, arrays in before[0].slots.items()
        },
        calls // question.period,
        calls,
        {
            name: np.array([question.run.inputs[call][name] for call in calls])
            if isinstance(value, float)
            else [_stacked([question.run.inputs[call][name][index] for call in calls]) for index in tensors]
            for name, value in (question.run.inputs[0] if question.run.inputs else {}).items()
        },
    )
    outcome = with_spread(step(question.given, batch), question.given, batch)
    judged = judge(after, outcome, (calls + 1) // question.period, [part.ids for part in parts], question.given.dtypes)
    return with_case(judged, question, batch, f"run, call {{}} of {len(snapshots)}", calls)


def _stacked(arrays: list[Array]) -> Array:
    made: Array = np.stack([np.asarray(array) for array in arrays])
    return made


def _only(snapshot: Snapshot, tensors: list[int]) -> Snapshot:
    """The state of some tensors; slots of the whole optimizer stay."""
    every = len(snapshot.parameters)
    return Snapshot(
        [snapshot.parameters[index] for index in tensors],
        {
            name: [arrays[index] for index in tensors] if len(arrays) == every else arrays
            for name, arrays in snapshot.slots.items()
        },
        snapshot.updates,
        snapshot.skipped,
    )
