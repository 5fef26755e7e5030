"""What a target computed, against what the oracle expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .corpus import ORDINARY
from .exact import DECIDED_EITHER_WAY
from .formats import FORMATS, Wide
from .oracle import Dtypes, Expected, Outcome
from .protocol import Array, Snapshot, numpy_dtype

LIMIT = 2.0
"""Errors up to twice the bound pass: room for fused multiply-add and for other orders of the same sum."""
SCATTER_LIMIT = 2.5
"""Errors of all ordinary elements together (root mean square) may be this many times what random rounding makes.
A formula that is off by a few units everywhere is seen here, where each element alone would pass."""
ENOUGH = 24
"""Fewer elements say nothing about all."""


FINEST, COARSEST = -16, 15
"""The histogram's bins: errors from 2**k to 2**(k + 1) ULP; the ends hold what is beyond them, exact results too."""


@dataclass(frozen=True)
class Worst:
    """The element that is off the most, in units of its bound. `place`: tensor, call and index in the batch judged.

    `expected`: the oracle's digits, as many as are sure. `case`: what it was computed from (see `worst`).
    """

    element: str
    output: str
    step: int
    actual: str
    expected: str
    bound: float
    ratio: float
    place: tuple[int, int, tuple[int, ...]]
    case: dict[str, Any] | None = None


@dataclass
class Judgement:
    """Many elements. Medians are over ordinary inputs whose bound is known, in ULP of the output's dtype."""

    ratio: float = 0.0
    worst: Worst | None = None
    scatter: float = 0.0
    """Root mean square of errors in units of their spread: the largest of one output and call, over ordinary inputs."""
    elements: int = 0
    unbounded: int = 0
    """Elements about which nothing is known (their bound is infinite)."""
    decided_either_way: int = 0
    complaints: list[str] = field(default_factory=list)
    """Shapes, dtypes and counts that are wrong."""
    bounds_in_ulp: list[Wide] = field(default_factory=list)
    errors_in_ulp: list[Wide] = field(default_factory=list)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(COARSEST - FINEST + 1, np.int64))
    """How many errors lie in each bin (see FINEST)."""
    _scattered: dict[tuple[str, int], list[Wide]] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        return self.ratio <= LIMIT and self.scatter <= SCATTER_LIMIT and not self.complaints

    def add(
        self,
        output: str,
        actual: Array,
        expected: Expected,
        steps: NDArray[np.int64],
        ids: tuple[str, ...],
        tensor: int = 0,
    ) -> None:
        """All calls of one output of one tensor; the first axis is the call."""
        if actual.shape != expected.head.shape:
            self.complaints.append(f"{output}: shape {actual.shape[1:]}, expected {expected.head.shape[1:]}")
            return
        signed = signed_errors(actual, expected)
        ratio = ratios(np.abs(signed), actual, expected)
        known = np.isfinite(expected.bound)
        self.elements += ratio.size
        self.unbounded += int((~known).sum())
        self.decided_either_way += int(((expected.flags & DECIDED_EITHER_WAY) > 0).sum())
        if ratio.size and ratio.max() > self.ratio:
            self.ratio = float(ratio.max())
            at = np.unravel_index(int(ratio.argmax()), ratio.shape)
            whole = actual[0].size == len(ids) > 1
            element = ids[int(np.ravel_multi_index(at[1:], actual.shape[1:]))] if whole else next(iter(ids), "")
            place = tensor, int(at[0]), tuple(map(int, at[1:]))
            digits, bound = _digits(expected, at), float(expected.bound[at])
            self.worst = Worst(
                element, output, int(steps[at[0]]), hexadecimal(actual[at]), digits, bound, self.ratio, place
            )
        self._add_ulps(output, actual, expected, signed, ids)

    def _add_ulps(self, output: str, actual: Array, expected: Expected, signed: Wide, ids: tuple[str, ...]) -> None:
        """Medians; and errors in units of their spread, where they are not mainly the rounding of the result itself."""
        if actual[0].size != len(ids):
            return
        size = np.abs(expected.head)
        ordinary = np.array([name.partition("/")[0] in ORDINARY for name in ids], np.bool_).reshape(actual.shape[1:])
        mask = np.broadcast_to(ordinary, actual.shape)
        mask = mask & np.isfinite(expected.bound) & np.isfinite(expected.head) & (expected.bound > 0)
        form = FORMATS[actual.dtype.name]
        spacing = form.spacing(size)
        with np.errstate(invalid="ignore"):
            self.bounds_in_ulp.append((expected.bound / spacing)[mask])
            self.errors_in_ulp.append((np.abs(signed) / spacing)[mask])
            self.histogram += _bins(self.errors_in_ulp[-1])
            telling = mask & (expected.bound > 3 * form.roundoff * size) & np.isfinite(signed)
        if expected.spread is None:
            return
        telling = telling & np.isfinite(expected.spread) & (expected.spread > 0) & (expected.flags == 0)
        for call, chosen in enumerate(telling):
            shares = signed[call][chosen] / expected.spread[call][chosen]
            self._scattered.setdefault((output, call), []).append(shares)

    def settle(self) -> Judgement:
        """Measures scatter, when all tensors have been added."""
        for parts in self._scattered.values():
            shares = np.concatenate(parts)
            if shares.size >= ENOUGH:
                self.scatter = max(self.scatter, float(np.sqrt(np.mean(np.square(shares)))))
        self._scattered.clear()
        return self

    def merge(self, other: Judgement) -> None:
        if other.ratio > self.ratio:
            self.ratio, self.worst = other.ratio, other.worst
        self.scatter = max(self.scatter, other.scatter)
        self.elements += other.elements
        self.unbounded += other.unbounded
        self.decided_either_way += other.decided_either_way
        self.complaints += [text for text in other.complaints if text not in self.complaints]
        self.bounds_in_ulp += other.bounds_in_ulp
        self.errors_in_ulp += other.errors_in_ulp
        self.histogram = self.histogram + other.histogram

    def median_bound(self) -> float:
        return _median(self.bounds_in_ulp)

    def median_error(self) -> float:
        return _median(self.errors_in_ulp)

    def largest_error(self) -> float:
        return max((float(part.max()) for part in self.errors_in_ulp if part.size), default=0.0)


def _median(parts: list[Wide]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(values)) if values.size else 0.0


def signed_errors(actual: Array, expected: Expected) -> Wide:
    """actual - expected, exact to far below a unit in the last place; NaN where either is not finite."""
    with np.errstate(invalid="ignore"):
        return np.asarray((actual.astype(np.longdouble) - expected.head) - expected.tail)


def errors(actual: Array, expected: Expected) -> Wide:
    return np.asarray(np.abs(signed_errors(actual, expected)))


def ratios(error: Wide, actual: Array, expected: Expected) -> Wide:
    """Sizes of errors in units of their bounds: 0 where nothing is known, infinite for a wrong infinity or NaN."""
    finite = np.isfinite(expected.head)
    with np.errstate(all="ignore"):
        number = actual.astype(np.float64)
        same = (number == expected.head) | (np.isnan(number) & np.isnan(expected.head))
        measured = np.where(error > 0, error / expected.bound, np.where(np.isnan(error), np.inf, 0))
    ratio = np.where(finite & np.isfinite(number), measured, np.where(same, 0, np.inf))
    return np.asarray(np.where(np.isinf(expected.bound), 0, ratio))


def _bins(sizes: Wide) -> NDArray[np.int64]:
    """How many of `sizes`, in ULP, lie in each bin of the histogram."""
    known = sizes[np.isfinite(sizes)]
    exponents = np.where(known > 0, np.frexp(known)[1] - 1, FINEST)
    clipped = np.clip(exponents, FINEST, COARSEST) - FINEST
    return np.bincount(clipped.astype(np.int64), minlength=COARSEST - FINEST + 1)


def hexadecimal(value: Any) -> str:
    """A float's exact text, `0x1.8p-3`."""
    return float(value).hex()


def _digits(expected: Expected, at: Any) -> str:
    """`head + tail`: some 32 digits."""
    head, tail = float(expected.head[at]), float(expected.tail[at])
    if not np.isfinite(head):
        return str(head)
    with localcontext() as context:
        context.prec = 32
        return f"{Decimal(head) + Decimal(tail):e}"


def pairs(
    actual: list[Snapshot], outcome: Outcome, ids: list[tuple[str, ...]], dtypes: Dtypes
) -> Iterator[tuple[str, Array, Expected, tuple[str, ...], int] | str]:
    """The outputs of one snapshot per call beside what is expected of them, and their tensors' numbers; a complaint
    where they do not fit."""
    yield from _outputs("w", [snapshot.parameters for snapshot in actual], list(outcome.parameters), ids, dtypes[0])
    for name, parts in outcome.slots.items():
        if any(name not in snapshot.slots for snapshot in actual):
            yield f"slot {name} is missing"
            continue
        yield from _outputs(name, [snapshot.slots[name] for snapshot in actual], parts, ids, dtypes[1][name])


def _outputs(
    name: str, calls: list[list[Array]], parts: list[Expected | None], ids: list[tuple[str, ...]], dtype: str
) -> Iterator[tuple[str, Array, Expected, tuple[str, ...], int] | str]:
    if any(len(arrays) != len(parts) for arrays in calls):
        yield f"{name}: {len(calls[0])} arrays, expected {len(parts)}"
        return
    for index, expected in enumerate(parts):
        if expected is None:
            continue
        arrays = [np.asarray(call[index]) for call in calls]
        if arrays[0].dtype != numpy_dtype(dtype):
            yield f"{name}: dtype {arrays[0].dtype}, expected {dtype}"
        elif any(array.shape != arrays[0].shape for array in arrays):
            yield f"{name}: shapes differ from call to call"
        else:
            yield name, np.stack(arrays), expected, ids[index], index


def judge(
    actual: list[Snapshot],
    outcome: Outcome,
    steps: NDArray[np.int64],
    ids: list[tuple[str, ...]],
    dtypes: Dtypes,
) -> Judgement:
    """One snapshot per call of the outcome."""
    judgement = Judgement()
    for found in pairs(actual, outcome, ids, dtypes):
        if isinstance(found, str):
            judgement.complaints.append(found)
        else:
            name, array, expected, names, tensor = found
            judgement.add(name, array, expected, steps, names, tensor)
    for snapshot, step in zip(actual, steps, strict=True):
        updates, skipped = step - outcome.is_skipped, int(outcome.is_skipped)
        if (snapshot.updates, snapshot.skipped) != (updates, skipped):
            counted = f"{snapshot.updates} updates and {snapshot.skipped} skipped calls"
            judgement.complaints.append(f"counts {counted}, expected {updates} and {skipped}")
            break
    return judgement.settle()
