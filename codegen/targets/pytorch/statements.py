"""The bodies of the generated functions: a line per statement, under its guard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from optloom.spec.guards import ALWAYS, Guard

from ...ir.nodes import Choose, Expression, Fn, Kind, Let, Op, Program, Reduce, Ref, Statement, Store, references, walk
from ...passes.rates import environment, rate_of
from ...printing import Precedence
from .idioms import IdiomPrinter
from .names import TUPLES, Names
from .printer import CONDITIONS, FloatPrinter, GroupPrinter, PairPrinter, Place, ScalarPrinter, TensorPrinter

Guarded = tuple[Guard, list[str]]


def update_lines(program: Program, names: Names) -> list[str]:
    """The body of `_update`: the regions in order; the last one only where the step's scalars were computed."""
    lines: list[str] = []
    for region in program.regions:
        if region.predicate is not None:
            lines += ["if k is None:", "    return"]
        kind = TensorPrinter if program.strict else IdiomPrinter
        printer = kind(program, names, partial(rate_of, rates=environment(program, region)))
        lines += _under_guards(printer, ((s.guard, _statement(printer, s)) for s in region.statements))
    return lines


def _statement(printer: TensorPrinter, statement: Statement) -> list[str]:
    if isinstance(statement, Let) and statement.rebinds != "w":
        per_tensor = printer.rate(statement.value).is_per_tensor
        return [f"{statement.name} = {(printer.of_tensor() if per_tensor else printer).print(statement.value)}"]
    name = statement.name if isinstance(statement, Let) else statement.slot
    if name == "w":
        place = Place(Ref(Kind.PARAMETER, "w"), "w")
    else:
        place = Place(Ref(Kind.BEFORE, name), printer.names.variable(name))
    return _store(printer, place, statement.value)


def _store(printer: TensorPrinter, place: Place, value: Expression) -> list[str]:
    if isinstance(value, Choose):
        chosen, other = (_store(printer, place, branch) for branch in (value.chosen, value.other))
        return [f"if {printer.guard(value.guard)}:", *_indented(chosen), "else:", *_indented(other)]
    return [printer.stored(place, value)]


def scalar_lines(program: Program, names: Names) -> list[str]:
    """The body of `_scalars`."""
    region = program.update
    printer = (PairPrinter if program.strict else FloatPrinter)(program, names)
    lines = ["t = int(t)"] if program.strict else []
    lines += [*_hypers(printer, program), "k: Any = _support.Scalars()"]
    exported = {ref.name for s in region.statements for ref in references(s.value) if ref.kind is Kind.SCALAR}
    inner = {ref.name for s in region.scalars for ref in references(s.value) if ref.kind is Kind.LET}
    return lines + _under_guards(printer, ((s.guard, _scalar(printer, s, exported, inner)) for s in region.scalars))


def _scalar(printer: GroupPrinter, scalar: Statement, exported: set[str], inner: set[str]) -> list[str]:
    names, value = printer.names, printer.print(scalar.value)
    is_pair = printer.program.strict and not (isinstance(scalar.value, Op) and scalar.value.fn in CONDITIONS)
    rounded = f"{printer.at(scalar.value, Precedence.ATOM)}[0]" if is_pair else value
    if isinstance(scalar, Store):
        variable = names.variable(scalar.slot)
        return [f"k.{variable} = {variable} = {rounded}"]
    if scalar.name not in exported:
        return [f"{scalar.name} = {value}"]
    key = f"k.{names.hyper(scalar.name)}"
    if scalar.name in inner:
        return [f"{scalar.name} = {value}", f"{key} = {scalar.name}{'[0]' if is_pair else ''}"]
    return [f"{key} = {rounded}"]


def _hypers(printer: ScalarPrinter, program: Program) -> Iterator[str]:
    """The hyperparameters that the scalars read and that always have a value, as numbers."""
    names = printer.names
    read = {ref.name for s in program.update.scalars for ref in references(s.value) if ref.kind is Kind.HYPER}
    given = [hyper.name for hyper in program.hypers if hyper.name in read and not printer.is_optional(hyper.name)]
    for argument in dict.fromkeys(names.argument(name) for name in given):
        parts = [name for name in given if names.argument(name) == argument]
        if argument in TUPLES and len(parts) == len(TUPLES[argument]):
            yield f'{", ".join(TUPLES[argument])} = ({printer.as_number("x")} for x in group["{argument}"])'
        else:
            yield from (f"{names.hyper(name)} = {printer.as_number(names.value(name))}" for name in parts)


def uses_one_minus_power(program: Program) -> bool:
    """Whether a step's scalars contain `1 - beta**t`."""
    nodes = (node for scalar in program.update.scalars for node in walk(scalar.value))
    return any(isinstance(node, Op) and node.fn is Fn.ONE_MINUS_POWER for node in nodes)


def sums(program: Program) -> bool:
    """Whether the formula sums over a tensor."""
    return any(isinstance(node, Reduce) for s in program.update.statements for node in walk(s.value))


def _under_guards(printer: GroupPrinter, parts: Iterable[Guarded]) -> list[str]:
    """The lines of all parts; neighbours under the same guard share one `if`."""
    lines: list[str] = []
    open_guard: Guard = ALWAYS
    for guard, body in parts:
        if guard != ALWAYS and guard != open_guard:
            lines.append(f"if {printer.guard(guard)}:")
        lines += body if guard == ALWAYS else _indented(body)
        open_guard = guard
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
