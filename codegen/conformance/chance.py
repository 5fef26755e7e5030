"""Stochastic rounding, for the oracle: the random bits in Python's integers, and what they make of exact numbers.

Update t and the row-major index i of an element in its tensor, both whole numbers below 2**64, key a word of 32 bits:

    mixed(low(i) ^ mixed(key(t) + high(i))),  key(t) = mixed(mixed(low(t)) + high(t)),  all modulo 2**32

where low and high are the halves of 32 bits, and `mixed` is lowbias32 (Wellons 2018, "Prospecting for hash functions").
Its leading bits count in units of the last place of the compute dtype, float32: 16 for bfloat16, 13 for float16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .exact import DECIDED_EITHER_WAY, OVERFLOWED, Numbers, Part, numbers
from .formats import FORMATS, Format, Wide, power_of_two

WORD = 2**32 - 1


def mixed(x: int) -> int:
    """A bijection of 32-bit words, each of whose bits hangs on all bits of `x`."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


def key(t: int) -> int:
    """The word that keys update `t`."""
    return mixed((mixed(t & WORD) + (t >> 32)) & WORD)


def word(t: int, index: int) -> int:
    """The random word of one element in update `t`."""
    return mixed((index & WORD) ^ mixed((key(t) + (index >> 32)) & WORD))


_WORD = np.frompyfunc(word, 2, 1)


def rounded(part: Part, steps: Numbers, form: Format) -> Part:
    """`part`, of shape (calls, *tensor), as code may store it in `form` in update `steps` (of each call).

    Its error is 0, unless that of `part` reaches a number that is rounded otherwise.
    """
    shape = part.near.shape[1:]
    t = np.array([int(step) for step in steps], object).reshape(-1, *(1,) * len(shape))
    index = np.arange(np.prod(shape, dtype=int)).astype(object).reshape(shape)
    words = np.asarray(_WORD(t, index), np.uint32)
    draw = _drawn(words >> np.uint32(32 - (FORMATS["float32"].digits - form.digits)), form)
    near, least, most = draw(part.near), draw(part.near - part.error), draw(part.near + part.error)
    unsure = ~((least == most) | np.isnan(near))
    span = np.where(unsure, np.maximum(most - near, near - least), 0)
    known = np.isfinite(part.error) & ~np.isnan(span)
    near, unsure = np.broadcast_to(near, words.shape), np.broadcast_to(unsure, words.shape)
    infinite = unsure & np.isinf(span) | (np.isinf(near) & np.isfinite(part.near))
    flags = part.flags | np.where(unsure, DECIDED_EITHER_WAY, np.uint8(0)) | np.where(infinite, OVERFLOWED, np.uint8(0))
    value = numbers(near) if part.value.dtype == object else near
    error = np.broadcast_to(np.where(known, span, np.inf), words.shape)
    return Part(value, near, np.asarray(error, np.longdouble), np.asarray(flags, np.uint8))


def _drawn(chance: Any, form: Format) -> Callable[[Wide], Wide]:
    """Rounding to `form` by `chance`, whole numbers below 2**dropped: it does not decrease. From the greatest number of
    `form` on it is to nearest."""
    dropped = FORMATS["float32"].digits - form.digits
    largest = power_of_two(form.top + 1) * (1 - form.roundoff)

    def draw(x: Wide) -> Wide:
        size = np.abs(x)
        inside = size < largest
        spacing = form.spacing(np.where(inside, size, 1))
        units = np.rint(np.where(inside, size, 0) / spacing * power_of_two(dropped)) + chance
        near = np.floor(units / power_of_two(dropped)) * spacing
        beyond = np.where(size < form.overflow, largest, np.inf)
        return np.asarray(np.where(np.isnan(x), x, np.copysign(np.where(inside, near, beyond), x)), np.longdouble)

    return draw
