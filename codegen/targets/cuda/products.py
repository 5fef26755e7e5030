"""Matrix products between the launches of a call: the steps that a generated .cu file describes, tensor by tensor."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeAlias

BYTES = {"float32": 4, "float64": 8}
PADDED_TO = 4
"""A place begins at a multiple of so many numbers."""


@dataclass(frozen=True)
class Matrix:
    """Matrices in memory of the device, one behind another, row by row; transposed ones lie as their transposes.

    `offset`: of the first number, in bytes from the beginning of `memory`, which is the device's own kind of memory.
    `dtype`: float32 or float64.
    """

    memory: Any
    offset: int
    dtype: str
    count: int
    rows: int
    columns: int
    is_transposed: bool = False

    @property
    def address(self) -> int:
        return int(self.memory.address + self.offset)

    @property
    def transposed(self) -> Matrix:
        return replace(self, rows=self.columns, columns=self.rows, is_transposed=not self.is_transposed)


Product: TypeAlias = Callable[[Matrix, Matrix, Matrix], None]
"""Queues c = a b behind the kernels of a call: `product(a, b, c)`."""


class Multiplication(ctypes.Structure):
    """What the file's own kernel for products takes."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("matrices", "rows", "columns", "inner", "turns_a", "turns_b")),
        *((name, ctypes.c_void_p) for name in ("a", "b", "c")),
    ]

    @classmethod
    def of(cls, a: Matrix, b: Matrix, c: Matrix) -> Multiplication:
        turns = int(a.is_transposed), int(b.is_transposed)
        return cls(c.count, c.rows, c.columns, a.columns, *turns, a.address, b.address, c.address)


def holds(name: str | list[str], chosen: frozenset[str]) -> bool:
    """Whether a switch, or one of several, is as `name` says: set, or behind a "!" not."""
    if isinstance(name, list):
        return any(holds(each, chosen) for each in name)
    return (name.lstrip("!") in chosen) != name.startswith("!")


@dataclass(frozen=True)
class Products:
    """What one build multiplies. `plans`: as the file describes them. `switches`: those that are set. `axes`: the
    number of axes that the names of others ask for. `dtype`: of the matrices."""

    plans: Sequence[Mapping[str, Any]]
    switches: frozenset[str]
    axes: Mapping[str, int]
    dtype: str

    def most(self, kind: str, x: Any) -> int:
        """The bytes that the "working" matrices of a tensor take, or those that are "kept", of one pass at a time."""
        return max((self._begins(plan[kind], x)[-1] for plan in self.plans if self._are_for(plan, x)), default=0)

    def steps(self, launch: str, x: Any, buffers: Mapping[str, Any]) -> Iterator[str | tuple[Matrix, Matrix, Matrix]]:
        """What to do for a tensor, in order: kernels by name, and products `c = a b` as (a, b, c)."""
        plan = next(plan for plan in self.plans if plan["launch"] == launch)
        if not self._are_for(plan, x):
            return
        places = [*self._places("working", plan, x, 0, buffers)]
        places += self._places("kept", plan, x, x.kept - buffers["kept"].address, buffers)
        for step in plan["steps"]:
            if "kernel" in step:
                yield step["kernel"]
            else:
                a, b = (_turned(places[side["place"]], side) for side in (step["left"], step["right"]))
                yield a, b, places[step["to"]]

    def _are_for(self, plan: Mapping[str, Any], x: Any) -> bool:
        held = self.switches | {name for name, count in self.axes.items() if x.axes >= count}
        return bool(x.size) and all(holds(name, held) for name in plan["of"])

    def _begins(self, shapes: Iterable[Sequence[str]], x: Any) -> list[int]:
        """Where places of these shapes begin for a tensor, and where the last one ends, in bytes."""
        counts = (x.matrices * getattr(x, rows) * getattr(x, columns) for rows, columns in shapes)
        return list(accumulate((-(-n // PADDED_TO) * PADDED_TO * BYTES[self.dtype] for n in counts), initial=0))

    def _places(
        self, kind: str, plan: Mapping[str, Any], x: Any, begin: int, buffers: Mapping[str, Any]
    ) -> Iterator[Matrix]:
        for (rows, columns), offset in zip(plan[kind], self._begins(plan[kind], x), strict=False):
            shape = x.matrices, getattr(x, rows), getattr(x, columns)
            yield Matrix(buffers[kind], begin + offset, self.dtype, *shape)


def _turned(matrix: Matrix, side: Mapping[str, Any]) -> Matrix:
    return matrix.transposed if side["is_transposed"] else matrix
