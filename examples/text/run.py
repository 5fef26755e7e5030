"""Trains a character transformer, kills it in the middle, resumes it in a new process, and compares all bits.

Writes results.md and results.json beside this file, or into --out. See README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import report
from processes import Plan, run_and_kill, run_to_end
from task import DTYPES, FRAMEWORKS, OPTIMIZERS

STEPS, SAVE_EVERY = 200, 40
AT_ONCE = 2  # processes, each of one thread


def compare(plan: Plan) -> report.Result:
    """Trains twice as `plan` says, once killed and resumed."""
    with TemporaryDirectory() as folder:
        start, end = run_to_end(plan, Path(folder, "uninterrupted"))
        run_and_kill(plan, Path(folder, "killed"))
        resumed, resumed_end = run_to_end(plan, Path(folder, "killed"))
    return report.Result(
        plan.framework,
        plan.dtype,
        plan.optimizer,
        plan.steps,
        loss_at_start=start["loss"],
        loss_at_end=end["loss"],
        killed_in=plan.kill_at,
        resumed_from=resumed["step"],
        uninterrupted=end["digest"],
        resumed=resumed_end["digest"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="updates (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=SAVE_EVERY, help="updates between checkpoints")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS, metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, metavar="NAME")
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS[:1], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    arguments = parser.parse_args()
    if not 2 <= arguments.save_every <= arguments.steps // 2:
        parser.error(f"--save-every must be from 2 to half of the steps, got {arguments.save_every}")
    began = time.monotonic()
    plans = [
        Plan(framework, dtype, optimizer, arguments.steps, arguments.save_every)
        for framework in arguments.frameworks
        for dtype in arguments.dtypes
        for optimizer in arguments.optimizers
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(compare, plans))
    report.write(results, arguments.out)
    print(report.markdown(results))
    print(f"\n{time.monotonic() - began:.0f} s; results.md and results.json (whole digests) are in {arguments.out}")
    return 0 if all(result.equal and result.resumed_from for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
