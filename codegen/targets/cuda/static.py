"""What can be known of kernels without a device: the assembler's report, and the instructions in the disassembly."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import nvrtc
from .source import Choice, Source

REPORT = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?:[^\n]*?, (?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")

WIDE_LOAD, WIDE_STORE = r"LDG\.E(\.\w+)*\.128(\.\w+)*", r"STG\.E(\.\w+)*\.128"
"""Accesses of 128 bits to global memory."""

FLOAT64 = r"D(ADD|MUL|FMA|SETP|MNMX)(\.\w+)*"
"""Arithmetic in float64."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes: registers of a thread, bytes of shared memory of a block, bytes of local memory and spilled
    bytes of a thread."""

    registers: int
    shared: int
    local: int
    spilled: int


@dataclass(frozen=True)
class Build:
    """The kernels of a build by name, without the file's prefix."""

    prefix: str
    cubin: bytes
    resources: Mapping[str, Resources]

    @cached_property
    def instructions(self) -> Mapping[str, Counter[str]]:
        """How often each instruction stands in the code. Raises FileNotFoundError without a disassembler."""
        return {name.removeprefix(self.prefix): found for name, found in _disassembled(self.cubin).items()}

    def count(self, kernel: str, pattern: str) -> int:
        """Instructions of a kernel whose names, with all parts, match `pattern` whole."""
        found = self.instructions[kernel].items()
        return sum(count for name, count in found if re.fullmatch(pattern, name))


def build(source: Source, choice: Choice, architecture: int, *flags: str) -> Build:
    """A build for sm_<architecture>. Raises nvrtc.NoCompiler and nvrtc.NotCompiled."""
    options = ("--ptxas-options=-v", *choice.defines, *flags)
    cubin, report = nvrtc.compiled(source.text, source.path.name, architecture, options)
    prefix = f"{source.path.stem}_"
    resources = {}
    for match in REPORT.finditer(report):
        registers, shared, local = (int(match[part] or 0) for part in ("registers", "shared", "stack"))
        spilled = int(match["stores"]) + int(match["loads"])
        resources[match["kernel"].removeprefix(prefix)] = Resources(registers, shared, local, spilled)
    return Build(prefix, cubin, resources)


def _disassembled(cubin: bytes) -> dict[str, Counter[str]]:
    folders = [str(folder) for path in sys.path for folder in Path(path).glob("nvidia/c*/bin")]
    search = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    program = shutil.which("cuobjdump", path=search)
    if program is None or shutil.which("nvdisasm", path=search) is None:
        raise FileNotFoundError("no cuobjdump and nvdisasm: install nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [program, "-sass", file.name], env=os.environ | {"PATH": search}, capture_output=True, text=True, check=True
        )
    found: dict[str, Counter[str]] = {}
    for part in done.stdout.split("Function : ")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = Counter(INSTRUCTION.findall(body))
    return found
