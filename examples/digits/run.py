"""Trains scikit-learn's digits with generated optimizers and their peers, in three frameworks side by side.

Writes results.md, results.json and losses.png beside this file, or into --out. See README.md.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import picture
import report
from task import FRAMEWORKS, SETTINGS, VARIANTS, make_task

STEPS = 300


def train(framework: str, optimizers: Sequence[str], steps: int) -> report.Losses:
    """All variants of some optimizers in one framework. Runs in a process of its own: it imports the framework."""
    module = importlib.import_module(f"{framework}_digits")
    task = make_task(steps)
    return {
        name: {variant.label: module.train(task, module.optimizer(name, variant)) for variant in VARIANTS}
        for name in optimizers
    }


def train_everywhere(optimizers: Sequence[str], steps: int) -> dict[str, report.Losses]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(FRAMEWORKS), context, max_tasks_per_child=1) as pool:
        running = {framework: pool.submit(train, framework, optimizers, steps) for framework in FRAMEWORKS}
        return {framework: future.result() for framework, future in running.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="updates (default: %(default)s)")
    parser.add_argument("--optimizers", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps must be at least 1, got {arguments.steps}")
    start = time.monotonic()
    results = report.Results.of(train_everywhere(arguments.optimizers, arguments.steps))
    results.write(arguments.out)
    picture.draw(results, arguments.out / "losses.png")
    print(results.markdown())
    print(f"{time.monotonic() - start:.0f} s; results.md, results.json and losses.png are in {arguments.out}")


if __name__ == "__main__":
    main()
