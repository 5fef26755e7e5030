"""What `optloom bench` and the targets say to each other.

A target folder may have a module `contestants.py` with

    def contestants(entry: Entry, start: list[Array]) -> Mapping[str, Contestant]

which builds one optimizer over copies of `start`, once for each way to run it that matters to its users ("eager",
"fused"). Ways that the optimizer does not have are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from ..conformance.protocol import Array, load_module


@dataclass(frozen=True)
class Entry:
    """An optimizer. `file`: the generated one's, "" for a peer. `path`: a peer's, or what the file calls it.
    `arguments`: by its own names."""

    file: str
    path: str
    arguments: Mapping[str, float] = field(default_factory=dict)

    def load(self, suffix: str = "") -> Any:
        """The class or function itself; with `suffix`, the one of that longer name."""
        if self.file:
            return getattr(load_module(self.file), f"{self.path}{suffix}")
        module, _, name = self.path.rpartition(".")
        return getattr(import_module(module), name)


class Contestant(Protocol):
    """One optimizer over its own parameters, float32."""

    def give(self, gradients: list[Array]) -> None:
        """The gradients of the steps that follow; not timed."""
        ...

    def step(self) -> None:
        """One step, carried out when this returns."""
        ...

    def weights(self) -> list[Array]: ...


@dataclass(frozen=True)
class Race:
    """A generated optimizer and its peers on the same gradients."""

    generated: Entry
    peers: tuple[Entry, ...]


@dataclass(frozen=True)
class Outcome:
    """`weights`: of each (path, way) after the steps of the accuracy run. `seconds`: by workload and (path, way), of
    one step, round by round. `failed`: by path, why it did not run."""

    weights: Mapping[tuple[str, str], Array]
    seconds: Mapping[str, Mapping[tuple[str, str], list[float]]]
    failed: Mapping[str, str]
