"""One SHA-256 over all targets: strict code after 200 steps, parameters and slots.

Prints, per rule and dtype, the digest of every target and mode, and whether all are one. Exits with 1 if not.
Run: `python benchmarks/strict.py [TARGET ...]`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from optloom.codegen.compiler import discover, targets
from optloom.codegen.conformance.pool import Skipped, Worker
from optloom.codegen.conformance.protocol import Dtype, Episode, Job, Snapshot
from optloom.codegen.conformance.rendering import rendered
from rich.console import Console
from rich.table import Table

RULES = {"adam": {}, "adamax": {}, "adagrad": {}, "sgd": {"momentum": 0.9}}
DTYPES: tuple[Dtype, ...] = ("float32", "float64")
CALLS = 200
SHAPES = ((1000,), (33, 7), ())


def episode(dtype: Dtype) -> Episode:
    """Parameters near 1 and gradients of many sizes, all far from subnormal."""
    rng = np.random.default_rng(200)
    parameters = [np.asarray(rng.normal(1, 0.5, shape)).astype(dtype) for shape in SHAPES]
    scales = [10.0 ** rng.uniform(-6, 1, shape) for shape in SHAPES]
    gradients = [
        [np.asarray(scale * rng.normal(size=np.shape(scale))).astype(dtype) for scale in scales] for _ in range(CALLS)
    ]
    return Episode(parameters, gradients)


def digest(snapshot: Snapshot) -> str:
    """Of the parameters, then of each slot by name."""
    made = hashlib.sha256()
    for _, arrays in [("", snapshot.parameters), *sorted(snapshot.slots.items())]:
        for array in arrays:
            made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def main(names: list[str]) -> int:
    workers = {target: Worker(target) for target in targets() if not names or target in names}
    table = Table("rule", "dtype", "targets and modes", "SHA-256", "one")
    parted = 0
    with tempfile.TemporaryDirectory() as folder:
        for rule, hypers in RULES.items():
            for dtype in DTYPES:
                found: dict[str, list[str]] = {}
                for target, worker in workers.items():
                    file = rendered(discover()[rule], rule, target, "strict", Path(folder))
                    for mode in worker.modes():
                        if dtype not in mode.dtypes or "strict" not in mode.numerics:
                            continue
                        job = Job(str(file), discover()[rule].__name__, mode.name, dtype, [episode(dtype)], hypers)
                        try:
                            last = worker.run(job)[0][-1]
                        except Skipped:
                            continue
                        found.setdefault(digest(last), []).append(f"{target} {mode.name}")
                parted += len(found) > 1
                for index, (value, who) in enumerate(found.items()):
                    table.add_row(
                        *((rule, dtype) if not index else ("", "")),
                        ", ".join(who),
                        value[:16],
                        "yes" if len(found) == 1 else "NO",
                    )
    for worker in workers.values():
        worker.close()
    Console(width=150).print(table)
    return 1 if parted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
