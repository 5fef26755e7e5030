"""The NumPy target: a plain class over arrays, strict always."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from optloom.spec.guards import ALWAYS, Given

from ...arguments import bounds_in_words, in_bounds, may_be_none
from ...double_word import functions_for
from ...ir.nodes import (
    Expression,
    Hyperparameter,
    Kind,
    Let,
    Literal,
    Program,
    Rate,
    Reduce,
    Ref,
    SlotInfo,
    Statement,
    Store,
    references,
    walk,
)
from ...passes.fission import Phase, phases
from ...passes.legalise import Nestings
from ...passes.rates import environment, rate_of
from ...printing import Precedence, Printer, UnsupportedOperation
from ...target import Templates
from .printer import ScalarPrinter, TensorPrinter, is_boolean

TEMPLATES = Templates(Path(__file__).parent / "templates")


class NumpyTarget:
    name = "numpy"
    ecosystem = ""
    numerics = "strict"
    nestings: Nestings = frozenset()

    def render(self, program: Program) -> Mapping[str, str]:
        return {program.source: TEMPLATES.render("rule.py.jinja", _Module(program).context())}


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program) -> None:
        if not program.strict:
            raise UnsupportedOperation("fast numerics", "numpy")
        self.program, self.update = program, program.update
        self.rates = dict(environment(program, self.update))
        self.phases = phases(program, self.update, cuts=frozenset({"tensors"}))
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
            "inputs": program.inputs,
            "accumulation": self._accumulation(),
            "phases": [
                {"method": f"pass_{i}", "before": phase.before, "statements": phase.statements or phase.sums}
                for i, phase in enumerate(self.phases)
            ],
            "functions": functions_for(self.update.scalars),
            "sums": self.globals,
            "scalars": self._scalars(),
            "methods": list(self._methods()),
            "betweens": [
                {"name": f"pass_{i}", "lines": self._between(phase)}
                for i, phase in enumerate(self.phases)
                if phase.before
            ],
            "reductions": any(
                isinstance(node, Reduce)
                for region in program.regions
                for s in region.statements
                for node in walk(s.value)
            ),
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
        match slot.init:
            case Ref(Kind.PARAMETER):
                start = "w.astype(dtype)"
            case Literal(value) if like == "w":
                start = (
                    f"np.zeros({shapes[slot.shape]}, dtype)"
                    if value == 0
                    else self._full(slot, shapes, f"{float(value)!r}")
                )
            case Literal(value):
                start = f"dtype({float(value)!r})"
            case Ref(_, name):
                start = self._full(slot, shapes, f"self.{name}") if like == "w" else f"dtype(self.{name})"
        guard = TensorPrinter(self.program, self._rate).guard(slot.when)
        return {"name": slot.name, "start": start if slot.when == ALWAYS else f"{start} if {guard} else None"}

    @staticmethod
    def _full(slot: SlotInfo, shapes: Mapping[str, str], value: str) -> str:
        return f"np.full({shapes[slot.shape]}, {value}, dtype)"

    def _rate(self, node: Expression) -> Rate:
        return rate_of(node, self.rates)

    def _accumulation(self) -> dict[str, str] | None:
        region = self.update
        if region.predicate is None:
            return None
        guard = TensorPrinter(self.program, self._rate).guard(region.guard)
        return {"applies": guard, "every": region.predicate.hyper}

    def _scalars(self) -> list[str]:
        printer = ScalarPrinter(self.program)
        exported = {ref.name for s in self.update.statements for ref in references(s.value) if ref.kind is Kind.SCALAR}
        inner = {ref.name for s in self.update.scalars for ref in references(s.value) if ref.kind is Kind.LET}
        lines = []
        if any(slot.shape == "scalar" for slot in self.program.slots):
            lines.append("slots = self.scalar_slots[dtype]")
        for name, guard in self._hypers_of_scalars().items():
            lines += _guarded(printer, guard, [f"{name} = pair(self.{name}, dtype)"])
        for scalar in self.update.scalars:
            lines += _guarded(printer, scalar.guard, self._scalar(scalar, printer, exported, inner))
        return lines

    def _hypers_of_scalars(self) -> dict[str, Any]:
        """The hyperparameters that scalars read as pairs, with the guard under which they are numbers."""
        found: dict[str, Any] = {}
        for scalar in self.update.scalars:
            for ref in references(scalar.value):
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
        rounded = "" if is_boolean(scalar.value) else "[0]"
        if scalar.name in inner:
            return [f"{scalar.name} = {value}", f"k.{scalar.name} = {scalar.name}{rounded}"]
        return [f"k.{scalar.name} = {whole}{rounded}"]

    def _methods(self) -> Iterable[dict[str, Any]]:
        parameters = ", inputs: Mapping[str, Any]" if self.program.inputs else ""
        for region in self.program.regions[:-1]:
            rates = environment(self.program, region)
            lines = self._body(region.statements, partial(rate_of, rates=rates))
            doc = "What happens in every call."
            yield {"name": "every_call", "doc": doc, "lines": lines, "parameters": ""}
        for i, phase in enumerate(self.phases):
            if not phase.statements and not phase.sums:
                continue
            lines = self._body([s for s in phase.statements if not _is_result(s)], self._rate)
            for total in phase.sums:
                argument = TensorPrinter(self.program, self._rate).accumulated(total.argument)
                lines.append(f"k.sums.{total.name} = k.sums.{total.name} + _total({argument})")
            # The parameter comes last: `w` may be a view of it.
            lines += self._body([s for s in phase.statements if _is_result(s)], self._rate, first=False)
            single = len(self.phases) == 1
            yield {
                "name": "update" if single else f"pass_{i}",
                "doc": "The formula." if single else f"The formula, pass {i + 1} over the tensors.",
                "lines": lines,
                "parameters": f", k: SimpleNamespace{parameters}",
            }

    def _body(
        self, statements: Iterable[Statement], rate: Callable[[Expression], Rate], first: bool = True
    ) -> list[str]:
        lines = ["w, g = parameter.astype(dtype, copy=False), gradient.astype(dtype, copy=False)"] if first else []
        printers = TensorPrinter(self.program, rate), TensorPrinter(self.program, rate, per_tensor=True)
        for statement in statements:
            printer = printers[rate(statement.value).is_per_tensor and not getattr(statement, "rebinds", "")]
            value = printer.print(statement.value)
            lines += _guarded(printer, statement.guard, [_assignment(statement, value, rate(statement.value))])
        return lines

    def _between(self, phase: Phase) -> list[str]:
        printer = TensorPrinter(self.program, self._rate, per_tensor=True)
        lines = []
        for statement in phase.before:
            value = printer.print(statement.value)
            if isinstance(statement, Let):
                line = f"k.{statement.name} = {value}"
            else:
                slot = f"slots.{statement.slot}"
                line = f"{slot} = k.{statement.slot} = type({slot})({value})"
            lines += _guarded(printer, statement.guard, [line])
        return lines


def _is_result(statement: Statement) -> bool:
    return isinstance(statement, Store) and statement.slot == "w"


def _assignment(statement: Statement, value: str, rate: Rate) -> str:
    if isinstance(statement, Let):
        return f"{statement.name} = {value}"
    if statement.slot == "w":
        return f"parameter[...] = {value}"
    return f"slots.{statement.slot} = {value if rate >= Rate.ROW else f'np.full_like(slots.{statement.slot}, {value})'}"


def _guarded(printer: Printer, guard: Any, lines: list[str]) -> list[str]:
    return lines if guard == ALWAYS else [f"if {printer.guard(guard)}:", *(f"    {line}" for line in lines)]


TARGET = NumpyTarget()
