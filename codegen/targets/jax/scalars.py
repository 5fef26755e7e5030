"""The lines of `_scalars`, a step's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from optloom.spec.guards import And, Given, Guard

from ...ir.nodes import Kind, Let, Program, Ref, references
from ...printing import Precedence, UnsupportedOperation
from .printer import ScalarPrinter


class Scalars:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.printer = ScalarPrinter(frozenset(hyper.name for hyper in program.hypers if hyper.default is None))
        self.lets: list[Let] = []
        for region in program.regions:
            for scalar in region.scalars:
                if not isinstance(scalar, Let):
                    raise UnsupportedOperation("scalar slots", "jax", scalar.location)
                self.lets.append(scalar)
        read = {ref.name for let in self.lets for ref in references(let.value) if ref.kind is Kind.HYPER}
        hypers = [hyper for hyper in program.hypers if hyper.name in read]
        self.hypers = sorted(hypers, key=lambda hyper: hyper.default is None)
        self.inner = {ref.name for let in self.lets for ref in references(let.value) if ref.kind is Kind.LET}
        if program.strict and not any(hyper.default is not None for hyper in self.hypers):
            raise UnsupportedOperation("strict code without a hyperparameter", "jax")
        self.exported = {
            ref.name for region in program.regions for s in region.statements for ref in references(s.value)
            if ref.kind is Kind.SCALAR
        }  # fmt: skip

    @property
    def uses_step(self) -> bool:
        return any(ref.kind is Kind.STEP for let in self.lets for ref in references(let.value))

    def lines(self) -> Iterator[str]:
        for absent, lines in groupby(self._assignments(), key=lambda line: line[0]):
            if absent:
                yield f"if {' and '.join(f'{name} is not None' for name in absent)}:"
            yield from (f"{'    ' if absent else ''}{line}" for _, line in lines)
        if self.program.strict:
            yield f"k.zero = {self.hypers[0].name}.zero"

    def _assignments(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The hyperparameters that must be given, and the line."""
        for let in self.lets:
            needed = tuple(self._needed(let.guard))
            if let.name in self.inner:
                yield needed, f"{let.name} = {self.printer.print(let.value)}"
            if let.name in self.exported:
                value = Ref(Kind.LET, let.name) if let.name in self.inner else let.value
                yield needed, f"k.{let.name} = {self.printer.at(value, Precedence.ATOM)}.hi"

    def _needed(self, guard: Guard) -> Iterator[str]:
        """Hyperparameters without a number of their own, which `guard` says are given."""
        for part in guard.guards if isinstance(guard, And) else (guard,):
            if isinstance(part, Given) and self.program.hyper(part.hyper).default is None:
                yield part.hyper
