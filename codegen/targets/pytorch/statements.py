"""The bodies of the generated functions: a line per statement, under its guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from optloom.spec.guards import ALWAYS, Guard

from ...ir.nodes import (
    Choose,
    Expression,
    Fn,
    Kind,
    Let,
    Literal,
    Op,
    Program,
    Rate,
    Reduce,
    Ref,
    Region,
    Statement,
    Store,
    references,
    walk,
)  # fmt: skip
from ...passes.fission import phases
from ...passes.joined import joined
from ...passes.rates import environment, rate_of
from ...passes.traffic import Phase
from ...printing import Precedence
from .idioms import IdiomPrinter
from .names import TUPLES, Names
from .printer import NOT_NUMBERS, FloatPrinter, GroupPrinter, PairPrinter, Place, ScalarPrinter, TensorPrinter

Guarded = tuple[Guard, list[str]]


@dataclass(frozen=True)
class Pass:
    """A function of the formula: one pass over the tensors. `before`: the lines of the function that runs between the
    last pass and this one, on what was summed over all tensors. `condition`: when it is needed, empty for always."""

    name: str
    lines: tuple[str, ...]
    sums: bool = False
    before: tuple[str, ...] = ()
    condition: str = ""


def every_call(program: Program, names: Names) -> list[str]:
    """What a call does that does not update; nothing where all do."""
    if program.update.predicate is None:
        return []
    lines: list[str] = []
    for region in program.regions[:-1]:
        printer = _printer(program, names)(program, names, partial(rate_of, rates=environment(program, region)))
        lines += _under_guards(printer, ((s.guard, _statement(printer, s)) for s in region.statements))
    return lines


def passes(program: Program, names: Names) -> list[Pass]:
    """The formula of a call that updates. Sums over all tensors split it."""
    region = joined(program)
    split = phases(program, region, cuts=frozenset({"tensors"}))
    rates = dict(environment(program, region))
    rates |= {(Kind.SUM, total.name): Rate.STEP | Rate.TENSORS for phase in split for total in phase.sums}
    printer = _printer(program, names)(program, names, partial(rate_of, rates=rates))
    made: list[Pass] = []
    known: set[Statement] = set()
    for number, phase in enumerate(split, 1):
        parts: list[Guarded] = []
        moves = any(isinstance(s, Store) and s.slot == "w" for s in phase.statements)
        for position, statement in enumerate((*phase.statements, None)):
            for total in phase.sums:
                if total.position == position:
                    text = printer.reduction(Reduce(total.argument, "tensor"))
                    parts.append((total.guard, [f'sums["{total.name}"] = {text}']))
            if statement is not None and not _is_itself(statement):
                parts.append((statement.guard, _statement(printer, statement, moves)))
        alone = phase.guards[0] if len(phase.guards) == 1 else ALWAYS
        lines = _under_guards(printer, ((ALWAYS if guard == alone else guard, text) for guard, text in parts))
        if phase.sums:
            lines = ["sums: dict[str, Tensor] = {}", *lines, "return sums"]
        between = [s for s in phase.before if s not in known]  # `k` keeps what an earlier pass needed too
        known.update(between)
        before = _under_guards(printer, ((s.guard, [_of_all_tensors(printer, s)]) for s in between))
        condition = "" if ALWAYS in phase.guards else " or ".join(map(printer.guard, phase.guards))
        made.append(
            Pass(_name(number, split), tuple(lines), bool(phase.sums), tuple(before), condition),
        )
    return made


def _printer(program: Program, names: Names) -> type[TensorPrinter]:
    return TensorPrinter if program.strict else IdiomPrinter


def _name(number: int, split: tuple[Phase, ...]) -> str:
    if number == len(split):
        return "_update"
    return "_sums" if len(split) == 2 and not split[0].writes else f"_pass_{number}"


def _is_itself(statement: Statement) -> bool:
    """Whether the parameter, changed in place, is stored as it is."""
    return _is_result(statement) and statement.value == Ref(Kind.PARAMETER, "w")


def _is_result(statement: Statement) -> bool:
    return isinstance(statement, Store) and statement.slot == "w"


def _of_all_tensors(printer: TensorPrinter, statement: Statement) -> str:
    if isinstance(statement, Let):
        return f"k.{statement.name} = {printer.of_tensor().print(statement.value)}"
    value = printer.of_tensor().at(statement.value, Precedence.ATOM)
    return f"k.{printer.names.variable(statement.slot)} = {value}.to(k.dtype)"


def _statement(printer: TensorPrinter, statement: Statement, moves: bool = True) -> list[str]:
    """`moves`: whether the parameter itself is written here; else what takes its place is another tensor."""
    if isinstance(statement, Let) and (statement.rebinds != "w" or not moves):
        per_tensor = printer.rate(statement.value).is_per_tensor
        return [f"{statement.name} = {(printer.of_tensor() if per_tensor else printer).print(statement.value)}"]
    if isinstance(statement, Store) and printer.rate(statement.value).is_per_tensor and not _is_built(statement.value):
        slot, value = printer.names.variable(statement.slot), printer.of_tensor().print(statement.value)
        return [f"{slot}.copy_({value})"]
    name = statement.name if isinstance(statement, Let) else statement.slot
    if name == "w":
        place = Place(Ref(Kind.PARAMETER, "w"), "w")
    else:
        place = Place(Ref(Kind.BEFORE, name), printer.names.variable(name))
    return _store(printer, place, statement.value)


def _is_built(node: Expression) -> bool:
    return isinstance(node, Literal) or (isinstance(node, Ref) and node.kind is Kind.SCALAR)


def _store(printer: TensorPrinter, place: Place, value: Expression) -> list[str]:
    if isinstance(value, Choose):
        chosen, other = (_store(printer, place, branch) for branch in (value.chosen, value.other))
        return [f"if {printer.guard(value.guard)}:", *_indented(chosen), "else:", *_indented(other)]
    return [printer.stored(place, value)]


def scalar_lines(program: Program, names: Names, region: Region) -> list[str]:
    """The body of `_scalars`, for the calls of a region."""
    printer = (PairPrinter if program.strict else FloatPrinter)(program, names, _handed_on(names, region))
    lines = ["t = int(t)"] if program.strict else []
    lines += [*_hypers(printer, program, region), "k: Any = _support.Scalars()"]
    exported = {ref.name for s in region.statements for ref in references(s.value) if ref.kind is Kind.SCALAR}
    inner = {ref.name for s in region.scalars for ref in references(s.value) if ref.kind is Kind.LET}
    return lines + _under_guards(printer, ((s.guard, _scalar(printer, s, exported, inner)) for s in region.scalars))


def _scalar(printer: GroupPrinter, scalar: Statement, exported: set[str], inner: set[str]) -> list[str]:
    names, value = printer.names, printer.print(scalar.value)
    is_pair = printer.program.strict and not (isinstance(scalar.value, Op) and scalar.value.fn in NOT_NUMBERS)
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


def _handed_on(names: Names, region: Region) -> frozenset[str]:
    """The hyperparameters that go into one number as they are, and nowhere else. Parts of a tuple are read together."""
    read = Counter(ref.name for s in region.scalars for ref in references(s.value) if ref.kind is Kind.HYPER)
    whole = {s.value.name for s in region.scalars if isinstance(s.value, Ref)}
    return frozenset(name for name in whole if read[name] == 1 and names.argument(name) not in TUPLES)


def _hypers(printer: ScalarPrinter, program: Program, region: Region) -> Iterator[str]:
    """The hyperparameters that the scalars read and that always have a value, as numbers."""
    names = printer.names
    read = {ref.name for s in region.scalars for ref in references(s.value) if ref.kind is Kind.HYPER}
    given = [hyper.name for hyper in program.hypers if hyper.name in read and not printer.is_in_place(hyper.name)]
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
    nodes = (node for s in program.update.statements for node in walk(s.value))
    return any(isinstance(node, Reduce) and node.over != "axis" for node in nodes)


def sums_along(program: Program) -> bool:
    """Whether the formula sums along an axis."""
    nodes = (node for s in program.update.statements for node in walk(s.value))
    return any(isinstance(node, Reduce) and (node.to, node.over) == ("sum", "axis") for node in nodes)


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
