"""The PyTorch target: a `torch.optim.Optimizer` per rule, and one support module without mathematics for all."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, Flag, Given, HasAxes, atoms

from ... import c_family
from ...arguments import refused
from ...ir.nodes import Choose, Expression, Fn, Kind, Literal, Op, Program, Reduce, Ref, SlotInfo, walk
from ...passes.joined import joined
from ...passes.legalise import Nestings
from ...passes.locality import following, locality, whole_under
from ...stages import GATES
from ...target import Kernels, Templates
from ..cpp.target import TARGET as CPP
from ..cuda.loader import FILES as LOADER
from ..cuda.target import TARGET as CUDA
from .arguments import Signature
from .multi_tensor import vocabulary
from .names import OFF, Names
from .printer import GroupPrinter
from .statements import every_call, passes, scalar_lines, sums, sums_along, uses_one_minus_power

TEMPLATES = Templates(Path(__file__).parent / "templates", (c_family.TEMPLATES,))
FUSED = ("_fused.py", "_fused_parts.py", "_fused_tables.py", "_fused_cuda.py")
"""The modules that run fused kernels."""


class PytorchTarget:
    name = "pytorch"
    ecosystem = "torch"
    missing_stages: frozenset[str] = frozenset()
    numerics: OneOf["strict", "fast"] = "fast"
    nestings: Nestings = frozenset()
    kernels = Kernels((CPP.name, CUDA.name), (*FUSED, "_kernels.py", "_tensors.cpp", *LOADER), "_fused_tables.py")

    def names(self, program: Program) -> Mapping[str, str]:
        """What PyTorch's users call what `program` declares: arguments, and keys of a parameter's state."""
        names = Names(program.peers, tuple(hyper.name for hyper in program.hypers))
        hypers = {hyper.name: names.shown(hyper.name) for hyper in program.hypers}
        return hypers | {slot.name: names.slot(slot.name) for slot in program.slots}

    def render(self, program: Program) -> Mapping[str, str]:
        narrow = any(slot.storage == "parameter" for slot in program.slots)
        return {
            program.source: TEMPLATES.render("rule.py.jinja", _Module(program).context()),
            "_support.py": TEMPLATES.render("_support.py.jinja", vocabulary()),
            "_kernels.py": c_family.loader(),
            **{file: TEMPLATES.render(f"{file[1:]}.jinja", {"off": OFF, "gates": GATES}) for file in FUSED},
            "_tensors.cpp": TEMPLATES.render("tensors.cpp.jinja", {}),
            **({"_slot_dtype.py": TEMPLATES.render("slot_dtype.py.jinja", {})} if narrow else {}),
            **LOADER,
        }


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = Names(program.peers, tuple(hyper.name for hyper in program.hypers))
        self.signature = Signature(program, self.names)
        self.guards = GroupPrinter(program, self.names)

    def context(self) -> dict[str, Any]:
        program, signature = self.program, self.signature
        title, _, doc = program.doc.partition("\n")
        notes = [_filled(note) for note in self._notes()]
        made = passes(program, self.names)
        return {
            "name": program.name,
            "source": program.source,
            "strict": program.strict,
            "powers": not program.strict and uses_one_minus_power(program),
            "title": textwrap.fill(title, 106, initial_indent=" " * 7, subsequent_indent=" " * 4).lstrip(),
            "first": [_filled(note) for note in self._differences()],
            "doc": doc.strip(),
            "formula": [_listed(self._renamed(line)) for line in program.formula],
            "notes": notes,
            "positional": signature.positional,
            "keywords": signature.keywords,
            "documented": [_listed(f"{argument.name}: {argument.doc}") for argument in signature.documented()],
            "checks": signature.checks(),
            "slots": [self._slot(slot) for slot in program.slots],
            "whole": [self._slot(slot) for slot in program.slots if slot.shape != "scalar"],
            "scalar_slots": [self._slot(slot) for slot in program.slots if slot.shape == "scalar"],
            "narrow": tuple(self.names.slot(slot.name) for slot in program.slots if slot.storage == "parameter"),
            "optional_slots": any(slot.when != ALWAYS for slot in program.slots),
            "not_lazy": locality(program),
            "dialect": signature.dialect(),
            "machine_epsilon": tuple(map(self.names.place, self.names.machine_epsilon)),
            "every": program.update.predicate.hyper if program.update.predicate else "",
            "scalars": scalar_lines(program, self.names, joined(program)),
            "every_call": every_call(program, self.names),
            "call_scalars": scalar_lines(program, self.names, program.regions[0]),
            "call_reads_scalars": bool(program.regions[0].scalars),
            "of_optimizer": tuple(program.of_optimizer),
            "whole_under": tuple(whole_under(program)),
            "not_fused": tuple(_not_fused(program)),
            "sums_under": tuple(_sums_under(program)),
            "gate": _gate(program),
            "averages": next((self.names.slot(slot.name) for slot in program.slots if slot.for_evaluation), ""),
            "following": tuple(map(self.names.slot, following(program))),
            "hypers": {hyper.name: self.names.place(hyper.name) for hyper in program.hypers},
            "scalars_doc": self._scalars_doc(),
            "passes": made,
            "pass_names": tuple(each.name for each in made),
            "update_doc": self._update_doc(),
            "inputs": [*program.inputs],
            "scalar_inputs": [source.name for source in program.inputs if source.shape == "scalar"],
            "tensor_inputs": [source.name for source in program.inputs if source.shape == "parameter"],
            "asks_for_axes": _asks_for_axes(program),
            "refused": [{"condition": self.guards.guard(each.guard), "takes": each.takes} for each in refused(program)],
            "divides_by_rate": _divides_by_rate(program),
            "helpers": self._helpers(),
        }

    def _renamed(self, line: str) -> str:
        """A line of the formula with PyTorch's names of hyperparameters."""
        for hyper in self.program.hypers:
            line = re.sub(rf"\b{hyper.name}\b", self.names.hyper(hyper.name), line)
        return line

    def _differences(self) -> Iterator[str]:
        peer = self.names.peer
        if peer is not None:
            differs = [*peer.differs, *self._other_defaults(peer)]
            where = "; ".join(map(self._renamed, differs)) or "nowhere but in rounding"
            theirs = ", ".join(f"{name}={value!r}" for name, value in self.signature.dialect().items())
            yield f"Differs from {peer.path}: {where}.{f' Its conventions are {theirs}.' if theirs else ''}"

    def _notes(self) -> Iterator[str]:
        names = self.names
        renamed = [slot.name for slot in self.program.slots if names.slot(slot.name) != slot.name]
        kept = [f"{name} is `{names.slot(name)}`" for name in renamed]
        yield f"In a parameter's state {', '.join([*kept, 't is `step`'])}."
        yield (
            "Arithmetic and slots are float64 for float64 parameters, else float32; a parameter of lower precision is "
            "rounded once. Gradients are never written to."
        )
        narrow = [names.slot(slot.name) for slot in self.program.slots if slot.storage == "parameter"]
        if narrow:
            listed = ", ".join(narrow)
            yield f"But {listed} are of the parameter's dtype: what is stored there is rounded before it is read."

    def _other_defaults(self, peer: Peer) -> Iterator[str]:
        for hyper in self.program.hypers:
            if hyper.name in peer.defaults:
                ours, theirs = hyper.default, peer.defaults[hyper.name]
                yield f"{self.names.hyper(hyper.name)} is {ours} by default, not {theirs}"

    def _slot(self, slot: SlotInfo) -> dict[str, str]:
        match slot.init:
            case Literal(value):
                start = repr(float(value))
            case Ref(Kind.HYPER, name):
                start = self.names.value(name)
            case _:
                start = "_support.COPY"
        variable, guard = self.names.variable(slot.name), "" if slot.when == ALWAYS else self.guards.guard(slot.when)
        return {
            "spec": slot.name,
            "name": self.names.slot(slot.name),
            "variable": variable,
            "argument": f"{variable}: {'Any' if guard else 'Tensor'}",
            "start": start,
            "guard": guard,
            "shape": slot.shape,
        }

    def _scalars_doc(self) -> str:
        if self.program.strict:
            return "The numbers of update `t`, the same for all elements: computed as double words, rounded once."
        return "The numbers of update `t`, the same for all elements: floats, or tensors if `t` is one."

    def _update_doc(self) -> str:
        absent = "; slots not in use are None" if any(slot.when != ALWAYS for slot in self.program.slots) else ""
        return f"The formula: writes `w` and the slots, all of one dtype{absent}."

    def _helpers(self) -> list[str]:
        if self.program.strict:
            total = ["total.py.jinja"] if sums(self.program) else []
            total += ["total_along.py.jinja"] if sums_along(self.program) else []
            return [*total, "sqrt.py.jinja", "double_word.py.jinja"]
        return ["one_minus_power.py.jinja"] if uses_one_minus_power(self.program) else []


def _gate(program: Program) -> str:
    """The option under which a call may be skipped; empty if none is."""
    known = atoms(program.gate.guard) if program.gate else ()
    return next((atom.option for atom in known if isinstance(atom, Flag)), "")


def _not_fused(program: Program) -> list[str]:
    """What turns on a stage that the kernels do not have yet."""
    missing = [stage.guard for stage in program.stages if stage.name in CPP.missing_stages]
    return [
        guard.hyper if isinstance(guard, Given) else guard.option
        for guard in missing
        if isinstance(guard, Given | Flag)
    ]


def _sums_under(program: Program) -> list[str]:
    """What asks for sums over all tensors."""
    guards = [
        s.guard
        for region in program.regions
        for s in region.statements
        if any(isinstance(node, Reduce) and node.over == "tensors" for node in walk(s.value))
    ]
    return [atom.hyper for guard in guards for atom in atoms(guard) if isinstance(atom, Given)]


def _filled(text: str) -> str:
    return textwrap.indent(textwrap.fill(text, 102), "    ")


def _listed(text: str) -> str:
    return textwrap.fill(text, 106, initial_indent=" " * 8, subsequent_indent=" " * 12)


def _asks_for_axes(program: Program) -> bool:
    """Whether the formula depends on the axes of a parameter, which complex ones have one more of."""
    if any(slot.shape in ("rows", "columns") for slot in program.slots):
        return True
    return any(
        (isinstance(node, Choose) and any(isinstance(atom, HasAxes) for atom in atoms(node.guard)))
        or (isinstance(node, Op) and node.fn is Fn.MATMUL)
        or (isinstance(node, Reduce) and node.over == "axis")
        for s in program.update.statements
        for node in walk(s.value)
    )


def _divides_by_rate(program: Program) -> bool:
    """Whether a quotient of the formula has the learning rate as a factor below the line."""

    def has_rate(node: Expression) -> bool:
        if isinstance(node, Op) and node.fn is Fn.MUL:
            return any(map(has_rate, node.arguments))
        return node == Ref(Kind.HYPER, "learning_rate")

    return any(
        isinstance(node, Op) and node.fn is Fn.DIV and has_rate(node.arguments[1])
        for s in (*program.update.scalars, *program.update.statements)
        for node in walk(s.value)
    )


TARGET = PytorchTarget()
