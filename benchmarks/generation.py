"""How long the generator takes: everything from nothing, everything again, and the check.

Each figure is a whole process, as `make generate` and `make check` run it, Python's start included: the median of
three. Run: `python benchmarks/generation.py`; exit status 1 if a figure is over its limit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

LIMIT = 10.0
RUNS = 3


def seconds(command: str, folder: Path) -> float:
    """The time of one `optloom <command>` on `folder`."""
    start = time.perf_counter()
    arguments = [sys.executable, "-m", "optloom.codegen", command, "--out", str(folder)]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(run) for run in range(RUNS)]
        figures = {
            "generate, from nothing": median(seconds("generate", folder) for folder in folders),
            "generate, nothing changed": median(seconds("generate", folder) for folder in folders),
            "check": median(seconds("check", folder) for folder in folders),
        }
        sizes = [file.stat().st_size for file in folders[0].rglob("*") if file.is_file()]
    print(f"{len(sizes)} files, {sum(sizes) / 1024:.0f} KiB")
    for what, took in figures.items():
        print(f"{what:<26} {took:6.2f} s   (limit {LIMIT:.0f} s, {took / LIMIT:.2f} of it)")
    return int(max(figures.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
