"""The lines of `_scalars`, a step's numbers, and of the numbers that are kept from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from optloom.spec.guards import And, Flag, Given, Guard, Is, Not

from ...ir.nodes import Choose, Kind, Let, Program, Ref, Statement, Store, references, walk
from ...printing import Precedence, UnsupportedOperation
from .printer import ScalarPrinter, is_condition


class Scalars:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.statements: list[Statement] = [scalar for region in program.regions for scalar in region.scalars]
        read = {ref.name for s in self.statements for ref in references(s.value) if ref.kind is Kind.HYPER}
        hypers = [hyper for hyper in program.hypers if hyper.name in read]
        self.hypers = sorted(hypers, key=lambda hyper: hyper.default is None)
        if not any(hyper.default is not None for hyper in self.hypers):
            raise UnsupportedOperation("a rule without a hyperparameter", "jax")
        self.kept = [slot.name for slot in program.slots if slot.shape == "scalar"]
        self.beside = self.hypers[0].name
        """A number of the step that is always given."""
        optional = frozenset(hyper.name for hyper in program.hypers if hyper.default is None)
        self.printer = ScalarPrinter(optional, self.beside)
        self.inner = {ref.name for s in self.statements for ref in references(s.value) if ref.kind is Kind.LET}
        self.exported = {
            ref.name for region in program.regions for s in region.statements for ref in references(s.value)
            if ref.kind is Kind.SCALAR
        }  # fmt: skip
        self._refuse_old_values()

    def _refuse_old_values(self) -> None:
        """A kept number has one variable, which holds the old value until it is stored."""
        stored: set[str] = set()
        for statement in self.statements:
            for ref in references(statement.value):
                if ref.kind is Kind.BEFORE and ref.name in stored:
                    raise UnsupportedOperation(
                        "the old value of a scalar after it was stored", "jax", statement.location
                    )
            if isinstance(statement, Store):
                stored.add(statement.slot)

    @property
    def uses_step(self) -> bool:
        return any(ref.kind is Kind.STEP for s in self.statements for ref in references(s.value))

    @property
    def flags(self) -> list[str]:
        """The options that decide what is computed."""
        asked = {atom for s in self.statements for guard in _guards(s) for atom in _parts(guard)}
        names = {atom.option for atom in asked if isinstance(atom, Flag | Is)}
        return [option.name for option in self.program.options if option.name in names]

    def lines(self) -> Iterator[str]:
        for condition, lines in groupby(self._assignments(), key=lambda line: line[0]):
            if condition:
                yield f"if {condition}:"
            yield from (f"{'    ' if condition else ''}{line}" for _, line in lines)
        if self.program.strict:
            yield f"k.zero = {self.beside}.zero"

    def _assignments(self) -> Iterator[tuple[str, str]]:
        """The condition, and the line."""
        for statement in self.statements:
            condition = " and ".join(self._conditions(statement.guard))
            if isinstance(statement, Let):
                yield from ((condition, line) for line in self._let(statement))
            else:
                value = self.printer.at(statement.value, Precedence.ATOM)
                yield condition, f"{statement.slot} = {value}.rounded()"
                yield condition, f"k.{statement.slot} = {statement.slot}.hi"

    def _let(self, let: Let) -> Iterator[str]:
        if let.name in self.inner:
            yield f"{let.name} = {self.printer.print(let.value)}"
        if let.name in self.exported:
            value = Ref(Kind.LET, let.name) if let.name in self.inner else let.value
            text = self.printer.at(value, Precedence.ATOM)
            yield f"k.{let.name} = {text}" + ("" if is_condition(let.value) else ".hi")

    def _conditions(self, guard: Guard) -> Iterator[str]:
        for part in guard.guards if isinstance(guard, And) else (guard,):
            match part:
                case Given(hyper) if self.program.hyper(hyper).default is not None:
                    continue  # It is a number also where it is not given: see the arguments' checks.
                case Given() | Flag() | Is() | Not(Flag() | Is()):
                    yield self.printer.guard(part)


def _guards(statement: Statement) -> Iterator[Guard]:
    yield statement.guard
    yield from (node.guard for node in walk(statement.value) if isinstance(node, Choose))


def _parts(guard: Guard) -> Iterator[Guard]:
    match guard:
        case Not(inner):
            yield from _parts(inner)
        case And(parts):
            for part in parts:
                yield from _parts(part)
        case _:
            yield guard
