"""How long the generator takes: everything from nothing, everything again, the check; and each rule for itself.

The first three are whole processes, as `make generate` and `make check` run them, Python's start included: the median
of three. A rule's cost is the processor time of rendering it for every target, its modules and templates being
loaded, as they are when it is one of many. Run: `python benchmarks/generation.py`; exit status 1 if a figure is over
its limit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

from optloom.codegen.api import Selection, render_all
from optloom.codegen.compiler import discover

LIMIT = 20.0
RULE_LIMIT = 0.5
RUNS = 3


def seconds(command: str, folder: Path) -> float:
    """The time of one `optloom <command>` on `folder`."""
    start = time.perf_counter()
    arguments = [sys.executable, "-m", "optloom.codegen", command, "--out", str(folder)]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def costs_of_rules() -> dict[str, float]:
    """Rule -> processor seconds, those that cost most first."""
    names = list(discover())
    render_all(Selection(rules=names[:1], stages=()))  # loads modules and templates
    costs = {}
    for name in names:
        start = time.process_time()
        render_all(Selection(rules=[name]))
        costs[name] = time.process_time() - start
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(run) for run in range(RUNS)]
        figures = {
            "generate, from nothing": median(seconds("generate", folder) for folder in folders),
            "generate, nothing changed": median(seconds("generate", folder) for folder in folders),
            "check": median(seconds("check", folder) for folder in folders),
        }
        sizes = [file.stat().st_size for file in folders[0].rglob("*") if file.is_file()]
    costs = costs_of_rules()
    print(f"{len(costs)} rules, {len(sizes)} files, {sum(sizes) / 1024:.0f} KiB")
    for what, took in figures.items():
        print(f"{what:<26} {took:6.2f} s   (limit {LIMIT:.0f} s)")
    dearest = ", ".join(f"{name} {cost:.2f}" for name, cost in list(costs.items())[:4])
    print(f"{'a rule, on average':<26} {mean(costs.values()):6.2f} s   (limit {RULE_LIMIT} s)   dearest: {dearest}")
    return int(max(figures.values()) > LIMIT or max(costs.values()) > RULE_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
