"""The target that C++ and CUDA are: a dialect and the templates of its kernels."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.guards import Guard, before_tensors

from ..arguments import Refused, refused
from ..dialects import EVERY
from ..double_word import functions_for
from ..ir.nodes import Hyperparameter, Length, Literal, Program, Reduce, Ref, walk
from ..passes.legalise import Nestings
from ..passes.traffic import Sum
from ..printing import UnsupportedOperation
from ..target import Templates
from . import TEMPLATES
from .layout import NARROW, Dialect, Switches
from .passes import PassBuilder
from .scalars import scalars
from .scratch import Scratch
from .text import WIDTH, fitted, wrapped

SHAPES = ("parameter", "rows", "columns", "tensor", "scalar")
"""Of slots, in the order in which they stand in a tensor's struct."""
LENGTHS = ("axes", "matrices", "rows", "columns")
"""What the struct of a tensor tells of its axes, if its kernel asks for them."""


@dataclass(frozen=True)
class CTarget:
    """One file for each rule, for the bindings of all frameworks: conventions of all peers stay options. C++ and CUDA
    are strict always: nothing is contracted, so it costs nothing."""

    dialect: Dialect
    folder: Path
    numerics: OneOf["strict", "fast"] = "strict"
    nestings: Nestings = frozenset()
    ecosystem: str = EVERY
    missing_stages: frozenset[str] = frozenset({"unscale", "clip", "ema"})

    @property
    def name(self) -> str:
        return self.dialect.target

    @cached_property
    def templates(self) -> Templates:
        return Templates(self.folder / "templates", (TEMPLATES,))

    def render(self, program: Program) -> Mapping[str, str]:
        """`<rule>.<suffix>`. Raises UnsupportedOperation for what kernels do not hold."""
        stem = Path(program.source).stem
        try:
            context = self.context(program, stem)
        except UnsupportedOperation as error:
            raise UnsupportedOperation(error.what, self.name, error.location) from error
        return {
            f"{stem}{self.dialect.suffix}": fitted(self.templates.render(f"rule{self.dialect.suffix}.jinja", context))
        }

    def context(self, program: Program, stem: str) -> dict[str, Any]:
        """What the templates read."""
        return _context(program, self.dialect, stem)


def _context(program: Program, dialect: Dialect, prefix: str) -> dict[str, Any]:
    """Scalar slots are members of the row, beside the counters; all others are arrays of the tensor."""
    _check(program)
    switches = Switches(program, prefix)
    helpers: set[str] = set()
    passes = PassBuilder(program, switches, dialect, helpers)
    start, every_call, updates = passes.start(), passes.every_call(), passes.updates()
    sums = tuple(name for update in updates for name in update.sums)
    terms = sums + tuple(dict.fromkeys(each.name for update in updates for each in update.along_axes))
    not_taken = refused(program)
    lengths = LENGTHS if not_taken or _asks_for_axes(program, switches) else ()
    reductions = tuple(total for update in updates for total in update.reductions)
    of_matrices = tuple(each for update in updates if update.products for each in update.products.passes)
    largest = {each.name for update in updates for each in update.along_axes if each.to == "largest"}
    helpers |= {"maximum"} if largest else set()
    scalar_helpers: set[str] = set()
    callbacks = ("product",) if of_matrices else ()
    computed = scalars(program, switches, dialect, scalar_helpers)
    of_rows = dict.fromkeys(field for update in updates if update.per_row for field in update.per_row.fields)
    by_shape = {shape: tuple(slot for slot in program.slots if slot.shape == shape) for shape in SHAPES}
    return {
        "name": program.name, "prefix": prefix, "source": program.source, "d": dialect,
        "doc": [line for part in program.doc.split("\n") for line in textwrap.wrap(part, WIDTH - 3) or [""]],
        "formula": [part for line in program.formula for part in wrapped(line, 7)],
        "hypers": program.hypers, "slots": by_shape["parameter"], "numbers": by_shape["tensor"],
        "axis_slots": by_shape["rows"] + by_shape["columns"],
        "scalar_slots": by_shape["scalar"],
        "scalar_inputs": tuple(source for source in program.inputs if source.shape == "scalar"),
        "tensor_inputs": tuple(source for source in program.inputs if source.shape == "parameter"),
        "switches": tuple(switches.all.values()), "asks_narrow": switches.asks_narrow,
        "refused": tuple(switches.of_tensor(each.guard, "tensor[i].axes") for each in not_taken),
        "interface": _interface(program, switches, reductions, passes.places(), lengths, dialect, callbacks, not_taken),
        "scalars": replace(computed, fields=(*computed.fields, *of_rows)), "scalar_helpers": scalar_helpers,
        "double_words": functions_for(scalar for region in program.regions for scalar in region.scalars),
        "helpers": helpers,
        "gate": switches.constant(program.gate.guard) if program.gate else "",
        "start": start, "every_call": every_call, "updates": updates,
        "passes": tuple(each for each in (start, every_call, *updates, *of_matrices) if each),
        "multiplies": bool(of_matrices),
        "last": next(update for update in reversed(updates) if update.lines),
        "sums": sums, "totals": tuple(name for update in updates for name in update.totals), "note": _note,
        "largest": largest,
        "folds": {s.to: s.name for update in updates for s in update.reductions if s.name in update.row_sums},
        "terms": terms, "lengths": lengths, **Scratch(updates).context(),
    }  # fmt: skip


def _asks_for_axes(program: Program, switches: Switches) -> bool:
    nodes = (node for region in program.regions for s in region.statements for node in walk(s.value))
    return bool(switches.axes) or any(isinstance(node, Reduce | Length) and node.over == "axis" for node in nodes)


def _check(program: Program) -> None:
    """What the kernels do not hold (yet)."""
    for slot in program.slots:
        if slot.shape not in SHAPES:
            raise UnsupportedOperation(f"state of shape '{slot.shape}'", "c")


def _note(hyper: Hyperparameter) -> str:
    """What a field of the row is, in a few words."""
    default = f"{hyper.default:g} by default" if hyper.default is not None else ""
    return ", ".join(part for part in (hyper.doc, default) if part)


def _counters(program: Program) -> list[str]:
    """The row's counters, in order."""
    iterations = ["iterations"] if program.update.predicate else []
    return [*iterations, "t", *(["skipped"] if program.gate else [])]


def _start(init: Literal | Ref) -> float | str:
    """A number, or the name of the hyperparameter that it is."""
    return init.name if isinstance(init, Ref) else float(init.value)


def _interface(
    program: Program, switches: Switches, sums: tuple[Sum, ...], places: tuple[Guard, ...], lengths: tuple[str, ...],
    dialect: Dialect, callbacks: tuple[str, ...], not_taken: tuple[Refused, ...],
) -> str:  # fmt: skip
    """The file's interface as JSON, a line for each part."""

    parts: dict[str, list[Any]] = {
        "hypers": [
            {"name": h.name, "type": "int64" if h.integer else "float64", "default": h.default} for h in program.hypers
        ],
        "counters": [{"name": name} for name in _counters(program)],
        "options": [{"name": option.name, "default": option.default} for option in program.options],
        "switches": [switch.describe(program) for switch in switches.all.values()],
        "slots": [
            {"name": s.name, "shape": s.shape, "when": switches.conjuncts(s.when)}
            | ({"storage": s.storage} if s.storage != "compute" else {})
            for s in program.slots if s.shape != "scalar"
        ],
        "tensor": [
            *("size", "row", *lengths, "w", "g", "step"),
            *(("scratch",) if lengths and dialect.brings_scratch else ()),
            *(("kept",) if callbacks and dialect.brings_scratch else ()),
            *(slot.name for shape in SHAPES for slot in program.slots if slot.shape == shape),
            *(source.name for source in program.inputs if source.shape == "parameter"),
        ],
        "inputs": [{"name": source.name, "shape": source.shape} for source in program.inputs],
        "axes": [{"name": name, "count": atom.count} for atom, name in switches.axes.items()],
        "narrow": [{"name": NARROW}] if switches.asks_narrow else [],
        "sums": [{"name": s.name, "over": s.over, "when": switches.conjuncts(before_tensors(s.guard))} for s in sums],
        "places": [{"when": switches.conjuncts(before_tensors(guard))} for guard in places],
        "scalar_slots": [
            {"name": s.name, "when": switches.conjuncts(s.when), "start": _start(s.init)}
            for s in program.slots if s.shape == "scalar"
        ],
    }  # fmt: skip
    if callbacks:
        parts["callbacks"] = [{"name": name} for name in callbacks]
    if not_taken:
        parts["refused"] = [{"takes": each.takes, "when": switches.conjuncts(each.guard)} for each in not_taken]
    lines = []
    for key, items in parts.items():
        rows = ",\n".join(f"    {json.dumps(item)}" for item in items)
        lines.append(f'  "{key}": [\n{rows}\n  ]' if items else f'  "{key}": []')
    return "{\n" + ",\n".join(lines) + "\n}"
