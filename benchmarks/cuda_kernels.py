"""What NVIDIA's assembler makes of each CUDA kernel: registers, shared memory, instructions, wide accesses. No device.

With default options, in float32. Prints a table; writes results/cuda_kernels.json. Run: `python
benchmarks/cuda_kernels.py [ARCHITECTURE]`, which is 90 for compute capability 9.0.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from optloom.codegen.c_family.native import bits_of, switches_of
from optloom.codegen.targets.cuda import nvrtc, static
from optloom.codegen.targets.cuda.source import Choice, Source
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent
COLUMNS = ("registers", "shared bytes", "spilled bytes", "instructions", "128-bit loads", "128-bit stores", "float64")


def rows(source: Source, architecture: int) -> dict[str, dict[str, Any]]:
    """By kernel; those that take tensors by value are as those that find them in memory, and left out."""
    bits = bits_of(switches_of(source.interface, {}, {}))
    build = static.build(source, Choice(bits, "float32"), architecture)
    found = {}
    for kernel, needs in reversed(build.resources.items()):
        if not kernel.endswith("_by_value"):
            counts = [sum(build.instructions[kernel].values())]
            counts += [build.count(kernel, kind) for kind in (static.WIDE_LOAD, static.WIDE_STORE, static.FLOAT64)]
            numbers = (needs.registers, needs.shared, needs.spilled, *counts)
            found[kernel] = dict(zip(COLUMNS, numbers, strict=True))
    return found


def main(architecture: int = 90) -> int:
    table = Table("rule", "kernel", *COLUMNS)
    results: dict[str, Any] = {"architecture": architecture, "rules": {}}
    try:
        for file in sorted((ROOT.parent / "generated" / "cuda").glob("*.cu")):
            start = time.perf_counter()
            found = rows(Source(file), architecture)
            seconds = round(time.perf_counter() - start, 2)
            results["rules"][file.stem] = {"seconds to compile and disassemble": seconds, "kernels": found}
            for kernel, row in found.items():
                table.add_row(file.stem, kernel, *map(str, row.values()))
    except (nvrtc.NoCompiler, FileNotFoundError) as error:
        print(f"skipped: {error}")
        return 0
    results["compiler"] = f"NVRTC {'.'.join(map(str, nvrtc.version()))}"
    Console(width=140).print(table)
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results" / "cuda_kernels.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
