"""Stochastic rounding by whole numbers and fractions alone, which shares no code with what is tested."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from optloom.codegen.conformance.protocol import Dtype


def word(t: int, index: int) -> int:
    """The random bits of an element in update t."""

    def mixed(x: int) -> int:
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            x = (x ^ x >> shift) * factor % 2**32
        return x

    key = mixed((mixed(t % 2**32) + t // 2**32) % 2**32)
    return mixed(index % 2**32 ^ mixed((key + index // 2**32) % 2**32))


def rounded(x: Fraction, dtype: Dtype, bits: int) -> Fraction:
    """x, below the greatest number of `dtype`, rounded by the leading ones of 32 random bits."""
    digits, least = (11, -24) if dtype == "float16" else (8, -133)
    spacing = Fraction(2) ** max(int(np.frexp(float(abs(x)))[1]) - digits, least)
    chance = Fraction(bits >> (8 + digits), 2 ** (24 - digits))
    return (1 if x > 0 else -1) * (abs(x) / spacing + chance).__floor__() * spacing
