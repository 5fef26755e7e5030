"""What decides: comparisons, maximum, sign, where. Nothing here rounds.

Where a decision hangs on a value within its own bound of the switch, correct code may go either way: the error then
spans both branches, and the flags say so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .exact import DECIDED_EITHER_WAY, Mask, Part, Truth, made
from .formats import Wide


def compare(name: str, a: Part, b: Part) -> Truth:
    """`less`, `less_equal` or `equal`; false of NaN."""
    holds = _compared(getattr(operator, {"less": "lt", "less_equal": "le", "equal": "eq"}[name]), a, b)
    gap, error = _gap(a, b), a.error + b.error
    return Truth(holds, (gap <= error) & (error > 0))


def both(a: Truth, b: Truth) -> Truth:
    doubtful = (a.doubtful & (b.holds | b.doubtful)) | (b.doubtful & (a.holds | a.doubtful))
    return Truth(a.holds & b.holds, doubtful)


def choose(condition: Truth, a: Part, b: Part) -> Part:
    """`a` where the condition holds, else `b`."""
    near = np.where(condition.holds, a.near, b.near)
    error = np.where(condition.holds, a.error, b.error)
    span = _gap(a, b) + a.error + b.error
    span = np.where(np.isnan(span), np.inf, span)
    doubtful = condition.doubtful & (span > 0)
    flags = np.where(condition.holds, a.flags, b.flags) | np.where(doubtful, DECIDED_EITHER_WAY, np.uint8(0))
    value = np.where(condition.holds, a.value, b.value)
    return Part(value, near, np.asarray(np.where(doubtful, span, error)), np.asarray(flags, np.uint8))


def extremum(name: str, a: Part, b: Part) -> Part:
    """`maximum` or `minimum`: continuous, so that no decision is in doubt; NaN if either is."""
    first = _compared(operator.ge if name == "maximum" else operator.le, a, b)
    near = np.maximum(a.near, b.near) if name == "maximum" else np.minimum(a.near, b.near)
    apart = _gap(a, b) > a.error + b.error
    error = np.where(apart, np.where(first, a.error, b.error), np.maximum(a.error, b.error))
    return made(np.where(first, a.value, b.value), near, error, a, b)


def sign(a: Part) -> Part:
    """-1, 0 or 1."""
    near = np.sign(a.near)
    doubtful = (a.error > 0) & (np.abs(a.near) <= a.error)
    error = np.where(doubtful, np.where(near == 0, 1, 2), 0)
    part = made(np.sign(a.value), near, error, a)
    return Part(part.value, near, part.error, part.flags | np.where(doubtful, DECIDED_EITHER_WAY, np.uint8(0)))


def _compared(relation: Callable[[Any, Any], Any], a: Part, b: Part) -> Mask:
    """By the exact numbers; by the widest format where either is not finite."""
    finite = np.isfinite(a.near) & np.isfinite(b.near)
    return np.where(finite, np.asarray(relation(a.value, b.value), np.bool_), relation(a.near, b.near))


def _gap(a: Part, b: Part) -> Wide:
    """How far apart two numbers are; 0 for equal infinities."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(a.near == b.near, 0, np.abs(a.near - b.near)))
