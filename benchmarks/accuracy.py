"""How exact one step is, beside the peers.

Prints, for every target and mode, the median error of one Adam step in ULP of the update (parameters at 0, so that the
update itself is seen) and the largest error over its bound, at several steps; the same for Adamax and Adagrad; then
what becomes of bfloat16, float16 and float64 parameters. Run: `python benchmarks/accuracy.py [TARGET ...]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import _peers as peers
import numpy as np
from optloom.codegen.compiler import discover, targets
from optloom.codegen.conformance.cases import Case, Variant, composition_of, configuration
from optloom.codegen.conformance.judge import errors, ratios
from optloom.codegen.conformance.oracle import Batch, step
from optloom.codegen.conformance.pool import Skipped, Worker
from optloom.codegen.conformance.protocol import Episode, Job, Mode, Snapshot, numpy_dtype
from optloom.codegen.conformance.rendering import rendered
from optloom.spec import Slot
from optloom.spec.guards import ALWAYS
from optloom.spec.rule import Composition
from rich.console import Console
from rich.table import Table

STEPS = (1, 2, 10, 1000, 10**6, 2**24 + 1)
ELEMENTS = 2000
CONSOLE = Console(width=150)


def inputs(dtype: str) -> peers.Request:
    """Gradients of many sizes, and moments as they are after gradients like them."""
    rng = np.random.default_rng(2026)
    size = np.exp(rng.normal(-3, 2, ELEMENTS))
    g, m = (size * rng.normal(size=ELEMENTS) for _ in range(2))
    v = (size * rng.normal(size=ELEMENTS)) ** 2
    exact = [np.asarray(x, numpy_dtype(dtype)).astype(np.float64) for x in (np.zeros(ELEMENTS), g, m, v)]
    return peers.Request(dtype, STEPS, *exact)


def slot_values(name: str, request: peers.Request) -> dict[str, np.ndarray]:
    """Moments for the slots of a rule: a first moment may have any sign, what is divided by may not."""
    slots = [slot.name for slot in Composition(discover()[name]).of_kind(Slot) if slot.when == ALWAYS]
    return {slot: {"m": request.m}.get(slot, request.v) for slot in slots}


def snapshots(worker: Worker, file: Path, name: str, mode: Mode, request: peers.Request) -> list[Snapshot]:
    dtype = numpy_dtype(request.dtype)
    compute = np.float64 if request.dtype == "float64" else np.float32
    values = slot_values(name, request)
    episodes = [
        Episode(
            [request.w.astype(dtype)], [[request.g.astype(dtype)]] * request.calls,
            {slot: [x.astype(compute)] for slot, x in values.items()}, t - 1, t - 1,
        )
        for t in request.steps
    ]  # fmt: skip
    job = Job(str(file), discover()[name].__name__, mode.name, request.dtype, episodes)  # type: ignore[arg-type]
    return [calls[-1] for calls in worker.run(job)]


def in_ulp(actual: np.ndarray, name: str, request: peers.Request) -> list[tuple[float, float]]:
    """For each step the median error of the parameters in ULP, and the largest over its bound."""
    composition = composition_of(discover()[name])
    steps = np.array(request.steps, np.int64)
    compute = np.float64 if request.dtype == "float64" else np.float32

    def rows(x: np.ndarray, dtype: object) -> np.ndarray:
        return np.broadcast_to(x.astype(dtype), (len(steps), ELEMENTS))  # type: ignore[call-overload]

    batch = Batch(
        [rows(request.w, request.dtype)], [rows(request.g, request.dtype)],
        {slot: [rows(x, compute)] for slot, x in slot_values(name, request).items()}, steps - 1, steps - 1,
    )  # fmt: skip
    expected = step(
        configuration(composition, Case(Variant("plain"), "default", {}, STEPS), request.dtype), batch
    ).parameters[0]
    error = errors(actual, expected)
    ulp = np.spacing(np.abs(expected.head).astype(request.dtype)).astype(np.longdouble)
    ratio = ratios(error, actual, expected)
    return [(float(np.median(e / u)), float(r.max())) for e, u, r in zip(error, ulp, ratio, strict=True)]


def peer_in_ulp(peer: str, request: peers.Request) -> list[float]:
    found = peers.run(peer, request)
    medians = []
    for t, actual in zip(request.steps, found, strict=True):
        exact = peers.exact_step(peer, request, t)
        spacing = np.spacing(np.abs(np.array([float(x) for x in exact])).astype(request.dtype)).astype(float)
        off = [abs(float(a - x)) for a, x in zip(actual.tolist(), exact, strict=True)]
        medians.append(float(np.median(np.array(off) / spacing)))
    return medians


def one_step(name: str, dtype: str, folder: Path, workers: dict[str, Worker]) -> None:
    request = inputs(dtype)
    table = Table("target", "mode", "numerics", *(f"t={t:,}" for t in STEPS), "error / bound",
                  title=f"{name}, {dtype}: median error of the update, in ULP")  # fmt: skip
    for target, worker in workers.items():
        for mode in worker.modes():
            for numerics in mode.numerics:
                if dtype not in mode.dtypes:
                    continue
                try:
                    file = rendered(discover()[name], name, target, numerics, folder)
                    found = snapshots(worker, file, name, mode, request)
                except Skipped:
                    continue
                cells = in_ulp(np.array([snapshot.parameters[0] for snapshot in found]), name, request)
                worst = max(ratio for _, ratio in cells)
                table.add_row(target, mode.name, numerics, *(f"{m:.2f}" for m, _ in cells), f"{worst:.2f}")
    if name == "adam":
        for peer in peers.FRAMEWORKS:
            table.add_row(peer, "", "", *(f"{median:.3g}" for median in peer_in_ulp(peer, request)), "")
    CONSOLE.print(table)


def low_precision(folder: Path, workers: dict[str, Worker]) -> None:
    """Ten steps from 0 with gradients of 1e-3 (bfloat16) and of 0 (float16)."""
    constant = np.full(ELEMENTS, 1e-3)
    zeros = np.zeros(ELEMENTS)
    trained = peers.Request("bfloat16", (1,), zeros, constant, zeros, zeros, calls=10)
    idle = peers.Request("float16", (1,), zeros, zeros, zeros, zeros, calls=10, as_shipped=True)
    table = Table("who", "bfloat16: moved, of the way", "float16, zero gradients, as shipped: not a number",
                  title="adam, ten steps of low-precision parameters (the way is 10 learning rates)")  # fmt: skip

    def row(who: str, moved: np.ndarray | None, still: np.ndarray) -> None:
        share = "" if moved is None else f"{float(np.mean(-moved) / (10 * peers.LEARNING_RATE)):.1%}"
        table.add_row(who, share, f"{int(np.isnan(still).sum())} of {ELEMENTS}")

    for target, worker in workers.items():
        mode = worker.modes()[0]
        numerics = mode.numerics[-1]
        file = rendered(discover()["adam"], "adam", target, numerics, folder)
        runs = {}
        for request in (trained, idle):
            if request.dtype in mode.dtypes:
                kept = snapshots(worker, file, "adam", mode, request)[0].parameters[0]
                runs[request.dtype] = kept.astype(np.float64)
        row(f"{target} {mode.name}", runs.get("bfloat16"), runs["float16"])
    for peer in peers.FRAMEWORKS:
        row(peer, peers.run(peer, trained)[0], peers.run(peer, idle)[0])
    CONSOLE.print(table)


def main(names: list[str]) -> None:
    workers = {target: Worker(target) for target in targets() if not names or target in names}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for rule in ("adam", "adamax", "adagrad"):
                one_step(rule, "float32", Path(folder), workers)
            one_step("adam", "float64", Path(folder), workers)
            low_precision(Path(folder), workers)
    finally:
        for worker in workers.values():
            worker.close()


if __name__ == "__main__":
    main(sys.argv[1:])
