"""What random rounding errors do to a step: the rule run often, every operation off by a random share of its bound.

A running bound takes every error at its worst, all in the same direction. That is right for a limit, and loose
where many terms are summed: a formula that is off by a few units everywhere hides in it. Rounding errors that are
random spread the results by much less. The spread says how far all elements of a tensor, taken together, may be off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .corpus import uniform
from .exact import OVERFLOWED, WIDE_FUNCTIONS, Arithmetic, Part, numbers
from .formats import FORMATS, Wide
from .oracle import Batch, Configuration, Expected, Outcome, carry_out
from .protocol import Array, compute_dtype

RUNS = 16
LIMIT_IN_SPREADS = 4.0
"""Where a rule sums, bounds are no more than this many standard deviations."""


@dataclass(frozen=True)
class Perturbed(Arithmetic):
    """Arithmetic in the machine's widest format, whose results are off at random. `calls`: the length of the batch."""

    calls: int = 1
    bits: np.random.PCG64 = field(default_factory=lambda: np.random.PCG64(20))
    functions: ClassVar[Mapping[str, Any]] = WIDE_FUNCTIONS

    def read(self, array: NDArray[Any]) -> Part:
        return _part(np.asarray(array, np.longdouble), np.zeros(array.shape, np.uint8))

    def rounded(self, part: Part, rounding: Any = None, typical: Any = None) -> Part:
        size = np.abs(part.near)
        if rounding is None:
            rounding = self.format.roundoff * size + np.where(size > 0, self.format.half_subnormal, 0)
        near = part.near + (rounding if typical is None else typical) * uniform(self.bits, part.near.shape)
        over = np.isfinite(near) & (np.abs(near) >= self.format.overflow)
        flags = part.flags if not over.any() else np.where(over, part.flags | OVERFLOWED, part.flags)
        return _part(np.where(over, np.copysign(np.inf, near), near), flags)

    def stored(self, part: Part) -> Part:
        return self.rounded(_part(self.format.nearest(part.near), part.flags), np.zeros_like(part.near))

    def scalar(self, part: Part) -> Part:
        """Every call rounds a scalar anew."""
        shape = (self.calls, *part.near.shape[1:])
        off = self.format.roundoff * np.abs(part.near) + self.format.half_subnormal
        off = np.where(self.exactly_representable(part), 0, off)
        each = _part(np.broadcast_to(part.near, shape), np.broadcast_to(part.flags, shape))
        return self.rounded(each, np.broadcast_to(off, shape))

    def power(self, a: Part, exponent: Part) -> Part:
        """An exponent that is a literal is computed with as such."""
        return super().power(a, _part(exponent.near, exponent.flags))

    def kept_scalar(self, part: Part) -> Part:
        rounded = self.scalar(part)
        return replace(rounded, value=numbers(rounded.near))


def _part(near: Wide, flags: Any) -> Part:
    return Part(near, near, np.zeros(near.shape, np.longdouble), flags)


def with_spread(outcome: Outcome, configuration: Configuration, batch: Batch) -> Outcome:
    """`outcome` with the spread of every number; and its bound no looser than that, where the rule sums."""
    calls = len(batch.updates)
    many = _repeated(batch, calls)
    bits = np.random.PCG64(20)
    arithmetic = Perturbed(FORMATS[compute_dtype(configuration.dtype)], calls=RUNS * calls, bits=bits)
    storage = Perturbed(FORMATS[configuration.dtype], calls=RUNS * calls, bits=bits)
    noisy = carry_out(configuration, many, arithmetic, storage)
    sums = bool(outcome.features - {"library", "gate"})

    def add(expected: Expected | None, part: Part | None) -> Expected | None:
        if expected is None or part is None:
            return expected
        spread = _spread(part, expected, calls)
        if not sums:
            return replace(expected, spread=spread)
        # What all runs agree on may still be rounded: the bound is never less than one rounding of the result.
        least = arithmetic.format.roundoff * np.abs(expected.head) + arithmetic.format.half_subnormal
        limit = np.minimum(expected.bound, np.maximum(LIMIT_IN_SPREADS * spread, least))
        holds = (expected.flags == 0) & np.isfinite(spread)
        return replace(expected, spread=spread, bound=np.where(holds, limit, expected.bound))

    with np.errstate(all="ignore"):
        parameters = [add(e, part) for e, part in zip(outcome.parameters, noisy.parameters, strict=True)]
        slots = {
            name: [add(e, part) for e, part in zip(parts, noisy.slots[name], strict=True)]
            for name, parts in outcome.slots.items()
        }
    return Outcome([e for e in parameters if e is not None], slots, outcome.features, outcome.is_skipped)


def _spread(part: Part, expected: Expected, calls: int) -> Wide:
    """The standard deviation over the runs; NaN where a run is not finite."""
    full = (RUNS * calls, *expected.head.shape[1:])
    runs = np.broadcast_to(part.near, full).reshape(RUNS, *expected.head.shape)
    return np.asarray(np.sqrt(np.mean(np.square(runs - expected.head), axis=0)))


def _repeated(batch: Batch, calls: int) -> Batch:
    """Every call `RUNS` times."""

    def many(array: Array) -> Array:
        full = np.broadcast_to(array, (calls, *array.shape[1:]))
        made: Array = np.concatenate([full] * RUNS)
        return made

    def each(arrays: list[Array]) -> list[Array]:
        return [many(array) for array in arrays]

    return Batch(
        each(batch.parameters), each(batch.gradients), {name: each(arrays) for name, arrays in batch.slots.items()},
        np.tile(batch.updates, RUNS), np.tile(batch.calls, RUNS),
        {name: each(v) if isinstance(v, list) else many(np.asarray(v)) for name, v in batch.inputs.items()},
    )  # fmt: skip
