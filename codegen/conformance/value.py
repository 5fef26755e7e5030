"""The values that a rule computes with when the oracle runs its `step`.

An Exact holds one Part per tensor of the optimizer, all of one step in lockstep, so that sums over all tensors are
plain; or a single Part, where it is the same for all. None stands for what does not exist: a hyperparameter that was
not given, the slot of a stage that is off, the rows of a vector. Whatever is computed from it does not exist either,
and `where` with a guard picks what does.

A value is `known` while it depends on hyperparameters, numbers and the step alone: such values are exact, and are
rounded once where they meet a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias, TypeVar

import numpy as np
from optloom.spec.errors import SpecError, author_location
from optloom.spec.guards import Given, Guard

from . import decisions
from .exact import EXACTLY, Arithmetic, Part, Truth, number, of_numbers
from .formats import Format

T = TypeVar("T")
Parts: TypeAlias = list[Part | None]


@dataclass(frozen=True)
class Engine:
    """What all values of one run share. `holds`: the truth of a guard for the tensor of that index.
    `storage`: the format of the parameters."""

    arithmetic: Arithmetic
    tensors: int
    holds: Callable[[Guard, int], bool]
    before: Callable[[str], Exact]
    storage: Format
    features: set[str] = field(default_factory=set)
    """What the rule sums over: "tensor", "tensors", "axis"; and "library", if it calls exp and the like on tensors, or
    multiplies matrices."""

    def wrap(self, value: Any) -> Exact:
        """A literal is the exact decimal that was written."""
        if isinstance(value, Exact):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
            raise SpecError(f"{value!r} is no value of the language", author_location())
        exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
        return Exact(self, [of_numbers(np.array([number(exact)], object))], known=True)


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition on values, for `where` and `both`."""

    engine: Engine
    truths: list[Truth | None]

    def __rule_function__(self, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        from .functions import call

        return call(self.engine, name, arguments, settings)


@dataclass(frozen=True, eq=False)
class Exact:
    """A number of the oracle, for every element of every tensor. `slot`: the slot that it was read from.
    `is_stored`: it has been rounded to the parameters' format."""

    engine: Engine
    parts: Parts
    known: bool = False
    slot: str | None = None
    hyper: str | None = None
    is_stored: bool = False

    @property
    def given(self) -> Guard:
        if self.hyper is None:
            raise SpecError("only an optional hyperparameter is given or not", author_location())
        return Given(self.hyper)

    def __rule_function__(self, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        from .functions import call

        return call(self.engine, name, arguments, settings)

    def rounded(self) -> Exact:
        """This value where it meets a tensor."""
        if not self.known:
            return self
        arithmetic = self.engine.arithmetic
        return Exact(self.engine, [part and arithmetic.scalar(part) for part in self.parts])

    @property
    def arithmetic(self) -> Arithmetic:
        return EXACTLY if self.known else self.engine.arithmetic

    def map(self, operation: Callable[[Arithmetic, Part], Part | None]) -> Exact:
        """An operation on every part that exists."""
        return Exact(self.engine, [part and operation(self.arithmetic, part) for part in self.parts], self.known)

    def _with(self, operation: Callable[[Arithmetic, Part, Part], Part], a: Any, b: Any) -> Exact:
        first, second = self.engine.wrap(a), self.engine.wrap(b)
        known = first.known and second.known
        if not known:
            if operation is Arithmetic.power:
                self.engine.features.add("library")
            first, second = first.rounded(), second.rounded()
        arithmetic = EXACTLY if known else self.engine.arithmetic
        return Exact(self.engine, pairwise(lambda x, y: operation(arithmetic, x, y), first.parts, second.parts), known)

    def __add__(self, other: Any) -> Exact:
        return self._with(Arithmetic.add, self, other)

    def __radd__(self, other: Any) -> Exact:
        return self._with(Arithmetic.add, other, self)

    def __sub__(self, other: Any) -> Exact:
        return self._with(Arithmetic.subtract, self, other)

    def __rsub__(self, other: Any) -> Exact:
        return self._with(Arithmetic.subtract, other, self)

    def __mul__(self, other: Any) -> Exact:
        return self._with(Arithmetic.multiply, self, other)

    def __rmul__(self, other: Any) -> Exact:
        return self._with(Arithmetic.multiply, other, self)

    def __truediv__(self, other: Any) -> Exact:
        return self._with(Arithmetic.divide, self, other)

    def __rtruediv__(self, other: Any) -> Exact:
        return self._with(Arithmetic.divide, other, self)

    def __pow__(self, other: Any) -> Exact:
        if not isinstance(other, Exact) and other == 2:
            return self.map(Arithmetic.square)
        return self._with(Arithmetic.power, self, other)

    def __rpow__(self, other: Any) -> Exact:
        return self._with(Arithmetic.power, other, self)

    def __neg__(self) -> Exact:
        return self.map(Arithmetic.negative)

    def __abs__(self) -> Exact:
        return self.map(Arithmetic.absolute)

    def __lt__(self, other: Any) -> Condition:
        return compared("less", self, self.engine.wrap(other))

    def __le__(self, other: Any) -> Condition:
        return compared("less_equal", self, self.engine.wrap(other))

    def __gt__(self, other: Any) -> Condition:
        return compared("less", self.engine.wrap(other), self)

    def __ge__(self, other: Any) -> Condition:
        return compared("less_equal", self.engine.wrap(other), self)


def compared(name: str, a: Exact, b: Exact) -> Condition:
    if not (a.known and b.known):
        a, b = a.rounded(), b.rounded()
    return Condition(a.engine, pairwise(lambda x, y: decisions.compare(name, x, y), a.parts, b.parts))


def pairwise(operation: Callable[[Part, Part], T], a: Parts, b: Parts) -> list[T | None]:
    """`operation` on the parts of each tensor, aligned; what is the same for all tensors goes with every one."""
    return [None if x is None or y is None else operation(*aligned(x, y)) for x, y in zip(*lockstep(a, b), strict=True)]


def lockstep(*lists: list[Any]) -> list[list[Any]]:
    """The lists at the length of the longest."""
    length = max(len(items) for items in lists)
    return [items * length if len(items) == 1 else items for items in lists]


def aligned(*parts: Part) -> list[Part]:
    """Numbers per call (one axis) stretched to go with tensors, whose first axis is the call."""
    axes = max(part.ndim for part in parts)
    return [
        part if part.ndim == axes else part.reshaped((*part.near.shape, *(1,) * (axes - part.ndim))) for part in parts
    ]
