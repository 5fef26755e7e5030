"""One process of training: goes on from the checkpoint if there is one, and reports each step as a line of JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

import task

PATIENCE = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=task.FRAMEWORKS)
    parser.add_argument("dtype", choices=task.DTYPES)
    parser.add_argument("optimizer", choices=task.OPTIMIZERS)
    parser.add_argument("--steps", type=int, required=True, help="updates to reach")
    parser.add_argument("--save-every", type=int, required=True, help="updates between checkpoints")
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoint lies")
    parser.add_argument("--wait-after", type=int, help="the update after which to wait for being killed")
    arguments = parser.parse_args()
    module = importlib.import_module(f"{arguments.framework}_text")
    checkpoint: Path = arguments.folder / module.CHECKPOINT
    training: task.Training = module.Training(arguments.dtype, arguments.optimizer)
    done = training.load(checkpoint) if checkpoint.exists() else 0
    report(step=done, loss=training.loss(task.held_out()))
    for step in range(done + 1, arguments.steps + 1):
        training.step(task.batch(step))
        if step % arguments.save_every == 0:
            training.save(checkpoint)
        report(step=step)
        if step == arguments.wait_after:
            time.sleep(PATIENCE)
            sys.exit(f"not killed within {PATIENCE} s after step {step}")
    report(loss=training.loss(task.held_out()), digest=task.digest(training.arrays()))


def report(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
