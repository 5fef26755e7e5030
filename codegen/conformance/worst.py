"""What the worst element of a judgement was computed from, so that anybody can compute it again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import Question
from .judge import Judgement, hexadecimal
from .oracle import Batch
from .protocol import Array


def with_case(
    judgement: Judgement, question: Question, batch: Batch, part: str, calls: NDArray[np.int64] | None = None
) -> Judgement:
    """`judgement` of `batch`, its worst element with the numbers that it was made from. `part` may name the call."""
    worst = judgement.worst
    if worst is None:
        return judgement
    tensor, call, index = worst.place
    number = None if calls is None else int(calls[call]) + 1
    arrays = {"w": batch.parameters, "g": batch.gradients, **batch.slots}
    found = {name: _element(parts, tensor, call, index) for name, parts in arrays.items()}
    given = question.given
    case = {
        "part": part.format(number),
        "numbers": question.case.name,
        "inputs": {name: hexadecimal(value) for name, value in found.items() if value is not None},
        "shape": list(batch.parameters[tensor].shape[1:]),
        "index": list(index),
        "hyperparameters": {
            name: value if isinstance(value, int) else hexadecimal(value)
            for name, value in given.hypers.items() if value is not None
        },
        "options": dict(given.options),
    }  # fmt: skip
    judgement.worst = replace(worst, case=case)
    return judgement


def _element(parts: list[Array], tensor: int, call: int, index: tuple[int, ...]) -> Any:
    """The element of one array at `index`, or the one that is broadcast to it; None where there is no such one."""
    array = parts[tensor % len(parts)]
    values = array[min(call, len(array) - 1)]
    if values.ndim not in (0, len(index)) or not values.size:
        return None
    if values.ndim == 0:
        return values[()]
    place = tuple(0 if size == 1 else at for at, size in zip(index, values.shape, strict=True))
    fits = all(at < size for at, size in zip(place, values.shape, strict=True))
    return values[place] if fits else None
