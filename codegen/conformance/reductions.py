"""Sums, largest numbers and matrix products over Parts.

The first axis of every Part is the batch of calls; it is never reduced.

Bounds. A sum of n numbers in a tree, in blocks, or in an accumulator of twice the digits is off by at most
u·(1 + log2 n)·sum|x|, and so, with the probability of 1 - 2·exp(-log2(n)²/2), is a plain running sum of a few hundred
(Higham & Mary 2019, theorem 2.4: the bound grows with the root of n, not with n). The worst case of a running sum,
n·u·sum|x|, would let wrong formulas pass. Errors that are random make u·sqrt(1 + log2 n) of the partial sums, whose
size is the root of the sum of squares where signs are mixed. A sum may also be kept in a wider range: where it leaves
the range of the format on the way, nothing is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .exact import OVERFLOWED, ZERO, Arithmetic, Flags, Part
from .formats import Wide


def total(arithmetic: Arithmetic, a: Part, axis: int | None = None) -> Part:
    """The sum over all axes but the first, or over one of them (kept with length 1)."""
    if axis is None:
        return _summed(arithmetic, a.reshaped((a.near.shape[0], -1)) if a.near.size else _one_zero(a), 1, False)
    return _summed(arithmetic, a, axis if axis < 0 else axis + 1, True)


def largest(a: Part, axis: int) -> Part:
    """The greatest along one of the axes but the first (kept with length 1); NaN if any is. It does not round."""
    axis = axis if axis < 0 else axis + 1
    if not a.near.shape[axis]:
        a = a.each(lambda array: np.zeros((*array.shape[:axis], 1, *array.shape[axis:][1:]), array.dtype))
        a = Part(a.value, a.near - np.inf, a.error, a.flags)
    near = a.near.max(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        up = (a.near + a.error).max(axis=axis, keepdims=True) - near
        down = near - (a.near - a.error).max(axis=axis, keepdims=True)
    unknown = np.where(np.isinf(a.error).any(axis=axis, keepdims=True), np.inf, 0)
    error = np.where(np.isfinite(near), np.maximum(up, down), unknown)
    flags: Flags = np.bitwise_or.reduce(a.flags, axis=axis, keepdims=True)
    least = np.where(np.isneginf(a.near), -np.inf, a.value)
    value = np.where(np.isfinite(near), least.max(axis=axis, keepdims=True), ZERO if a.value.dtype == object else 0)
    return Part(value, near, error, flags)


def join(arithmetic: Arithmetic, parts: list[Part]) -> Part:
    """The sum of one number per tensor, in the order of the tensors."""
    stacked = Part(*(np.stack(np.broadcast_arrays(*arrays), 1) for arrays in zip(*map(_arrays, parts), strict=True)))
    return _summed(arithmetic, stacked, 1, False)


def matmul(arithmetic: Arithmetic, a: Part, b: Part) -> Part:
    """The product of the last two axes."""
    size_a, size_b = np.abs(a.near), np.abs(b.near)
    near = np.matmul(a.near, b.near)
    carried = np.matmul(size_a, b.error) + np.matmul(a.error, size_b + b.error)
    terms = np.matmul(size_a, size_b)
    length = a.near.shape[-1]
    steps = _steps(length) + 1
    rounding = steps * arithmetic.format.roundoff * terms + length * arithmetic.format.half_subnormal
    flags = np.bitwise_or.reduce(a.flags, axis=-1, keepdims=True) | np.bitwise_or.reduce(
        b.flags, axis=-2, keepdims=True
    )
    value = np.matmul(a.value, b.value)
    partial = np.maximum(np.abs(near), np.sqrt(np.matmul(np.square(size_a), np.square(size_b))))
    typical = np.sqrt(steps) * arithmetic.format.roundoff * partial
    return arithmetic.rounded(Part(value, near, carried, np.asarray(flags, np.uint8)), rounding, typical)


def transpose(a: Part) -> Part:
    return a.each(lambda array: np.swapaxes(array, -1, -2))


def _arrays(part: Part) -> tuple[Any, ...]:
    return part.value, part.near, part.error, part.flags


def _one_zero(a: Part) -> Part:
    """An empty tensor's sum is 0."""
    shape = (a.near.shape[0], 1)
    value = np.full(shape, ZERO, object) if a.value.dtype == object else np.zeros(shape, np.longdouble)
    return Part(value, np.zeros(shape, np.longdouble), np.zeros(shape, np.longdouble), np.zeros(shape, np.uint8))


def _steps(length: int) -> float:
    return 1 + float(np.log2(max(length, 1)))


def _summed(arithmetic: Arithmetic, a: Part, axis: int, keep: bool) -> Part:
    near = a.near.sum(axis=axis, keepdims=keep)
    size: Wide = np.abs(a.near).sum(axis=axis, keepdims=keep)
    length = a.near.shape[axis]
    rounding = _steps(length) * arithmetic.format.roundoff * size if length > 1 else np.zeros_like(size)
    if arithmetic.flushes:
        rounding = rounding + length * arithmetic.format.tiny
    flags: Flags = np.bitwise_or.reduce(a.flags, axis=axis, keepdims=keep)  # type: ignore[call-overload]
    error = a.error.sum(axis=axis, keepdims=keep)
    error = np.where(~np.isfinite(near) & (flags & OVERFLOWED > 0), np.inf, error)
    part = Part(a.value.sum(axis=axis, keepdims=keep), near, error, flags)
    partial = np.maximum(np.abs(near), np.sqrt(np.square(a.near).sum(axis=axis, keepdims=keep)))
    typical = np.sqrt(_steps(length)) * arithmetic.format.roundoff * partial if length > 1 else np.zeros_like(size)
    return arithmetic.rounded(part, rounding, typical)
