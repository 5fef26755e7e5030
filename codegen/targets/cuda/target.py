"""The CUDA target."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optloom.spec.guards import ALWAYS, Guard

from ...c_family.layout import Dialect, Switches, before_tensors
from ...c_family.passes import Pass
from ...c_family.target import CTarget
from ...ir.nodes import Program
from ...printing import UnsupportedOperation

THREADS = 256
"""Of a thread block; in passes with sums, its lanes: a thread has as many of them as a pack has elements."""

DIALECT = Dialect(
    target="cuda", suffix=".cu", function="__device__ inline", float32="Float32", float64="Float64",
    literal="Float64({0})", to_double="double({0}.x)", int64="int64", uint32="uint32", uint16="uint16",
    brings_scratch=True,
)  # fmt: skip


@dataclass(frozen=True)
class CudaTarget(CTarget):
    """Kernels, and what a launcher must know of them."""

    def context(self, program: Program, stem: str) -> dict[str, Any]:
        shared = super().context(program, stem)
        start, updates = shared["start"], shared["updates"]
        switches = Switches(program, stem)
        launches = [*_gate_launches(stem, program, switches), _launch(stem, "prologue", "rows")]
        for each in updates:
            launches += _launches(stem, each, switches)
        if shared["last"] != updates[-1]:
            launches.append(_launch(stem, "counters", "tensor"))
        described = {
            "start": [_launch(stem, start.name, "chunk")] if start else [],
            "step": launches,
            "buffers": _buffers(shared, updates),
            "scratch": [{"per": kind, "numbers": count} for kind, count in shared["scratch"].items()],
        }
        kinds = ("slots", "axis_slots", "numbers", "scalar_slots", "tensor_inputs")
        members = [member.name for kind in kinds for member in shared[kind]]
        members += ["scratch"] if shared["scratch"] else []
        return shared | {
            "threads": THREADS,
            "launches": _as_text(described),
            "order": [launch["kernel"] for launch in launches],
            "pointers": ["w", "g", "copy", "step", *members],
            "waits": switches.constant(program.update.guard),
        }


def _gate_launches(stem: str, program: Program, switches: Switches) -> list[dict[str, Any]]:
    """The kernels that decide whether a call is made at all."""
    if program.gate is None:
        return []
    when = _when(switches, (program.gate.guard,))
    return [_launch(stem, "open", "rows", when), _launch(stem, "gate", "chunk", when)]


def _launches(stem: str, each: Pass, switches: Switches) -> Iterator[dict[str, Any]]:
    """The kernels of a pass, in order."""
    when = _when(switches, each.guards)
    if each.per_row:
        yield _launch(stem, each.per_row.function, "rows", _when(switches, each.per_row.guards))
    if each.per_tensor:
        yield _launch(stem, f"before_{each.name}", "tensor", _when(switches, each.per_tensor.guards))
    if each.matrices:
        yield _launch(stem, f"{each.name}_matrices", "tensor", when)
    if each.lines_of_tiles:
        meets = any(along.terms for along in each.lines_of_tiles)
        yield _launch(stem, f"{each.name}_lines", "chunk", when, meets=meets)
    if each.is_tiled:
        yield _launch(stem, f"{each.name}_tiles", "chunk", when, meets=bool(each.row_sums))
    if each.lines:
        yield _launch(stem, each.name, "chunk", when, packs=bool(each.sums))
    if each.sums:
        yield _launch(stem, f"{each.name}_sums", "tensor", when, meets=True)
    if each.totals:
        totals = _when(switches, tuple(total.guard for total in each.reductions if total.name in each.totals))
        yield _launch(stem, f"{each.name}_totals", "tensors", totals, meets=True)


def _launch(
    stem: str, name: str, grid: str, when: Sequence[Sequence[str]] = (), *, packs: bool = False, meets: bool = False
) -> dict[str, Any]:
    """`grid`: one block for all rows or tensors, or for each tensor or chunk. `when`: switches, of which all of one
    list must be as they say; empty for always. `meets`: its threads wait for one another."""
    return {"kernel": f"{stem}_{name}", "grid": grid, "packs": packs, "meets": packs or meets, "when": when}


def _when(switches: Switches, guards: tuple[Guard, ...]) -> list[list[str]]:
    known = tuple(dict.fromkeys(map(before_tensors, guards)))
    if ALWAYS in known:
        return []
    asked = [switches.conjuncts(guard) for guard in known]
    names = [[name for name in each if isinstance(name, str)] for each in asked]
    if names != asked:
        raise UnsupportedOperation("a pass that runs under one of several conditions", "cuda")
    return names


def _buffers(shared: dict[str, Any], updates: tuple[Pass, ...]) -> list[dict[str, Any]]:
    """The arrays behind the state's pointers, after the row and the call's: numbers of 64 bits for each of `per`."""
    fields = len(shared["scalars"].fields) + (shared["scalars"].predicate is not None)
    sums = len(shared["terms"])
    buffers = [("is_closed", "call", 1)] if shared["gate"] else []
    buffers.append(("scalars", "row", fields))
    if shared["sums"]:
        buffers += [("block_sums", "block", sums), ("tensor_sums", "tensor", sums)]
    if shared["totals"]:
        buffers.append(("total_sums", "call", sums))
    buffers += [
        (each.per_tensor.function, "tensor", len(each.per_tensor.fields)) for each in updates if each.per_tensor
    ]
    return [{"name": name, "per": per, "words": max(words, 1)} for name, per, words in buffers]


def _as_text(described: dict[str, list[Any]]) -> str:
    """JSON, a line for each item, and one for when a launch is wanted."""
    parts = []
    for key, items in described.items():
        rows = ",\n".join(f"    {json.dumps(item)}" for item in items).replace(', "when":', ',\n     "when":')
        parts.append(f'  "{key}": [\n{rows}\n  ]' if items else f'  "{key}": []')
    return "{\n" + ",\n".join(parts) + "\n}"


TARGET = CudaTarget(DIALECT, Path(__file__).parent, missing_stages=frozenset())
