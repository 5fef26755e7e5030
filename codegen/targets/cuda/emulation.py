"""A device that is the host: kernels compiled as C++ behind the emulation header."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ...c_family import native
from .launcher import Launcher
from .source import Choice, Source

HEADER = Path(__file__).parent / "emulation.h"
FLAGS = "-std=c++17 -O1 -fno-math-errno -ffp-contract=off -shared -fPIC"


@dataclass
class HostMemory:
    """`size` bytes of the host, as far from zeros as they can be."""

    size: int
    _bytes: Any = field(init=False)

    def __post_init__(self) -> None:
        self._bytes = (ctypes.c_char * self.size)()
        ctypes.memset(self._bytes, 0xFF, self.size)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._bytes)


@dataclass(frozen=True)
class EmulatedDevice:
    """The kernels of one build. `order`: how threads are shuffled; 0 for not at all."""

    functions: ctypes.CDLL
    order: int = 0

    def empty(self, size: int) -> HostMemory:
        return HostMemory(size)

    def write(self, address: int, data: bytes, stream: int) -> None:
        ctypes.memmove(address, data, len(data))

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any], stream: int) -> None:
        ctypes.c_ulonglong.in_dll(self.functions, "optloom_order").value = self.order
        addresses = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        self.functions[f"emulated_{kernel}"](ctypes.c_uint(blocks), ctypes.c_uint(threads), addresses)


def built(source: Source, choice: Choice, *flags: str) -> ctypes.CDLL:
    """The kernels as functions of the host, `emulated_<kernel>(blocks, threads, arguments)`."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / f"{source.path.stem}.cpp"
        program.write_text(_program(source))
        command = ("g++", *FLAGS.split(), *flags, *choice.defines, f"-I{HEADER.parent}")
        return ctypes.CDLL(str(native.compiled(program, command, HEADER)))


def launcher(source: Source, choice: Choice, order: int = 0) -> Launcher:
    return Launcher(source, choice, EmulatedDevice(_built(source.path, source.text, choice), order))


@cache
def _built(path: Path, text: str, choice: Choice) -> ctypes.CDLL:
    return built(Source(path), choice)


def _program(source: Source) -> str:
    """The file behind the header, and for each kernel a function that runs it."""
    lines = ['#include "emulation.h"', source.text, 'extern "C" {']
    for kernel, has_barriers in _kernels(source):
        lines.append(f"void emulated_{kernel}(unsigned blocks, unsigned threads, void **arguments) {{")
        lines.append(f"    emulation::launch({kernel}, {str(has_barriers).lower()}, blocks, threads, arguments);")
        lines.append("}")
    return "\n".join([*lines, "}", ""])


def _kernels(source: Source) -> Iterator[tuple[str, bool]]:
    """The kernels of a file, and whether their threads wait for one another."""
    described = source.launches
    for launch in described["start"] + described["step"]:
        if launch["grid"] != "products":
            yield launch["kernel"], launch["meets"]
        if launch["grid"] in ("tensor", "chunk"):
            yield f"{launch['kernel']}_by_value", launch["meets"]
    if plans := described.get("products"):
        yield f"{source.path.stem}_multiply", False
        yield from ((step["kernel"], False) for plan in plans for step in plan["steps"] if "kernel" in step)
