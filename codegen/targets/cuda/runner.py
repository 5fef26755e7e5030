"""Runs generated CUDA for the conformance suite: under emulation on the host, and on a device where there is one.

Both get the same launches. The mode `device` copies every array there and back around each call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...c_family import native
from ...conformance.protocol import Job, Mode, Snapshot
from . import driver, emulation
from .launcher import Launcher
from .source import Choice, Source

EMULATED = Mode("plain", numerics=("strict",), follows_tree=True)
ON_DEVICE = Mode("device", numerics=("strict",), follows_tree=True)


def has_device() -> bool:
    try:
        driver.library()
    except driver.DeviceError:
        return False
    return True


MODES = (EMULATED, ON_DEVICE) if has_device() else (EMULATED,)


@dataclass(frozen=True)
class ChosenLibrary(native.Library):
    """A rule file, each choice of options and dtype compiled when it is asked for. `by_value`: how it is launched.
    `order`: in which order threads run under emulation."""

    by_value: bool | None = None
    order: int = 0
    launchers: dict[Choice, Launcher] = field(default_factory=dict)

    def launcher(self, choice: Choice) -> Launcher:
        if choice not in self.launchers:
            self.launchers[choice] = self._made(Source(self.source), choice)
        return self.launchers[choice]

    def _made(self, source: Source, choice: Choice) -> Launcher:
        return emulation.launcher(source, choice, self.order)


@dataclass(frozen=True)
class DeviceLibrary(ChosenLibrary):
    """The same on the first CUDA device."""

    def _made(self, source: Source, choice: Choice) -> Launcher:
        image = driver.code(source, choice, driver.use_first_device())
        return Launcher(source, choice, driver.CudaDevice(image))


def library(file: str, by_value: bool | None = None, order: int = 0) -> ChosenLibrary:
    path = Path(file)
    return ChosenLibrary(path, path, by_value, order)


def call(state: native.State, name: str) -> None:
    made, part = _launcher(state, name)
    made.run(part, 1, ctypes.addressof(state.row), state.tensors, by_value=state.library.by_value)  # type: ignore[attr-defined]


def call_on_device(state: native.State, name: str) -> None:
    made, part = _launcher(state, name)
    with _copied(state) as (row, tensors):
        made.run(part, 1, row, tensors, by_value=state.library.by_value)  # type: ignore[attr-defined]


def _launcher(state: native.State, name: str) -> tuple[Launcher, Any]:
    part, dtype = name.split("_")
    return state.library.launcher(Choice(state.bits, dtype)), part  # type: ignore[attr-defined]


@contextmanager
def _copied(state: native.State) -> Iterator[tuple[int, Any]]:
    """The row's address and the tensors of a state on the device; copied back in the end."""
    given = getattr(state, "inputs", {})
    arrays = {"w": state.parameters, "g": getattr(state, "gradients", []), **state.slots, **given}
    copies = [(ctypes.addressof(state.row), ctypes.sizeof(state.row), driver.OwnMemory(ctypes.sizeof(state.row)))]
    tensors = (type(state.tensors[0]) * len(state.tensors))(*state.tensors) if len(state.tensors) else state.tensors
    for name, of_all in arrays.items():
        for tensor, array in zip(tensors, of_all, strict=False):
            copies.append((array.ctypes.data, array.nbytes, driver.OwnMemory(max(1, array.nbytes))))
            setattr(tensor, name, copies[-1][2].address)
    for host, size, memory in copies:
        driver.copy_to_device(memory.address, host, size)
    yield copies[0][2].address, tensors
    for host, size, memory in copies:
        driver.copy_to_host(host, memory.address, size)


def run(job: Job) -> list[list[Snapshot]]:
    if job.mode == ON_DEVICE.name:
        path = Path(job.file)
        return native.run(job, DeviceLibrary(path, path), call_on_device)
    return native.run(job, library(job.file), call)
