"""Floating-point formats, as far as error bounds need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Wide: TypeAlias = NDArray[np.longdouble]
"""Magnitudes and bounds: the widest format of the machine, far finer than what they bound."""


@dataclass(frozen=True)
class Format:
    """A binary format of `digits` bits of precision, whose largest exponent is `top` (numbers below 2**(top + 1))."""

    name: str
    digits: int
    top: int

    @cached_property
    def roundoff(self) -> np.longdouble:
        """The unit roundoff u: rounding to nearest is off by at most u times the number."""
        return power_of_two(-self.digits)

    @cached_property
    def tiny(self) -> np.longdouble:
        """The smallest normal number."""
        return power_of_two(1 - self.top)

    @cached_property
    def half_subnormal(self) -> np.longdouble:
        """Half the smallest subnormal number: what rounding below `tiny` is off by at most."""
        return power_of_two(1 - self.top - self.digits)

    @cached_property
    def overflow(self) -> np.longdouble:
        """Numbers from here on round to infinity."""
        return power_of_two(self.top + 1) * (1 - self.roundoff / 2)

    def nearest(self, numbers: Wide) -> Wide:
        """`numbers`, rounded to nearest, ties to even; not finite where they are not, and past the range as if it had
        no end."""
        spacing = self.spacing(np.abs(numbers))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(np.isfinite(numbers), np.rint(numbers / spacing) * spacing, numbers))

    def spacing(self, magnitude: Any) -> Wide:
        """One unit in the last place at `magnitude` (absolute values; infinities and NaN count as the largest)."""
        size = np.asarray(magnitude, np.longdouble)
        size = np.where(np.isfinite(size), size, power_of_two(self.top))
        exponent = np.frexp(np.maximum(size, self.tiny))[1] - 1
        return np.asarray(np.ldexp(np.longdouble(1), exponent - self.digits + 1))


def power_of_two(exponent: int) -> np.longdouble:
    return np.longdouble(np.ldexp(np.longdouble(1), exponent))


FORMATS = {
    "float16": Format("float16", 11, 15),
    "bfloat16": Format("bfloat16", 8, 127),
    "float32": Format("float32", 24, 127),
    "float64": Format("float64", 53, 1023),
}
