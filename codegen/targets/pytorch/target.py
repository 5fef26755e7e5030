"""The PyTorch target: a `torch.optim.Optimizer` per rule, and one support module without mathematics for all."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS

from ...ir.nodes import Kind, Literal, Program, Ref, SlotInfo
from ...passes.legalise import Nestings
from ...printing import UnsupportedOperation
from ...target import Templates
from .arguments import WAYS, Signature
from .names import Names
from .printer import GroupPrinter
from .statements import scalar_lines, sums, update_lines, uses_one_minus_power

TEMPLATES = Templates(Path(__file__).parent / "templates")


class PytorchTarget:
    name = "pytorch"
    ecosystem = "torch"
    numerics: OneOf["strict", "fast"] = "fast"
    nestings: Nestings = frozenset()

    def render(self, program: Program) -> Mapping[str, str]:
        return {
            program.source: TEMPLATES.render("rule.py.jinja", _Module(program).context()),
            "_support.py": TEMPLATES.render("_support.py.jinja", {"ways": [way.name for way in WAYS]}),
        }


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program) -> None:
        _refuse_unsupported(program)
        self.program = program
        self.names = Names(program.peers, tuple(hyper.name for hyper in program.hypers))
        self.signature = Signature(program, self.names)
        self.guards = GroupPrinter(program, self.names)

    def context(self) -> dict[str, Any]:
        program, signature = self.program, self.signature
        return {
            "name": program.name,
            "source": program.source,
            "strict": program.strict,
            "doc": program.doc,
            "formula": [self._renamed(line) for line in program.formula],
            "notes": [textwrap.indent(textwrap.fill(note, 102), "    ") for note in self._notes()],
            "positional": signature.positional,
            "keywords": signature.keywords,
            "options": signature.options,
            "foreign": signature.foreign,
            "ways": [way.name for way in WAYS],
            "checks": signature.checks(),
            "slots": [self._slot(slot) for slot in program.slots],
            "optional_slots": any(slot.when != ALWAYS for slot in program.slots),
            "accumulation": self._accumulation(),
            "scalars": scalar_lines(program, self.names),
            "scalars_doc": self._scalars_doc(),
            "update": update_lines(program, self.names),
            "update_doc": self._update_doc(),
            "helpers": self._helpers(),
        }

    def _renamed(self, line: str) -> str:
        """A line of the formula with PyTorch's names of hyperparameters."""
        for hyper in self.program.hypers:
            line = re.sub(rf"\b{hyper.name}\b", self.names.hyper(hyper.name), line)
        return line

    def _notes(self) -> Iterator[str]:
        names, peer = self.names, self.names.peer
        renamed = [slot.name for slot in self.program.slots if names.slot(slot.name) != slot.name]
        kept = [f"{name} is `{names.slot(name)}`" for name in renamed]
        yield f"In a parameter's state {', '.join([*kept, 't is `step`'])}."
        if peer is not None:
            differs = [*peer.differs, *self._other_defaults(peer)]
            yield f"Differs from {peer.path}: {'; '.join(map(self._renamed, differs)) or 'nowhere but in rounding'}."
        yield (
            "Arithmetic and slots are float64 for float64 parameters, else float32; a parameter of lower precision is "
            "rounded once. Gradients are never written to."
        )

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
                start = f'group["{self.names.argument(name)}"]'
            case _:
                raise UnsupportedOperation(f"a slot that starts as a copy of the parameter ({slot.name})", "pytorch")
        return {
            "name": self.names.slot(slot.name),
            "variable": self.names.variable(slot.name),
            "start": start,
            "guard": "" if slot.when == ALWAYS else self.guards.guard(slot.when),
        }

    def _accumulation(self) -> dict[str, str] | None:
        region = self.program.update
        if region.predicate is None:
            return None
        return {"guard": self.guards.guard(region.guard), "every": self.guards.option(region.predicate.hyper)}

    def _scalars_doc(self) -> str:
        if self.program.strict:
            return "The numbers of update `t`, the same for all elements: computed as double words, rounded once."
        return "The numbers of update `t`, the same for all elements: floats, or 0-dim tensors when compiled."

    def _update_doc(self) -> str:
        absent = "; those not in use are None" if any(slot.when != ALWAYS for slot in self.program.slots) else ""
        return f"The formula: writes `w` and the slots, all of one dtype{absent}."

    def _helpers(self) -> list[str]:
        if self.program.strict:
            total = ["total.py.jinja"] if sums(self.program) else []
            return [*total, "sqrt.py.jinja", "double_word.py.jinja"]
        return ["one_minus_power.py.jinja"] if uses_one_minus_power(self.program) else []


def _refuse_unsupported(program: Program) -> None:
    if program.inputs:
        raise UnsupportedOperation(f"extra inputs ({program.inputs[0].name})", "pytorch")
    for slot in program.slots:
        if slot.shape != "parameter":
            raise UnsupportedOperation(f"slots of shape '{slot.shape}' ({slot.name})", "pytorch")


TARGET = PytorchTarget()
