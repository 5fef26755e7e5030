"""A step's scalars: the lines of the function that computes them, once for each row."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.nodes import Kind, Program, Region, Statement, references
from ..printing import UnsupportedOperation
from .layout import Switches
from .printer import ScalarPrinter, is_condition, local


@dataclass(frozen=True, slots=True)
class Scalars:
    """`fields`: what the elements read. `hypers`: the lines that read the row. `always`: scalars of every call;
    `update`: those of the calls that update. `predicate`: whether a call updates, as (name, condition)."""

    fields: tuple[str, ...]
    hypers: tuple[str, ...]
    always: tuple[str, ...]
    update: tuple[str, ...]
    predicate: tuple[str, str] | None


def scalars(program: Program, switches: Switches, helpers: set[str]) -> Scalars:
    printer = ScalarPrinter(switches.bits, helpers)
    fields: dict[str, None] = {}
    always: list[str] = []
    for region in program.regions[:-1]:
        always += _lines(region, printer, fields)
    update = _lines(program.update, printer, fields)
    return Scalars(tuple(fields), tuple(_hypers(program)), tuple(always), tuple(update), _predicate(program, switches))


def _hypers(program: Program) -> list[str]:
    lets = [let for region in program.regions for let in region.scalars]
    wanted = {ref.name for let in lets for ref in references(let.value) if ref.kind is Kind.HYPER}
    lines = []
    for hyper in program.hypers:
        if hyper.name in wanted:
            number = f"double(row.{hyper.name})" if hyper.integer else f"row.{hyper.name}"
            lines.append(f"const Pair<C> {local(hyper.name)} = pair<C>({number});")
    return lines


def _lines(region: Region, printer: ScalarPrinter, fields: dict[str, None]) -> list[str]:
    """Of each scalar what is asked for: a field of its rounded value, a pair for the scalars after it, or both."""
    fields_here = {
        ref.name for statement in region.statements for ref in references(statement.value) if ref.kind is Kind.SCALAR
    }
    pairs = {ref.name for let in region.scalars for ref in references(let.value) if ref.kind is Kind.LET}
    lines = []
    for let in region.scalars:
        value = printer.print(let.value)
        if let.defines in pairs:
            kind = "bool" if is_condition(let.value) else "Pair<C>"
            lines.append(f"const {kind} {local(let.defines)} = {value};")
            value = local(let.defines)
        if let.defines in fields_here:
            _check_field(let)
            fields[let.defines] = None
            lines.append(f"k.{let.defines} = rounded({value});")
    return lines


def _check_field(let: Statement) -> None:
    if is_condition(let.value):
        raise UnsupportedOperation("a condition on a step's scalars, decided per element", "c", let.location)


def _predicate(program: Program, switches: Switches) -> tuple[str, str] | None:
    region = program.update
    if region.predicate is None:
        return None
    every = f"row.iterations % row.{region.predicate.hyper} == 0"
    return region.predicate.name, f"!{switches.bits(region.guard)} || {every}"
