"""The CUDA target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...c_family.layout import Dialect, Switches
from ...c_family.passes import Pass
from ...c_family.target import CTarget
from ...ir.nodes import Program

THREADS = 256
"""Of a thread block; in passes with sums, its lanes: a thread has as many of them as a pack has elements."""

DIALECT = Dialect(
    target="cuda", suffix=".cu", function="__device__ inline", float32="Float32", float64="Float64",
    literal="Float64({0})", to_double="double({0}.x)", int64="int64", uint32="uint32", uint16="uint16",
)  # fmt: skip


@dataclass(frozen=True)
class CudaTarget(CTarget):
    """Kernels, and what a launcher must know of them."""

    def context(self, program: Program, stem: str) -> dict[str, Any]:
        shared = super().context(program, stem)
        start, updates = shared["start"], shared["updates"]
        launches = [_launch(stem, "prologue", "call")]
        for each in updates:
            if each.per_tensor:
                launches.append(_launch(stem, f"before_{each.name}", "tensor"))
            launches.append(_launch(stem, each.name, "chunk", bool(each.sums)))
        described = {
            "start": [_launch(stem, start.name, "chunk")] if start else [],
            "step": launches,
            "buffers": _buffers(shared, updates),
        }
        earlier = {later.name: sooner for sooner, later in pairwise(updates)}
        slots = [slot.name for slot in (*shared["slots"], *shared["scalar_slots"])]
        return shared | {
            "threads": THREADS,
            "launches": _as_text(described),
            "order": [launch["kernel"] for launch in launches],
            "earlier": earlier,
            "pointers": ["w", "g", "copy", "step", *slots],
            "waits": Switches(program, stem).constant(program.update.guard),
        }


def _launch(stem: str, name: str, grid: str, packs: bool = False) -> dict[str, Any]:
    return {"kernel": f"{stem}_{name}", "grid": grid, "packs": packs}


def _buffers(shared: dict[str, Any], updates: tuple[Pass, ...]) -> list[dict[str, Any]]:
    """The arrays behind the state's pointers, after the row and the call's: numbers of 64 bits for each of `per`."""
    fields = len(shared["scalars"].fields) + (shared["scalars"].predicate is not None)
    sums = len(shared["sums"])
    buffers = [("scalars", "row", fields)]
    if sums:
        buffers += [("block_sums", "block", sums), ("tensor_sums", "tensor", sums)]
    buffers += [
        (each.per_tensor.function, "tensor", len(each.per_tensor.fields)) for each in updates if each.per_tensor
    ]
    return [{"name": name, "per": per, "words": max(words, 1)} for name, per, words in buffers]


def _as_text(described: dict[str, list[Any]]) -> str:
    """JSON, a line for each item."""
    parts = []
    for key, items in described.items():
        rows = ",\n".join(f"    {json.dumps(item)}" for item in items)
        parts.append(f'  "{key}": [\n{rows}\n  ]' if items else f'  "{key}": []')
    return "{\n" + ",\n".join(parts) + "\n}"


TARGET = CudaTarget(DIALECT, Path(__file__).parent)
