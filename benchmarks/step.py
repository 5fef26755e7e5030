"""How long steps take: generated optimizers with fused kernels, beside the hand-written ones and the memory's limit.

Adam in Keras as well, in functions, and whole training steps: unscaling, clipping by the norm of all, AdamW and an
average of the weights; AdamW on float32 weights from gradients of bfloat16, with a copy. Every round runs every
candidate once, in random order; figures are medians over rounds of the ratio within a round. The limit is a loop that
moves the fewest bytes the step can need, and computes nothing. Writes results/step.json and results/step.png.
Run: `python benchmarks/step.py [--rounds N] [--sizes 1x50000000,...] [--only adam;...] [--no-compile]`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _in_keras import IN_KERAS
from _whole_steps import WHOLE_STEPS, Step, WholeStep, parameters
from optloom.codegen.doctor import machine
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
SIZES = "1x50000000,100x100000,2000x1000"
"""Tensors and their elements, float32."""

LIMIT = """
#include <cstdint>
template <int arrays, bool reads> void loop(int64_t count, const float *g, const float *read, float *const *x) {
    float *const x0 = x[0], *const x1 = x[arrays > 1];
    float *const x2 = x[arrays > 2 ? 2 : 0], *const x3 = x[arrays > 3 ? 3 : 0];
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; ++i) {
        const float a = reads ? g[i] + read[i] : g[i];
        x0[i] += a;
        if (arrays > 1) x1[i] += a;
        if (arrays > 2) x2[i] += a;
        if (arrays > 3) x3[i] += a;
    }
}
extern "C" void limit(int64_t count, int64_t arrays, const float *g, const float *read, float *const *x) {
    if (read) loop<4, true>(count, g, read, x);
    else if (arrays == 1) loop<1, false>(count, g, read, x);
    else if (arrays == 2) loop<2, false>(count, g, read, x);
    else loop<3, false>(count, g, read, x);
}
"""


PEERS = {
    "fused": ("s", "PyTorch's, fused"), "foreach": ("^", "PyTorch's, foreach"),
    "for-loop": ("v", "PyTorch's, for-loop"), "torch.compile": ("D", "PyTorch's, torch.compile"),
    "composed": ("P", "PyTorch's, composed"), "keras": ("X", "Keras's"), "keras, XLA": ("*", "Keras's, XLA"),
}  # fmt: skip
"""Markers and names in the picture."""


@dataclass(frozen=True)
class Work:
    """A rule with its arguments. `bytes`: the fewest that a step moves per parameter, fixed by hand: the gradient is
    read, the parameter and each slot are read and written. `peer`: in torch.optim; `is_fused`: whether that has a
    fused kernel, else the best of its other ways is taken."""

    module: str
    name: str
    bytes: int
    peer: str
    is_fused: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def title(self) -> str:
        return self.label or self.name


WORKS = (
    Work("sgd", "SGD", 12, "SGD", True),
    Work("sgd", "SGD", 20, "SGD", True, {"momentum": 0.9}, "SGD, momentum"),
    Work("adagrad", "Adagrad", 20, "Adagrad", True),
    Work("adam", "Adam", 28, "Adam", True),
    Work("adamw", "AdamW", 28, "AdamW", True),
    Work("adamax", "Adamax", 28, "Adamax"),
    Work("nadam", "Nadam", 28, "NAdam"),
    Work("rmsprop", "RMSprop", 20, "RMSprop"),
    Work("lion", "Lion", 20, ""),
    Work("lamb", "Lamb", 40, ""),
)


def candidates(work: Work | WholeStep, count: int, size: int, compiles: bool) -> dict[str, Step]:
    """What is timed of one work and size, by name."""
    if isinstance(work, WholeStep):
        return work.candidates(count, size)
    kind = getattr(importlib.import_module(f"optloom.generated.pytorch.{work.module}"), work.name)
    ours = kind(parameters(count, size), fused=True, **work.arguments)
    made: dict[str, Step] = {"ours": ours.step}
    if work.peer:
        peer = getattr(torch.optim, work.peer)
        if work.is_fused:
            made["fused"] = peer(parameters(count, size), fused=True, **work.arguments).step
        else:
            made["for-loop"] = peer(parameters(count, size), foreach=False, **work.arguments).step
            made["foreach"] = peer(parameters(count, size), foreach=True, **work.arguments).step
            if compiles and count <= 100:
                torch._dynamo.reset()
                lr = torch.tensor(0.001)
                made["torch.compile"] = torch.compile(peer(parameters(count, size), lr=lr, **work.arguments).step)
    return made


def limit_loop(moved: int, size: int, limit: ctypes.CDLL) -> Step:
    """Reads one array of 4 bytes per parameter, reads and writes as many others as `moved` bytes leave; what then
    is left over is another one that is read."""
    count, rest = divmod(moved - 4, 8)
    g = np.full(size, 0.01, np.float32)
    read = np.full(size, 0.01, np.float32) if rest else None
    read_pointer = ctypes.c_void_p(None if read is None else read.ctypes.data)
    arrays = [np.full(size, 0.5, np.float32) for _ in range(count)]
    pointers = (ctypes.c_void_p * count)(*(x.ctypes.data for x in arrays))

    def run(_: Any = (g, read, arrays)) -> None:
        limit.limit(ctypes.c_int64(size), ctypes.c_int64(count), ctypes.c_void_p(g.ctypes.data), read_pointer, pointers)

    return run


def timed(made: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round; what comes first, twice, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds + 2):
        for name in random.sample(list(made), len(made)):
            start = time.perf_counter()
            made[name]()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_extra_bytes(step: Step) -> int:
    """What a step allocates of PyTorch, at its peak."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = peak = 0
    for event in sorted(profile.events(), key=lambda event: event.time_range.start):
        held += event.self_cpu_memory_usage
        peak = max(peak, held)
    return peak


def rows(options: argparse.Namespace, limit: ctypes.CDLL) -> Iterator[dict[str, Any]]:
    for count, size in (map(int, pair.split("x")) for pair in options.sizes.split(",")):
        for work in (*WORKS, *WHOLE_STEPS, *IN_KERAS):
            if options.only and work.title.lower() not in options.only.lower().split(";"):
                continue
            made = candidates(work, count, size, not options.no_compile)
            made["limit"] = limit_loop(work.bytes, count * size, limit)
            seconds = timed(made, options.rounds)
            ratios = {
                name: statistics.median(a / b for a, b in zip(seconds[name], seconds["ours"], strict=True))
                for name in seconds if name not in ("ours", "limit")
            }  # fmt: skip
            to_limit = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["limit"], strict=True))
            yield {
                "work": work.title, "tensors": count, "elements": size, "bytes": work.bytes,
                "milliseconds": {name: 1e3 * statistics.median(each) for name, each in seconds.items()},
                "to_limit": to_limit, "peers": ratios, "peak_extra_bytes": peak_extra_bytes(made["ours"]),
            }  # fmt: skip


def built_limit(folder: str) -> ctypes.CDLL:
    source, library = Path(folder) / "limit.cpp", Path(folder) / "limit.so"
    source.write_text(LIMIT)
    flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def picture(found: list[dict[str, Any]], file: Path) -> None:
    """Time over the limit's, for each work and size; peers beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes = list(dict.fromkeys((row["tensors"], row["elements"]) for row in found))
    figure, axes = pyplot.subplots(
        1, len(sizes), figsize=(5 * len(sizes), 4.2), layout="constrained", squeeze=False, sharey=True
    )
    for axis, (count, size) in zip(axes[0], sizes, strict=True):
        shown = [row for row in found if (row["tensors"], row["elements"]) == (count, size)]
        for place, row in enumerate(shown):
            axis.plot([row["to_limit"]], [place], "o", color="tab:blue", label="generated, fused" if place == 0 else "")
            for name, ratio in row["peers"].items():
                marker, label = PEERS[name]
                axis.plot([row["to_limit"] * ratio], [place], marker, color="tab:orange", label=label)
        axis.axvline(1, color="gray", linewidth=1)
        axis.set(xscale="log", title=f"{count} of {size:,}", xlabel="time over the memory's limit")
        farthest = axis.get_xlim()[1]
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick < farthest]
        axis.set_xticks(ticks, map(str, ticks))
        axis.minorticks_off()
        axis.set_yticks(range(len(shown)), [row["work"] for row in shown])
    axes[0][0].invert_yaxis()
    handles: dict[str, Any] = {}
    for axis in axes[0]:
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True) if label}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = Table("work", "tensors", "ours, ms", "over the limit", "peers over ours", "peak extra bytes")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options, built_limit(folder)):
            found.append(row)
            peers = ", ".join(f"{name} {ratio:.2f}" for name, ratio in row["peers"].items())
            size = f"{row['tensors']} of {row['elements']:,}"
            times = row["milliseconds"]["ours"]
            table.add_row(
                row["work"], size, f"{times:.2f}", f"{row['to_limit']:.2f}", peers, str(row["peak_extra_bytes"])
            )
            print(f"{row['work']}, {size}: {row['to_limit']:.2f} of the limit; {peers}", flush=True)
    Console().print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    on = {"processor": machine().processor, "cores": os.cpu_count(), "torch": torch.__version__}
    report = {"machine": on, "rounds": options.rounds, "rows": found}
    (options.out / "step.json").write_text(json.dumps(report, indent=1) + "\n")
    picture(found, options.out / "step.png")


if __name__ == "__main__":
    main()
