"""Numbers of the oracle: 60 digits, and beside them how far correct floating-point code may be off.

A Part is an array of such numbers. For each it carries
- `value`: the number itself (MPFR's, of 200 bits; anything where it is not finite),
- `near`: the same in the machine's widest format, with IEEE's infinities, NaN and signs of zero,
- `error`: a bound of the error that code computing it in floating point has made so far (Higham 2002, section 3.3:
  each operation adds u|z|, and half the smallest subnormal where its result can be rounded below the normal range),
- `flags`: what happened on the way.

The range of the format is part of the meaning: what overflows is infinite. `Arithmetic` holds the operations.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, TypeAlias

import gmpy2
import numpy as np
from numpy.typing import NDArray

from .formats import Format, Wide, power_of_two

Numbers: TypeAlias = NDArray[Any]
Flags: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]

DIGITS = 200
"""Bits of a number's precision. MPFR through gmpy2 takes 0.15 us for an operation, mpmath 2.3 us, also on gmpy2."""
ZERO = gmpy2.mpfr(0)

DECIDED_EITHER_WAY = np.uint8(1)
"""A decision hung on a value within its own bound of the switch: the error spans both branches."""
OVERFLOWED = np.uint8(2)


@dataclass(frozen=True)
class Part:
    value: Numbers
    near: Wide
    error: Wide
    flags: Flags

    @property
    def ndim(self) -> int:
        return self.near.ndim

    def reshaped(self, shape: tuple[int, ...]) -> Part:
        return self.each(lambda array: array.reshape(shape))

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Part:
        """`change` (of the shape only) applied to every array."""
        return Part(change(self.value), change(self.near), change(self.error), change(self.flags))


@dataclass(frozen=True)
class Truth:
    """A condition for each element, and whether it is within its bound of the switch."""

    holds: Mask
    doubtful: Mask


def precisely() -> AbstractContextManager[Any]:
    """Where the operations of this module run: numbers of 200 bits, whatever precision the caller works in."""
    context: AbstractContextManager[Any] = gmpy2.context(gmpy2.get_context(), precision=DIGITS)
    return context


def number(value: int | float | Fraction) -> Any:
    """`value`, exactly (but for quotients, which are rounded to 200 bits)."""
    return gmpy2.mpfr(gmpy2.mpq(value)) if isinstance(value, Fraction) else gmpy2.mpfr(value, DIGITS)


def numbers(array: Any) -> Numbers:
    """Numbers equal to the finite floats of `array`, 0 for the others."""
    wide = np.asarray(array, np.float64)
    return np.asarray(_NUMBER(np.where(np.isfinite(wide), wide, 0)), object)


_NUMBER = np.frompyfunc(gmpy2.mpfr, 1, 1)


def of_floats(array: NDArray[Any]) -> Part:
    """The exact numbers of an array of any float dtype."""
    return Part(numbers(array), np.asarray(array, np.longdouble), _zeros(array.shape), np.zeros(array.shape, np.uint8))


def of_numbers(values: Numbers) -> Part:
    """Exact finite numbers."""
    return Part(values, to_wide(values), _zeros(values.shape), np.zeros(values.shape, np.uint8))


def to_wide(values: Numbers) -> Wide:
    """`values` in the widest format of the machine, also beyond the range of float64."""
    made = np.empty(values.shape, np.longdouble)
    for index, value in np.ndenumerate(values):
        exponent, fraction = gmpy2.frexp(value)
        head = float(fraction)
        made[index] = np.ldexp(np.longdouble(head) + np.longdouble(float(fraction - head)), exponent)
    return made


def _zeros(shape: tuple[int, ...]) -> Wide:
    return np.zeros(shape, np.longdouble)


def _raised(base: Any, exponent: Any) -> Any:
    if exponent == int(exponent):
        return base ** int(exponent) if base or exponent >= 0 else ZERO
    return base**exponent if base > 0 else ZERO


EXACT_FUNCTIONS: Mapping[str, Any] = {
    "divide": np.frompyfunc(lambda a, b: a / b if b else ZERO, 2, 1),
    "sqrt": np.frompyfunc(lambda a: gmpy2.sqrt(a) if a > 0 else ZERO, 1, 1),
    "exp": np.frompyfunc(gmpy2.exp, 1, 1),
    "log": np.frompyfunc(lambda a: gmpy2.log(a) if a > 0 else ZERO, 1, 1),
    "tanh": np.frompyfunc(gmpy2.tanh, 1, 1),
    "power": np.frompyfunc(_raised, 2, 1),
}
WIDE_FUNCTIONS: Mapping[str, Any] = {
    "divide": np.divide, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "tanh": np.tanh, "power": np.power,
}  # fmt: skip
LIBRARY_ROUNDOFFS = 6
"""Libraries' exp, log, tanh and powers are not correctly rounded: 3 ULP, measured over NumPy, PyTorch, XLA."""


@dataclass(frozen=True)
class Arithmetic:
    """Operations on Parts as code computes them in `format`. `flushes`: subnormal numbers may become zero."""

    format: Format
    flushes: bool = False
    functions: ClassVar[Mapping[str, Any]] = EXACT_FUNCTIONS
    """Of the numbers that this arithmetic computes with; `near` is computed beside them."""

    @property
    def _underflow(self) -> np.longdouble:
        return self.format.tiny if self.flushes else self.format.half_subnormal

    def read(self, array: NDArray[Any]) -> Part:
        """An input: where subnormal numbers are flushed, it may be read as zero."""
        part = of_floats(array)
        if not self.flushes:
            return part
        size = np.abs(part.near)
        return Part(part.value, part.near, np.where(size < self.format.tiny, size, part.error), part.flags)

    def rounded(self, part: Part, rounding: Any = None, typical: Any = None) -> Part:
        """`part` in this format: `rounding` more (one operation's, if None), and infinite where it overflows.

        `typical`: how much it is where errors are random, for a rounding that is the sum of many.
        """
        size = np.abs(part.near)
        if rounding is None:
            rounding = np.where(_is_zero(part), 0, self.format.roundoff * size + self._underflow)
        error = part.error + rounding
        reach = size + error
        if reach.size == 0 or reach.max() < self.format.overflow:
            return Part(part.value, part.near, error, part.flags)
        over = size >= self.format.overflow
        border = np.abs(size - self.format.overflow) <= error
        infinite = over & np.isfinite(part.near)
        near = np.where(over, np.copysign(np.inf, part.near), part.near)
        flags = np.where(infinite | border, part.flags | OVERFLOWED, part.flags)
        return Part(part.value, near, _settled(near, np.where(border, np.inf, error)), flags)

    def kept(self, part: Part) -> Part:
        """`part`, whose numbers are of this format, stored."""
        size = np.abs(part.near)
        lost = np.where(size < self.format.tiny, size, 0) if self.flushes else 0
        return Part(part.value, part.near, part.error + lost, part.flags)

    def stored(self, part: Part) -> Part:
        """What is read again of `part` after it was stored in this format. Which number that is, is known, except where
        the error of `part` spans the middle between two."""
        doubt = part.error + np.abs(part.near) * np.finfo(np.longdouble).eps
        kept, *ends = (self.format.nearest(x) for x in (part.near, part.near - doubt, part.near + doubt))
        error = np.maximum(*(np.abs(end - kept) for end in ends))
        if self.flushes:
            error = np.where(np.abs(kept) < self.format.tiny, np.maximum(error, np.abs(kept)), error)
        finite = np.isfinite(part.near)
        known = Part(numbers(kept), kept, np.where(finite, error, part.error), part.flags)
        return self.rounded(known, np.zeros_like(error))

    def exactly_representable(self, part: Part) -> Mask:
        """Which known numbers this format holds without rounding."""
        limit = power_of_two(self.format.digits)

        def holds(value: Any) -> bool:
            exponent, fraction = gmpy2.frexp(value)
            scaled = fraction * int(limit)
            return bool(scaled == gmpy2.floor(scaled)) and (value == 0 or exponent >= 2 - self.format.top)

        return np.asarray(np.frompyfunc(holds, 1, 1)(part.value), np.bool_)

    def scalar(self, part: Part) -> Part:
        """A step's scalar where it meets a tensor: rounded once, whatever it was computed from."""
        extra = np.where(
            self.exactly_representable(part), 0, self.format.roundoff * np.abs(part.near) + self.format.half_subnormal
        )
        return self.rounded(part, extra)

    def kept_scalar(self, part: Part) -> Part:
        """A step's scalar that a slot keeps, and that further scalars are computed from."""
        return self.scalar(part)

    def add(self, a: Part, b: Part) -> Part:
        return self._sum(operator.add, a, b)

    def subtract(self, a: Part, b: Part) -> Part:
        return self._sum(operator.sub, a, b)

    def _sum(self, combine: Callable[[Any, Any], Any], a: Part, b: Part) -> Part:
        """Sums below the normal range are exact, unless they are flushed; adding zero is exact."""
        near = combine(a.near, b.near)
        rounding = self.format.roundoff * np.abs(near) + (self.format.tiny if self.flushes else 0)
        rounding = np.where(_is_zero(a) | _is_zero(b), 0, rounding)
        return self.rounded(made(combine(a.value, b.value), near, a.error + b.error, a, b), rounding)

    def multiply(self, a: Part, b: Part) -> Part:
        near = a.near * b.near
        error = np.abs(a.near) * b.error + np.abs(b.near) * a.error + a.error * b.error
        nothing = (_is_zero(a) & np.isfinite(b.error)) | (_is_zero(b) & np.isfinite(a.error))
        error = _sure(near, np.where(nothing, 0, error), a, b)
        return self.rounded(made(a.value * b.value, near, error, a, b))

    def square(self, a: Part) -> Part:
        near = a.near * a.near
        error = (2 * np.abs(a.near) + a.error) * a.error
        return self.rounded(made(a.value * a.value, near, error, a))

    def divide(self, a: Part, b: Part) -> Part:
        near = a.near / b.near
        least = np.abs(b.near) - b.error
        error = np.where(least > 0, (a.error + np.abs(near) * b.error) / least, np.where(b.error > 0, np.inf, 0))
        error = np.where(_is_zero(a) & (least > 0), 0, error)
        return self.rounded(made(self.functions["divide"](a.value, b.value), near, _sure(near, error, a, b), a, b))

    def sqrt(self, a: Part) -> Part:
        """Correctly rounded; it cannot underflow. Below zero within the bound counts as zero."""
        near = np.sqrt(a.near)
        least = np.sqrt(np.maximum(a.near - a.error, 0))
        down = np.where(near + least > 0, np.minimum(a.error, a.near) / (near + least), 0)
        up = np.where(a.error > 0, a.error / (np.sqrt(np.maximum(a.near, 0) + a.error) + near), 0)
        negative = np.where(a.near + a.error >= 0, np.inf, 0)
        error = np.where(a.near < 0, negative, np.maximum(down, up))
        return self.rounded(made(self.functions["sqrt"](a.value), near, error, a), self.format.roundoff * near)

    def function(self, name: str, a: Part) -> Part:
        """exp, log or tanh."""
        near = WIDE_FUNCTIONS[name](a.near)
        match name:
            case "exp":
                slope = near * np.expm1(a.error)
            case "log":
                below = np.where(a.near < 0, 0, np.inf)
                slope = np.where(a.near > a.error, a.error / (a.near - a.error), below)
            case _:
                slope = a.error
        rounding = LIBRARY_ROUNDOFFS * self.format.roundoff * np.abs(near) + self._underflow
        return self.rounded(made(self.functions[name](a.value), near, slope, a), rounding)

    def power(self, a: Part, exponent: Part) -> Part:
        """A tensor to a power that is known before the step reads any."""
        near = a.near**exponent.near
        least = np.abs(a.near) - a.error
        steepness = np.abs(near * exponent.near)
        error = np.where(least > 0, steepness * a.error / least, np.where(a.error > 0, np.inf, 0))
        error = error + np.where(a.near > 0, np.abs(near * np.log(a.near)) * exponent.error, 0)
        rounding = LIBRARY_ROUNDOFFS * self.format.roundoff * np.abs(near) + self._underflow
        return self.rounded(made(self.functions["power"](a.value, exponent.value), near, error, a, exponent), rounding)

    def negative(self, a: Part) -> Part:
        return Part(-a.value, -a.near, a.error, a.flags)

    def absolute(self, a: Part) -> Part:
        return Part(abs(a.value), np.abs(a.near), a.error, a.flags)


class Unrounded(Arithmetic):
    """What is known before tensors are read: no operation rounds, and nothing overflows."""

    def rounded(self, part: Part, rounding: Any = None, typical: Any = None) -> Part:
        return Part(part.value, part.near, _settled(part.near, part.error), part.flags)


EXACTLY = Unrounded(Format("exact", DIGITS, 16000))


def _is_zero(a: Part) -> Mask:
    """Zero, and every implementation's zero."""
    mask: Mask = (a.near == 0) & (a.error == 0)
    return mask


def _sure(near: Wide, error: Wide, *operands: Part) -> Wide:
    """`error`, with infinities and NaN certain (0) where the signs of all operands are, and else unbounded."""
    if np.isfinite(near).all():
        return error
    signs = np.logical_and.reduce(np.broadcast_arrays(*((a.error == 0) | (np.abs(a.near) > a.error) for a in operands)))
    return np.asarray(np.where(np.isfinite(near), error, np.where(signs, 0, np.inf)))


def _settled(near: Wide, error: Wide) -> Wide:
    """No error of what is not finite, unless nothing is known; nothing known where the error is not a number."""
    kept = np.where(np.isnan(error), np.inf, error)
    return np.asarray(np.where(np.isfinite(near) | np.isinf(kept), kept, 0))


def made(value: Any, near: Any, error: Any, *operands: Part) -> Part:
    """A new Part. Where an operand is not finite, but the result is (x/inf), `near` is the number."""
    flags = operands[0].flags
    for operand in operands[1:]:
        flags = flags | operand.flags
    if not all(np.isfinite(operand.near).all() for operand in operands):
        unbounded = np.logical_or.reduce(np.broadcast_arrays(*(~np.isfinite(a.near) for a in operands)))
        known = numbers(near) if value.dtype == object else near
        value = np.where(unbounded & np.isfinite(near), known, value)
    if np.shape(error) != near.shape:
        error = np.broadcast_to(error, near.shape)
    return Part(value, near, error, flags)
