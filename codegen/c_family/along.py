"""What is computed for each row, column or matrix of a tensor, between two passes over the elements.

The last two axes of a tensor are its rows and columns, those before them tell its matrices apart. Sums along axes are
accumulated in float64, and read in the compute dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from optloom.spec.guards import ALWAYS, Guard, HasAxes, atoms, simplify

from ..ir.nodes import (
    Choose,
    Expression,
    Kind,
    Length,
    Let,
    Program,
    Rate,
    Reduce,
    Ref,
    Statement,
    Store,
    references,
    transform,
    walk,
)
from ..passes.joined import joined
from ..passes.rates import environment, rate_of
from ..passes.traffic import Phase, Sum
from ..printing import UnsupportedOperation
from .layout import Operand, Switches, guards_of
from .lines import Lines, references_of
from .printer import ElementPrinter, local

Index = OneOf["element", "row", "column", "matrix", ""]
SHAPES: dict[str, Index] = {"parameter": "element", "rows": "row", "columns": "column"}
LINES = ("rows", "columns")
IN_MATRICES = 2
"""The axes that a tensor has at least if it has rows and columns."""


class Shapes:
    """What each value of `phases` is a number for: an element, row, column or matrix; empty for a tensor, or more."""

    def __init__(self, program: Program, phases: tuple[Phase, ...]) -> None:
        self.program, self.rates = program, dict(environment(program, joined(program)))
        self.of_matrices: set[Ref] = set()
        for phase in phases:
            for let in phase.before:
                if isinstance(let, Let) and self.of(let.value) == "matrix":
                    self.of_matrices.add(Ref(Kind.LET, let.name))
            for total in phase.sums:
                rate = rate_of(Reduce(total.argument, total.over, total.axis), self.rates)
                self.rates[Kind.SUM, total.name] = rate
                if total.over == "axis" and not rate & (Rate.ROW | Rate.COLUMN):
                    self.of_matrices.add(Ref(Kind.SUM, total.name))

    def of(self, node: Expression) -> Index:
        rate = rate_of(node, self.rates)
        if rate & Rate.ELEMENT or (rate & Rate.ROW and rate & Rate.COLUMN):
            return "element"
        if rate & (Rate.ROW | Rate.COLUMN):
            return "row" if rate & Rate.ROW else "column"
        return "" if self.of_matrices.isdisjoint(references(node)) else "matrix"

    def of_statement(self, statement: Statement) -> Index:
        name = statement.slot if isinstance(statement, Store) else statement.rebinds
        if name in ("w", "g"):
            return "element"
        return SHAPES.get(self.program.slot(name).shape, "") if name else self.of(statement.value)


@dataclass(frozen=True, slots=True)
class Along:
    """A function of one `index`: a row, column or matrix. `given`: what it needs beside its operands, (type, name).
    `lengths`: of the tensor's axes, that it needs. `sums`: along axes, by earlier passes. `reductions`: what it
    is a term of."""

    index: Index
    function: str
    given: tuple[tuple[str, str], ...]
    lengths: tuple[str, ...]
    operands: tuple[Operand, ...]
    sums: tuple[str, ...]
    reductions: tuple[Sum, ...]
    switches: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        return tuple(total.name for total in self.reductions)


class MatrixPrinter(ElementPrinter):
    """Values of one matrix: lengths of axes are arguments."""

    def length(self, node: Length) -> str:
        return f"C({axis_length(node)})" if node.over == "axis" else super().length(node)


def axis_length(node: Length) -> str:
    return "columns" if node.axis == -1 else "rows"


@dataclass(frozen=True)
class AlongBuilder:
    """Makes the functions of rows, columns and matrices of `phase`. `printers`: of their values."""

    program: Program
    shapes: Shapes
    phase: Phase
    switches: Switches
    printer: ElementPrinter
    number: str

    def made(self, index: Index, function: str, types: dict[str, str], known: frozenset[str]) -> Along | None:
        """None where there is nothing to do. `known`: values of matrices that earlier phases have kept."""
        before = [s for s in self.phase.before if self.shapes.of_statement(s) == index and s.defines not in known]
        own = [s for s in self.phase.statements if self.shapes.of_statement(s) == index]
        sums = [total for total in self.phase.sums if total.over == "axis" and self.shapes.of(total.argument) == index]
        if not own and not sums and not (index == "matrix" and before):
            return None
        is_own = [s in own for s in self.phase.statements]
        at = {total.name: len(before) + sum(is_own[: total.position]) for total in sums}
        statements = tuple(s for s in map(_in_matrices, (*before, *own)) if s is not None)
        placed = tuple(replace(total, position=at[total.name], guard=_guard(total.guard)) for total in sums)
        parts: tuple[Statement | Sum, ...] = (*statements, *placed)
        refs = {ref for part in parts for ref in references_of(part)}
        guards = [part.guard for part in parts]
        guards += [g for p in parts for g in guards_of(p.argument if isinstance(p, Sum) else p.value)]
        if any(isinstance(atom, HasAxes) for guard in guards for atom in atoms(guard)):
            raise UnsupportedOperation(f"conditions on the number of axes for each {index}", "c")
        printer = self.printer
        if index == "matrix":
            printer = MatrixPrinter(printer.guard_text, printer.helpers, printer.shared)
        asked = set(map(printer.given, refs))
        if index == "matrix" and "n" in asked:
            raise UnsupportedOperation("numbers of a matrix that depend on those of its tensor", "c")
        return Along(
            index, function, tuple((kind, variable) for variable, kind in types.items() if variable in asked),
            tuple(_lengths(parts)), tuple(self._operands(index, statements, refs)),
            tuple(dict.fromkeys(ref.name for ref in sorted(refs, key=lambda r: r.name) if ref.kind is Kind.SUM)),
            placed, self.switches.names(*guards),
            Lines(printer, self.switches.constant, self.number).of(_as_results(index, statements), placed),
        )  # fmt: skip

    def _operands(self, index: Index, statements: tuple[Statement, ...], refs: set[Ref]) -> Iterator[Operand]:
        if index == "matrix":
            for let in statements:
                yield Operand(local(let.defines), let.defines, "C", "", False, True, index)
        stored = {s.slot for s in statements if isinstance(s, Store)}
        read = {ref.name for ref in refs if ref.kind is Kind.BEFORE}
        read |= {ref.name for ref in refs if ref.kind is Kind.SLOT and ref.name not in stored}
        for slot in self.program.slots:
            if SHAPES.get(slot.shape) == index and slot.name in read | stored:
                when = _guard(slot.when)
                condition = "" if when == ALWAYS else self.switches.constant(when)
                uses = slot.name in read, slot.name in stored
                yield Operand(local(slot.name), slot.name, "C", condition, *uses, index)


def check_elements(phase: Phase, elements: Iterable[Statement | Sum], shapes: Shapes) -> None:
    """Raises UnsupportedOperation for what the passes over elements have no place for."""
    refs = {ref for part in elements for ref in references_of(part)}
    slots_of = {slot.name: slot.shape for slot in shapes.program.slots}
    lets = [s for s in phase.before if isinstance(s, Let)]
    named = {Ref(Kind.LET, let.name) for let in lets if shapes.of(let.value) in ("row", "column")}
    if not named.isdisjoint(refs) or any(ref.kind is Kind.SUM for ref in refs):
        raise UnsupportedOperation("sums along axes in values of elements, but by way of a slot", "c")
    stored = {s.slot for s in phase.statements if isinstance(s, Store)}
    old = {ref.name for ref in refs if ref.kind is Kind.BEFORE and slots_of[ref.name] in LINES}
    if old & stored:
        raise UnsupportedOperation("elements that read a slot of rows or columns as it was before", "c")
    along = [total for total in phase.sums if total.over == "axis"]
    for total in along:
        index = shapes.of(total.argument)
        if (index, total.axis) not in (("element", -1), ("element", -2), ("row", -2)):
            raise UnsupportedOperation(f"a reduction along axis {total.axis} of a number for each {index}", "c")
    if any(shapes.of(total.argument) == "element" for total in along):
        if len(along) < len(phase.sums):
            raise UnsupportedOperation("reductions along axes and over tensors in one pass", "c")
        if not shapes.of_matrices.isdisjoint(refs):
            raise UnsupportedOperation("reductions along axes of what depends on matrices", "c")


def _guard(guard: Guard) -> Guard:
    return simplify(guard, lambda atom: True if isinstance(atom, HasAxes) and atom.count <= IN_MATRICES else None)  # type: ignore[return-value]


def _in_matrices(statement: Statement) -> Statement | None:
    """`statement` for a tensor that has rows and columns; None where it is for others."""

    def chosen(node: Expression) -> Expression:
        if not isinstance(node, Choose):
            return node
        guard = _guard(node.guard)
        return node.other if guard is None else node.chosen if guard == ALWAYS else replace(node, guard=guard)

    guard = _guard(statement.guard)
    return None if guard is None else replace(statement, guard=guard, value=transform(statement.value, chosen))


def _as_results(index: Index, statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Values of matrices are written to where elements read them."""
    if index != "matrix":
        return statements
    return tuple(Let(s.defines, s.value, s.guard, s.location, rebinds=s.defines) for s in statements)


def _lengths(parts: Iterable[Statement | Sum]) -> Iterator[str]:
    values = [part.argument if isinstance(part, Sum) else part.value for part in parts]
    found = {axis_length(node) for v in values for node in walk(v) if isinstance(node, Length) and node.over == "axis"}
    yield from (name for name in ("rows", "columns") if name in found)
