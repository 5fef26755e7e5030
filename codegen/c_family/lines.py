"""Statements as lines of C++; neighbours under one guard share its braces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from optloom.spec.guards import ALWAYS, Guard

from ..ir.nodes import Ref, Statement, Store, references
from ..passes.traffic import Sum
from .printer import ElementPrinter, is_condition, local

Guarded = tuple[Guard, str]
"""A line, and when it is carried out."""


@dataclass(frozen=True)
class Lines:
    """Statements of one element, and what they add to sums."""

    printer: ElementPrinter
    constant: Callable[[Guard], str]
    number: str

    def of(self, statements: tuple[Statement, ...], sums: tuple[Sum, ...]) -> tuple[str, ...]:
        lines: list[Guarded] = []
        for position, statement in enumerate((None, *statements)):
            if statement is not None:
                lines += self._statement(statement)
            for total in sums:
                if total.position == position:
                    lines += [(total.guard, f"term[{total.name}] = {self.printer.term(total.argument, self.number)};")]
        return tuple(grouped(lines, self.constant))

    def _statement(self, statement: Statement) -> list[Guarded]:
        value = self.printer.print(statement.value)
        if isinstance(statement, Store):
            name = local(statement.slot)
            return [] if value == name else [(statement.guard, f"{name} = {value};")]
        name = local(statement.name)
        if statement.rebinds:
            return [(statement.guard, f"{name} = {value};")]
        kind = "bool" if is_condition(statement.value) else "C"
        if statement.guard == ALWAYS:
            return [(ALWAYS, f"const {kind} {name} = {value};")]
        return [(ALWAYS, f"{kind} {name} = {{}};"), (statement.guard, f"{name} = {value};")]


def grouped(lines: list[Guarded], constant: Callable[[Guard], str]) -> Iterable[str]:
    """`constant`: prints a guard as an expression of constants."""
    at = 0
    while at < len(lines):
        guard = lines[at][0]
        end = next((i for i in range(at, len(lines)) if lines[i][0] != guard), len(lines))
        block = [line for _, line in lines[at:end]]
        if guard == ALWAYS:
            yield from block
        elif len(block) == 1:
            yield f"if constexpr ({constant(guard)}) {block[0]}"
        else:
            yield from (f"if constexpr ({constant(guard)}) {{", *(f"    {line}" for line in block), "}")
        at = end


def references_of(part: Statement | Sum) -> Iterable[Ref]:
    return references(part.argument if isinstance(part, Sum) else part.value)
