"""The NumPy target: a plain class over arrays, strict always."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from optloom.spec.guards import ALWAYS, Given, Guard

from ...arguments import bounds_in_words, in_bounds, may_be_none, needs_option, only_one, refused
from ...double_word import functions_for
from ...ir.nodes import (
    Expression,
    Fn,
    Hyperparameter,
    Kind,
    Let,
    Literal,
    Op,
    Program,
    Rate,
    Reduce,
    Ref,
    Region,
    SlotInfo,
    Statement,
    Store,
    children,
    references,
    walk,
)
from ...passes.fission import phases
from ...passes.joined import joined
from ...passes.legalise import Nestings
from ...passes.rates import environment, rate_of
from ...passes.traffic import Phase, Sum
from ...printing import Precedence, Printer, UnsupportedOperation
from ...target import Templates
from .printer import NumpyGuards, ScalarPrinter, TensorPrinter, is_pair

ARRAYS = {"w": "parameter", "g": "gradient"}
"""What formulas call the arrays of a tensor, and what a method gets."""
TEMPLATES = Templates(Path(__file__).parent / "templates")


EACH = "for w, g, slots in zip(self.params, gradients, self.slots, strict=True):"
EACH_NUMBERED = "for i, (w, g, slots) in enumerate(zip(self.params, gradients, self.slots, strict=True)):"


class NumpyTarget:
    name = "numpy"
    ecosystem = ""
    numerics = "strict"
    missing_stages: frozenset[str] = frozenset()
    nestings: Nestings = frozenset()

    def render(self, program: Program) -> Mapping[str, str]:
        return {program.source: TEMPLATES.render("rule.py.jinja", _Module(program).context())}


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program) -> None:
        if not program.strict:
            raise UnsupportedOperation("fast numerics", "numpy")
        self.program, self.update = program, joined(program)
        self.rates = dict(environment(program, self.update))
        self.phases = phases(program, self.update, cuts=frozenset({"tensors"}))
        nodes = [node for region in program.regions for s in region.statements for node in walk(s.value)]
        self.reduced = {(node.to, node.over) for node in nodes if isinstance(node, Reduce)}
        self.operations = {node.fn for node in nodes if isinstance(node, Op)}
        self.globals = [total.name for phase in self.phases for total in phase.sums]
        self.rates |= {(Kind.SUM, name): Rate.STEP | Rate.TENSORS for name in self.globals}

    def context(self) -> dict[str, Any]:
        program = self.program
        return {
            "name": program.name,
            "source": program.source,
            "doc": program.doc,
            "formula": program.formula,
            "arguments": [*map(self._hyper, program.hypers), *map(self._option, program.options)],
            "slots": [self._slot(slot, "w") for slot in program.slots if slot.shape != "scalar"],
            "scalar_slots": [self._slot(slot, "scalar") for slot in program.slots if slot.shape == "scalar"],
            "narrow": [slot.name for slot in program.slots if slot.storage == "parameter"],
            "inputs": program.inputs,
            "each": EACH_NUMBERED if program.inputs else EACH,
            "relations": [self._only_one(names) for names in program.alternatives]
            + [self._needs_option(*pair) for pair in program.dependents()],
            "refused": [
                {"condition": NumpyGuards(program).guard(each.guard), "takes": each.takes} for each in refused(program)
            ],
            "gate": self._gate(),
            "accumulation": self._accumulation(),
            "phases": [
                {
                    "method": self._method(i),
                    "before": phase.before,
                    "statements": phase.statements or phase.sums,
                    "condition": self._condition(phase),
                }
                for i, phase in enumerate(self.phases)
            ],
            "functions": functions_for(self.update.scalars),
            "sums": self.globals,
            "scalars": self._scalars(self.update),
            "methods": list(self._methods()),
            "betweens": [
                {"name": self._method(i), "lines": self._between(phase)}
                for i, phase in enumerate(self.phases)
                if phase.before
            ],
            "reductions": any(to == "sum" for to, _ in self.reduced),
            "sums_along": ("sum", "axis") in self.reduced,
            "rounds_to_bfloat16": Fn.BFLOAT16 in self.operations,
            "rounds_by_chance": Fn.STOCHASTICALLY_ROUNDED in self.operations,
        }

    def _hyper(self, hyper: Hyperparameter) -> dict[str, Any]:
        number = "int" if hyper.integer else "float"
        optional = may_be_none(hyper)
        applies = f"{hyper.name} is not None and " if optional else ""
        return {
            "name": hyper.name,
            "type": f"{number} | None" if optional else number,
            "default": repr(hyper.default),
            "doc": hyper.doc or "step size",
            "checks": [{"condition": f"{applies}not {in_bounds(hyper)}", "text": bounds_in_words(hyper)}]
            if hyper.bounds
            else [],
        }

    @staticmethod
    def _only_one(names: tuple[str, ...]) -> dict[str, str]:
        values = ", ".join(f"{name}={{{name}!r}}" for name in names)
        given = ", ".join(names)
        return {
            "condition": f"sum(x is not None for x in ({given})) > 1",
            "text": f"{only_one(names)}, got {values}",
        }

    @staticmethod
    def _needs_option(hyper: str, option: str) -> dict[str, str]:
        return {
            "condition": f"{hyper} is not None and not {option}",
            "text": f"{needs_option(hyper, option)}, got {hyper}={{{hyper}!r}}",
        }

    def _method(self, index: int) -> str:
        """The last pass over the tensors is the update; those before it only sum."""
        if index + 1 == len(self.phases):
            return "update"
        return "sums" if len(self.phases) == 2 and not self.phases[0].writes else f"pass_{index}"

    def _condition(self, phase: Phase) -> str:
        """When a pass is needed; empty for always."""
        printer = TensorPrinter(self.program, self._rate)
        return "" if ALWAYS in phase.guards else " or ".join(printer.guard(guard) for guard in phase.guards)

    def _option(self, option: Any) -> dict[str, Any]:
        checks = []
        if option.choices:
            checks = [
                {"condition": f"{option.name} not in {option.choices!r}", "text": f"must be one of {option.choices}"}
            ]
        kind = "str" if option.choices else "bool"
        return {
            "name": option.name, "type": kind, "default": repr(option.default), "doc": option.doc, "checks": checks,
        }  # fmt: skip

    def _slot(self, slot: SlotInfo, like: str) -> dict[str, str]:
        shapes = {
            "parameter": "w.shape", "rows": "(*w.shape[:-1], 1)", "columns": "(*w.shape[:-2], 1, w.shape[-1])",
            "tensor": "()",
        }  # fmt: skip
        dtype = "w.dtype" if slot.storage == "parameter" else "dtype"
        match slot.init:
            case Ref(Kind.PARAMETER):
                start = "w.astype(dtype)"
            case Literal(value) if like == "w":
                start = (
                    f"np.zeros({shapes[slot.shape]}, {dtype})"
                    if value == 0
                    else f"np.full({shapes[slot.shape]}, {float(value)!r}, {dtype})"
                )
            case Literal(value):
                start = f"dtype({float(value)!r})"
            case Ref(_, name):
                start = f"np.full({shapes[slot.shape]}, self.{name}, {dtype})" if like == "w" else f"dtype(self.{name})"
        guard = _StartPrinter(self.program, self._rate).guard(slot.when)
        return {"name": slot.name, "start": start if slot.when == ALWAYS else f"{start} if {guard} else None"}

    def _rate(self, node: Expression) -> Rate:
        return rate_of(node, self.rates)

    def _gate(self) -> str:
        """When a call may be skipped; empty for never."""
        gate = self.program.gate
        return TensorPrinter(self.program, self._rate).guard(gate.guard) if gate else ""

    def _accumulation(self) -> dict[str, Any] | None:
        region = self.update
        if region.predicate is None:
            return None
        guard = TensorPrinter(self.program, self._rate).guard(region.guard)
        earlier = self.program.regions[0]
        scalars = self._scalars(earlier) if earlier.scalars else []
        return {"applies": guard, "every": region.predicate.hyper, "scalars": scalars}

    def _scalars(self, region: Region) -> list[str]:
        printer = ScalarPrinter(self.program)
        exported = {ref.name for s in region.statements for ref in references(s.value) if ref.kind is Kind.SCALAR}
        inner = {ref.name for s in region.scalars for ref in references(s.value) if ref.kind is Kind.LET}
        lines: list[str] = []
        if any(isinstance(s, Store) or Kind.BEFORE in _kinds(s) for s in region.scalars):
            lines.append("slots = self.scalar_slots[dtype]")
        hypers = self._hypers_of_scalars(region).items()
        guarded = [(guard, [f"{name} = pair(self.{name}, dtype)"]) for name, guard in hypers]
        guarded += [(scalar.guard, self._scalar(scalar, printer, exported, inner)) for scalar in region.scalars]
        return lines + _guarded(printer, guarded)

    def _hypers_of_scalars(self, region: Region) -> dict[str, Any]:
        """The hyperparameters that scalars read as pairs, with the guard under which they are numbers."""
        found: dict[str, Any] = {}
        for scalar in region.scalars:
            for ref in _in_pairs(scalar.value):
                if ref.kind is Kind.HYPER:
                    optional = may_be_none(self.program.hyper(ref.name))
                    found[ref.name] = Given(ref.name) if optional else ALWAYS
        return found

    def _scalar(self, scalar: Statement, printer: ScalarPrinter, exported: set[str], inner: set[str]) -> list[str]:
        value = printer.print(scalar.value)
        whole = printer.at(scalar.value, Precedence.ATOM)
        if isinstance(scalar, Store):
            lines = [f"slots.{scalar.slot} = {whole}[0]"]
            return [*lines, f"k.{scalar.slot} = slots.{scalar.slot}"] if scalar.slot in exported else lines
        if scalar.name not in exported:
            return [f"{scalar.name} = {value}"]
        rounded = "[0]" if is_pair(scalar.value) else ""
        if scalar.name in inner:
            return [f"{scalar.name} = {value}", f"k.{scalar.name} = {scalar.name}{rounded}"]
        return [f"k.{scalar.name} = {whole}{rounded}"]

    def _methods(self) -> Iterable[dict[str, Any]]:
        parameters = ", inputs: Mapping[str, Any]" if self.program.inputs else ""
        for region in self.program.regions[:-1]:
            rates = environment(self.program, region)
            lines = self._body(region.statements, partial(rate_of, rates=rates))
            doc = "What happens in a call that does not update."
            given = ", k: SimpleNamespace" if region.scalars else ""
            yield {"name": "every_call", "doc": doc, "lines": lines, "parameters": given}
        for i, phase in enumerate(self.phases):
            if not phase.statements and not phase.sums:
                continue
            # The parameter comes last: `w` may be a view of it.
            ordered = sorted(enumerate(phase.statements), key=lambda pair: _is_result(pair[1]))
            lines = self._body([s for _, s in ordered], self._rate, sums=phase.sums)
            if any(over == "axis" for _, over in self.reduced):
                lines = ["if not parameter.size:  # what no numbers give must not be kept", "    return", *lines]
            doc = "The formula." if self._method(i) == "update" else "What the tensors add to sums over all of them."
            yield {
                "name": self._method(i),
                "doc": doc if self._method(i) in ("update", "sums") else f"The formula, pass {i + 1} over the tensors.",
                "lines": lines,
                "parameters": f", k: SimpleNamespace{parameters}",
            }

    def _body(
        self, statements: Sequence[Statement], rate: Callable[[Expression], Rate], sums: tuple[Sum, ...] = ()
    ) -> list[str]:
        printers = TensorPrinter(self.program, rate), TensorPrinter(self.program, rate, per_tensor=True)
        guarded: list[tuple[Guard, list[str]]] = []
        for position, statement in enumerate((*statements, None)):
            for total in sums:
                if total.position == position:
                    name, argument = f"k.sums.{total.name}", printers[0].accumulated(total.argument)
                    guarded.append((total.guard, [f"{name} = {name} + _total({argument})"]))
            if statement is None:
                break
            printer = printers[rate(statement.value).is_per_tensor and not getattr(statement, "rebinds", "")]
            value = printer.print(statement.value)
            guarded.append((statement.guard, [_assignment(statement, value, rate(statement.value))]))
        lines = _guarded(printers[0], guarded)
        read = {name: array for name, array in ARRAYS.items() if re.search(rf"\b{name}\b", "\n".join(lines))}
        return [f"{name} = {array}.astype(dtype, copy=False)" for name, array in read.items()] + lines

    def _between(self, phase: Phase) -> list[str]:
        printer = TensorPrinter(self.program, self._rate, per_tensor=True)
        guarded = []
        for statement in phase.before:
            value = printer.print(statement.value)
            if isinstance(statement, Let):
                line = f"k.{statement.name} = {value}"
            else:
                slot = f"slots.{statement.slot}"
                line = f"{slot} = k.{statement.slot} = type({slot})({value})"
            guarded.append((statement.guard, [line]))
        return _guarded(printer, guarded)


class _StartPrinter(TensorPrinter):
    """Guards where slots are made."""

    parameter = "w"


def _kinds(statement: Statement) -> set[Kind]:
    return {ref.kind for ref in references(statement.value)}


def _in_pairs(node: Expression) -> Iterable[Ref]:
    """What is read as pairs: a remainder is one of whole numbers, a key of rounding is made of one."""
    if isinstance(node, Ref):
        yield node
    elif not (isinstance(node, Op) and node.fn in (Fn.REMAINDER, Fn.ROUNDING_KEY)):
        for child in children(node):
            yield from _in_pairs(child)


def _is_result(statement: Statement) -> bool:
    return isinstance(statement, Store) and statement.slot == "w"


def _assignment(statement: Statement, value: str, rate: Rate) -> str:
    if isinstance(statement, Let):
        if statement.rebinds not in ("", "w", "g"):
            raise UnsupportedOperation(f"the new value of '{statement.rebinds}' before it is stored", "numpy")
        return f"{statement.name} = {value}"
    if statement.slot == "w":
        return f"parameter[...] = {value}"
    return f"slots.{statement.slot} = {value if rate >= Rate.ROW else f'np.full_like(slots.{statement.slot}, {value})'}"


def _guarded(printer: Printer, parts: list[tuple[Guard, list[str]]]) -> list[str]:
    """Lines under their guards; neighbours under one share its `if`."""
    text = []
    for guard, same in groupby(parts, key=lambda part: part[0]):
        lines = [line for _, lines in same for line in lines]
        text += lines if guard == ALWAYS else [f"if {printer.guard(guard)}:", *(f"    {line}" for line in lines)]
    return text


TARGET = NumpyTarget()
