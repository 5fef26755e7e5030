"""Every rule in short: how it conforms, how exact and how fast it is beside its peers.

Writes `benchmarks/results/conformance.json` (`optloom conform --quick`, or the run in FILE), `rules.json` (`optloom
bench`) and `speed.png`, and makes the README's tables anew. Run: `python benchmarks/rules.py [--conformance FILE]
[--bench FILE]`; with the files, nothing is measured again, and with `--tables` only the README is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from optloom.codegen.pages.measured import BENCH, CONFORMANCE, measured
from optloom.codegen.pages.readme import filled
from optloom.codegen.report import load, summary

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COLOURS = {"jax": "#7c3aed", "pytorch": "#c2410c", "tensorflow": "#4b7bb5"}


def measure(*arguments: str) -> str:
    """What a command prints as JSON; its status does not matter, the figures do."""
    command = [sys.executable, "-m", "optloom.codegen", *arguments, "--json"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


def picture(found: dict[str, Any], file: Path) -> None:
    """A mark per rule, framework and workload: the fastest of our ways over the peer in the same way."""
    rules = [name for name, one in found["rules"].items() if any(speed["ratio"] for speed in one["speed"])]
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.6 + 0.26 * len(rules)), sharey=True)
    workloads = list(dict.fromkeys(speed["workload"] for one in found["rules"].values() for speed in one["speed"]))
    for axis, workload in zip(axes, workloads, strict=True):
        for target, colour in COLOURS.items():
            best = {
                name: max(
                    (speed["ratio"] for speed in found["rules"][name]["speed"]
                     if speed["ratio"] and (speed["target"], speed["workload"]) == (target, workload)),
                    default=None,
                )
                for name in rules
            }  # fmt: skip
            points = [(ratio, row) for row, (_, ratio) in enumerate(best.items()) if ratio]
            axis.scatter(*zip(*points, strict=True), color=colour, label=target, s=28)
        axis.axvline(1, color="#888", linewidth=1)
        axis.set_xscale("log")
        axis.set_xticks([0.5, 1, 2, 4], ["1/2", "1", "2", "4"])
        axis.minorticks_off()
        axis.set_title(f"{workload}, float32", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rules)), rules, fontsize=9)
    axes[0].invert_yaxis()
    axes[1].legend(fontsize=8)
    figure.supxlabel("the peer's time over ours: right of the line, the generated optimizer is faster", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main(arguments: argparse.Namespace) -> None:
    if not arguments.tables:
        measure_all(arguments)
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(), measured(), ROOT))


def measure_all(arguments: argparse.Namespace) -> None:
    RESULTS.mkdir(exist_ok=True)
    judged = arguments.conformance or RESULTS / "run.json"
    if not arguments.conformance:
        judged.write_text(measure("conform", "--quick"))
    (RESULTS / CONFORMANCE).write_text(summary(load([judged])))
    raced = arguments.bench.read_text() if arguments.bench else measure("bench")
    (RESULTS / BENCH).write_text(raced)
    picture(json.loads(raced), RESULTS / "speed.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conformance", type=Path, help="what `optloom conform --json` wrote")
    parser.add_argument("--bench", type=Path, help="what `optloom bench --json` wrote")
    parser.add_argument("--tables", action="store_true", help="only the README's tables, of what was measured")
    main(parser.parse_args())
