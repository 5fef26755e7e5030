"""The CUDA target."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optloom.spec.guards import ALWAYS, Guard, before_tensors

from ...c_family.layout import Dialect, Switches
from ...c_family.passes import Pass
from ...c_family.products import Filled
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
        if shared["multiplies"]:
            described["products"] = [_products(stem, each, switches) for each in updates if each.products]
        kinds = ("slots", "axis_slots", "numbers", "scalar_slots", "tensor_inputs")
        members = [member.name for kind in kinds for member in shared[kind]]
        members += ["scratch"] if shared["scratch"] else []
        members += ["kept"] if shared["multiplies"] else []
        return shared | {
            "threads": THREADS,
            "launches": _as_text(described),
            "order": [launch["kernel"] for launch in launches if launch["grid"] != "products"],
            "pointers": ["w", "g", "step", *members],
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
    if each.products:
        yield _launch(stem, f"{each.name}_products", "products", when)
    if each.lines:
        yield _launch(stem, each.name, "chunk", when, packs=bool(each.sums))
    if each.sums:
        yield _launch(stem, f"{each.name}_sums", "tensor", when, meets=True)
    if each.totals:
        totals = _when(switches, tuple(total.guard for total in each.reductions if total.name in each.totals))
        yield _launch(stem, f"{each.name}_totals", "tensors", totals, meets=True)


def _products(stem: str, each: Pass, switches: Switches) -> dict[str, Any]:
    """The steps over the matrices of a tensor before `each`: kernels over elements, and products, of places by number:
    first those of the tensors in turn, then what is kept of each. `of`: the tensors, as launches are told when."""
    asked = each.products
    assert asked is not None
    number = {name: at for at, (name, _) in enumerate((*asked.working, *asked.kept))}
    steps: list[dict[str, Any]] = []
    for step in asked.steps:
        if isinstance(step, Filled):
            steps.append({"kernel": f"{stem}_{step.elements.name}"})
        else:
            left = {"place": number[step.left], "is_transposed": step.left_is_transposed == "true"}
            right = {"place": number[step.right], "is_transposed": step.right_is_transposed == "true"}
            steps.append({"left": left, "right": right, "to": number[step.to]})
    places = {"working": [asked.shapes[name] for name, _ in asked.working]}
    places["kept"] = [asked.shapes[name] for name, _ in asked.kept]
    return {"launch": f"{stem}_{each.name}_products", "of": switches.conjuncts(asked.guard), **places, "steps": steps}


def _launch(
    stem: str, name: str, grid: str, when: Sequence[Sequence[str]] = (), *, packs: bool = False, meets: bool = False
) -> dict[str, Any]:
    """`grid`: one block for all rows or tensors, or for each tensor or chunk; "products" is no kernel, but the steps of
    that name. `when`: switches, of which all of one list must be as they say; empty for always. `meets`: its threads
    wait for one another."""
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
    if shared["multiplies"]:
        buffers.append(("working", "products", 1))
    return [{"name": name, "per": per, "words": max(words, 1)} for name, per, words in buffers]


def _as_text(described: dict[str, list[Any]]) -> str:
    """JSON, a line for each item, and one for when a launch is wanted."""
    parts = []
    for key, items in described.items():
        rows = ",\n".join(f"    {_in_lines(json.dumps(item))}" for item in items)
        parts.append(f'  "{key}": [\n{rows}\n  ]' if items else f'  "{key}": []')
    return "{\n" + ",\n".join(parts) + "\n}"


def _in_lines(item: str) -> str:
    """An item with line breaks before its long parts, and between the shapes and steps of products."""
    parts = ("when",) if '"steps":' not in item else ("working", "kept", "steps")
    for part in parts:
        item = item.replace(f', "{part}":', f',\n     "{part}":')
    for end, begin in (("]", '["'), ("}", '{"left"'), ("}", '{"kernel"')) if '"steps":' in item else ():
        item = item.replace(f"{end}, {begin}", f"{end},\n      {begin}")
    return item


TARGET = CudaTarget(DIALECT, Path(__file__).parent, missing_stages=frozenset())
