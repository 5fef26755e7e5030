"""The lines of `_scalars`, a step's numbers, and of the numbers that are kept from step to step."""

from __future__ import annotations

import re
from collections.abc import Iterator

from optloom.spec.guards import ALWAYS

from ...ir.nodes import Kind, Let, Program, Ref, Statement, references
from ...printing import Precedence, UnsupportedOperation
from .printer import ScalarPrinter, is_number


class Scalars:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.statements: list[Statement] = [scalar for region in program.regions for scalar in region.scalars]
        self.read = {ref.name for s in self.statements for ref in references(s.value) if ref.kind is Kind.HYPER}
        always = [h.name for h in program.hypers if h.name in self.read and not h.optional and not h.stage]
        if not always:
            raise UnsupportedOperation("a rule without a hyperparameter", "jax")
        self.beside = f"h.{always[0]}"
        """A number of the step that is always given."""
        self.printer = ScalarPrinter()
        self.inner = {ref.name for s in self.statements for ref in references(s.value) if ref.kind is Kind.LET}
        self.exported = {
            ref.name for region in program.regions for s in region.statements for ref in references(s.value)
            if ref.kind is Kind.SCALAR
        }  # fmt: skip

    @property
    def uses_step(self) -> bool:
        return any(ref.kind is Kind.STEP for s in self.statements for ref in references(s.value))

    def lines(self) -> list[str]:
        lines = list(self._lines())
        makes_numbers = any(re.search(r"(?<![\w.])number\(", line) for line in lines)
        return [f"number = {self.beside}.number", *lines] if makes_numbers else lines

    def _lines(self) -> Iterator[str]:
        blocks: list[tuple[str, list[str]]] = []
        for condition, line in self._assignments():
            _block(blocks, condition, line).append(line)
        for condition, lines in blocks:
            if condition:
                yield f"if {condition}:"
            yield from (f"{'    ' if condition else ''}{line}" for line in lines)

    def _assignments(self) -> Iterator[tuple[str, str]]:
        """The condition, and the line."""
        for statement in self.statements:
            condition = "" if statement.guard == ALWAYS else self.printer.guard(statement.guard)
            if isinstance(statement, Let):
                yield from ((condition, line) for line in self._let(statement))
            else:
                value = self.printer.at(statement.value, Precedence.ATOM)
                yield condition, f"{statement.slot} = {value}.rounded()"
                yield condition, f"k.{statement.slot} = {statement.slot}.hi"

    def _let(self, let: Let) -> Iterator[str]:
        if let.name in self.inner:
            yield f"{let.name} = {self.printer.print(let.value)}"
        if let.name in self.exported and let.value != Ref(Kind.HYPER, let.name):
            value = Ref(Kind.LET, let.name) if let.name in self.inner else let.value
            text = self.printer.at(value, Precedence.ATOM)
            yield f"k.{let.name} = {text}" + (".hi" if is_number(let.value) else "")


def _block(blocks: list[tuple[str, list[str]]], condition: str, line: str) -> list[str]:
    """Where an assignment belongs: an earlier block of lines under its condition, if nothing after that makes what it
    reads; else a new one at the end."""
    read = set(re.findall(r"\w+", line.partition(" = ")[2]))
    for earlier, lines in reversed(blocks):
        if earlier == condition:
            return lines
        if not condition or read & {made.partition(" = ")[0].removeprefix("k.") for made in lines}:
            break
    blocks.append((condition, []))
    return blocks[-1][1]
