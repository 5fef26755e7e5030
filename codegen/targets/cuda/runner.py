"""Runs generated CUDA for the conformance suite on the host, under emulation, by the launches that a device gets."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path

from ...c_family import native
from ...conformance.protocol import Job, Mode, Snapshot
from .emulation import launcher
from .launcher import Choice, Launcher, Source

MODES = (Mode("plain", numerics=("strict",), follows_tree=True),)


@dataclass(frozen=True)
class EmulatedLibrary(native.Library):
    """A rule file, each choice of options and dtype compiled when it is asked for. `by_value` and `order`: how it is
    launched, and in which order threads run."""

    by_value: bool | None = None
    order: int = 0
    launchers: dict[Choice, Launcher] = field(default_factory=dict)

    def launcher(self, choice: Choice) -> Launcher:
        if choice not in self.launchers:
            self.launchers[choice] = launcher(Source(self.source), choice, self.order)
        return self.launchers[choice]


def library(file: str, by_value: bool | None = None, order: int = 0) -> EmulatedLibrary:
    path = Path(file)
    return EmulatedLibrary(path, path, by_value, order)


def call(state: native.State, name: str) -> None:
    part, dtype = name.split("_")
    made = state.library.launcher(Choice(state.bits, dtype))  # type: ignore[attr-defined]
    if part == "start" and not made.source.launches["start"]:
        return
    made.run(part, 1, ctypes.addressof(state.row), state.tensors, by_value=state.library.by_value)  # type: ignore[attr-defined]


def run(job: Job) -> list[list[Snapshot]]:
    return native.run(job, library(job.file), call)
