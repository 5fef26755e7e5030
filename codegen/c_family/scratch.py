"""The memory of a tensor's sums along its axes: numbers of 64 bits, kept from one pass of a step to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .passes import Pass

SIZES = {"row": "x.rows", "column": "tiles_of(x) * x.columns", "tile": "tiles_of(x)", "matrix": "1"}
"""The numbers that a matrix has of each kind: a sum of each row, one of each column in each tile, one of each tile's
rows, one of the matrix itself."""


@dataclass(frozen=True)
class Scratch:
    """What `updates` keep."""

    updates: tuple[Pass, ...]

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Of each value its kind."""
        return dict(self._kinds())

    def _kinds(self) -> Iterator[tuple[str, str]]:
        for update in self.updates:
            yield from ((name, "row") for name in update.row_sums)
            yield from ((name, "column") for name in update.column_sums)
            for along in update.along:
                yield from ((name, "tile") for name in along.terms)
                if along.index == "matrix":
                    yield from ((operand.member, "matrix") for operand in along.operands)

    def context(self) -> dict[str, Any]:
        """For templates. `places`: where the numbers of each value begin; `scratch`: how many have each kind."""
        names = list(self.kinds)
        return {
            "kinds": self.kinds,
            "places": {name: _total(names[:at], self.kinds) for at, name in enumerate(names)},
            "scratch_size": _total(names, self.kinds),
            "scratch": dict(Counter(self.kinds.values())),
        }


def _total(names: list[str], kinds: Mapping[str, str]) -> str:
    numbers = " + ".join(SIZES[kinds[name]] for name in names)
    return f"x.matrices * ({numbers})" if len(names) > 1 else f"x.matrices * {numbers}" if names else "0"
