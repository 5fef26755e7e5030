"""A step's scalars: the lines of the function that computes them, once for each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from optloom.spec.guards import ALWAYS

from ..ir.nodes import Expression, Fn, Kind, Op, Program, Ref, Region, Store, children, references
from .layout import Dialect, Switches
from .printer import ScalarPrinter, is_condition, is_word, local


@dataclass(frozen=True, slots=True)
class Scalars:
    """`fields`: what the elements read, as (type, name). `hypers`: the lines that read the row. `always`: those of
    every call; `update`: those of the calls that update. `predicate`: whether a call updates, as (name, condition)."""

    fields: tuple[tuple[str, str], ...]
    hypers: tuple[str, ...]
    always: tuple[str, ...]
    update: tuple[str, ...]
    predicate: tuple[str, str] | None


def scalars(program: Program, switches: Switches, dialect: Dialect, helpers: set[str]) -> Scalars:
    integers = frozenset(hyper.name for hyper in program.hypers if hyper.integer)
    printer = ScalarPrinter(switches.bits, helpers, integers)
    fields: dict[str, str] = {}
    always: list[str] = []
    for region in program.regions[:-1]:
        always += _lines(region, printer, dialect, fields)
    update = _lines(program.update, printer, dialect, fields)
    named = tuple((kind, name) for name, kind in fields.items())
    return Scalars(named, tuple(_hypers(program)), tuple(always), tuple(update), _predicate(program, switches))


def _hypers(program: Program) -> list[str]:
    lets = [let for region in program.regions for let in region.scalars]
    wanted = {ref.name for let in lets for ref in _in_pairs(let.value) if ref.kind is Kind.HYPER}
    lines = []
    for hyper in program.hypers:
        if hyper.name in wanted:
            number = f"double(row.{hyper.name})" if hyper.integer else f"row.{hyper.name}"
            lines.append(f"const Pair<C> {local(hyper.name)} = pair<C>({number});")
    return lines


def _in_pairs(node: Expression) -> Iterator[Ref]:
    """What `node` reads as a pair; remainders and rounding keys are made of whole numbers."""
    if isinstance(node, Ref):
        yield node
    elif not (isinstance(node, Op) and node.fn in (Fn.REMAINDER, Fn.ROUNDING_KEY)):
        for child in children(node):
            yield from _in_pairs(child)


def _lines(region: Region, printer: ScalarPrinter, dialect: Dialect, fields: dict[str, str]) -> list[str]:
    """Of each scalar what is asked for: a field of its rounded value, a pair for the scalars after it, or both."""
    fields_here = {
        ref.name for statement in region.statements for ref in references(statement.value) if ref.kind is Kind.SCALAR
    }
    pairs = {ref.name for let in region.scalars for ref in references(let.value) if ref.kind is Kind.LET}
    lines = []
    for let in region.scalars:
        value = printer.print(let.value)
        if isinstance(let, Store):
            stored = f"row.{let.slot} = {dialect.to_double.format(f'rounded({value})')};"
            lines.append(stored if let.guard == ALWAYS else f"if ({printer.guard(let.guard)}) {stored}")
            if let.slot in fields_here:
                fields[let.slot] = "C"
                lines.append(f"k.{let.slot} = C(row.{let.slot});")
            continue
        pair, field, none = _types(let.value, dialect)
        if let.guard != ALWAYS:
            value = f"{printer.guard(let.guard)} ? {value} : {none}"
        if let.defines in pairs:
            lines.append(f"const {pair} {local(let.defines)} = {value};")
            value = local(let.defines)
        if let.defines in fields_here:
            fields[let.defines] = field
            lines.append(f"k.{let.defines} = {value};" if pair == field else f"k.{let.defines} = rounded({value});")
    return lines


def _types(value: Expression, dialect: Dialect) -> tuple[str, str, str]:
    """Of a scalar: what it is computed as, what elements read, and what it is where it is not asked for."""
    if is_condition(value):
        return "bool", "bool", "false"
    if is_word(value):
        return dialect.uint32, dialect.uint32, "0"
    return "Pair<C>", "C", "pair<C>(0)"


def _predicate(program: Program, switches: Switches) -> tuple[str, str] | None:
    region = program.update
    if region.predicate is None:
        return None
    every = f"row.iterations % row.{region.predicate.hyper} == 0"
    return region.predicate.name, f"!{switches.bits(region.guard)} || {every}"
