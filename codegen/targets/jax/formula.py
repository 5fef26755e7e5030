"""The lines of `_leaf`: one program's statements, in order, for one leaf.

Two doors share them. `adam_step` writes the parameter; `adam` returns what optax will add to it. So the sum that
replaces the parameter starts, in a variable of its own, from the parameter or from zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from optloom.spec.guards import ALWAYS, Guard

from ...ir.nodes import (
    ZERO,
    Expression,
    Fn,
    Kind,
    Length,
    Op,
    Program,
    Rate,
    Reduce,
    Ref,
    Region,
    SlotInfo,
    Statement,
    Store,
    references,
    walk,
)  # fmt: skip
from ...passes.fission import phases
from ...passes.rates import environment, rate_of
from ...passes.traffic import Phase, Sum
from .printer import TensorPrinter, alternatives, parameter_moved

NEW = "new_w"
PARAMETER = Ref(Kind.PARAMETER, "w")
LOCALS = frozenset(
    f"{NEW} k moved before write exact is_update jax jnp lax optax partial "
    "count iterations sparse axis_name slots_in_rule Any NamedTuple Number".split()
)
"""Names around the formula, which no rule's names may take."""


def tensors(program: Program) -> list[SlotInfo]:
    """The slots that leaves have."""
    return [slot for slot in program.slots if slot.shape != "scalar"]


Blocks = Iterator[tuple[Guard, list[str]]]
"""Lines, and the guard that they are under."""


@dataclass(frozen=True)
class Pass:
    """A function of the formula, which runs over all leaves. `before`: the lines of the function that runs between the
    last pass and this one, on what was summed over all leaves. `writes`: whether the parameter moves in it."""

    name: str
    lines: tuple[str, ...]
    results: str
    before: tuple[str, ...]
    writes: bool
    sums: bool


class Formula:
    def __init__(self, program: Program) -> None:
        self.program, self.update = program, program.update
        self.split = phases(program, self.update, cuts=frozenset({"tensors"}))
        of_all = {s.defines for phase in self.split for s in phase.before}
        self.printer = TensorPrinter(frozenset(of_all))
        self.rates = dict(environment(program, self.update))
        self.rates |= {(Kind.SUM, total.name): Rate.STEP | Rate.TENSORS for phase in self.split for total in phase.sums}

    def passes(self) -> list[Pass]:
        return [self._pass(number, phase) for number, phase in enumerate(self.split, 1)]

    def _pass(self, number: int, phase: Phase) -> Pass:
        self.writes = any(isinstance(s, Store) and s.slot == "w" for s in phase.statements)
        earlier = self.program.regions[:-1] if number == 1 else ()
        lines = _laid_out(self.printer, _merged(self._blocks(earlier, phase)))
        if self.program.strict and any("exact(" in line for line in lines):
            lines.insert(0, "exact = partial(_double.exact, zero=k.zero)")
        results = ", ".join([NEW if self.writes else "None", *(slot.name for slot in tensors(self.program))])
        name = "_leaf" if len(self.split) == 1 else f"_pass_{number}"
        if phase.sums:
            results = f"({results}), {{{', '.join(f'{total.name!r}: {total.name}' for total in phase.sums)}}}"
        return Pass(name, tuple(lines), results, tuple(self._before(phase)), self.writes, bool(phase.sums))

    def _before(self, phase: Phase) -> list[str]:
        """What is known of all leaves together, from their sums."""
        blocks = [(s.guard, [f"k.{s.defines} = {self.printer.print(s.value)}"]) for s in phase.before]
        if self.program.strict and any("exact(" in line for _, lines in blocks for line in lines):
            blocks.insert(0, (ALWAYS, ["exact = partial(_double.exact, zero=k.zero)"]))
        return _laid_out(self.printer, _merged(blocks))

    def _blocks(self, earlier: tuple[Region, ...], phase: Phase) -> Blocks:
        if self.writes:
            yield ALWAYS, [f"{NEW} = w if write else jnp.zeros_like(w)"]
        for region in earlier:
            yield from self._region(region, region.statements, ())
        yield from self._region(self.update, phase.statements, phase.sums)

    def _region(self, region: Region, statements: tuple[Statement, ...], sums: tuple[Sum, ...]) -> Blocks:
        self.sums = sums
        body: list[tuple[Guard, list[str]]] = []
        takes_whole = {s.guard: at for at, s in reversed(list(enumerate(statements))) if goes_along_axes(s.value)}
        for at in range(len(statements) + 1):
            for total in sums:
                if total.position == at:
                    text = self.printer.reduction(Reduce(total.argument, "tensor"))
                    body.append((total.guard, [f"{total.name} = {text}"]))
            if at < len(statements):
                if takes_whole.get(statements[at].guard) == at:
                    body.append((statements[at].guard, ["_support.check_whole(w, axis_name)"]))
                body += self._statement(statements, at)
        stored = {NEW if _target(s) == "w" else _target(s) for s in statements if isinstance(s, Store)}
        kept = ", ".join(name for name in [NEW, *(slot.name for slot in tensors(self.program))] if name in stored)
        if region.predicate is None or not kept:
            yield from body
            return
        yield region.guard, [f"before = {kept}"]
        yield from body
        yield region.guard, [f"{kept} = _support.select({region.predicate.name}, {_tuple(kept)}, before)"]

    def _statement(self, statements: tuple[Statement, ...], at: int) -> Blocks:
        statement = statements[at]
        name = _target(statement)
        if name == "w" and not self.writes:
            yield statement.guard, [f"w = {self.printer.print(statement.value)}"]
            return
        if name != "w":
            yield statement.guard, self._assigned(name, statement.value)
            return
        summed = any(PARAMETER in references(total.argument) for total in self.sums)
        needed_later = summed or any(_reads_parameter(later) for later in statements[at + 1 :])
        increment = parameter_moved(statement.value, Ref(Kind.LET, NEW))
        if increment is not None:
            yield statement.guard, self._assigned(NEW, increment)
            if needed_later:
                yield statement.guard, self._assigned("w", statement.value)
            return
        yield statement.guard, self._assigned("moved", statement.value)
        yield statement.guard, [f"{NEW} = moved if write else {NEW} + (moved - w)"]
        if needed_later:
            yield statement.guard, ["w = moved"]

    def _assigned(self, name: str, value: Expression) -> list[str]:
        branches = list(alternatives(value))
        if len(branches) < 3:
            return [f"{name} = {self._value(name, value)}"]
        lines = []
        for number, (condition, branch) in enumerate(branches):
            word = "else:" if condition == ALWAYS else f"{'elif' if number else 'if'} {self.printer.guard(condition)}:"
            lines += [word, f"    {name} = {self._value(name, branch)}"]
        return lines

    def _value(self, name: str, value: Expression) -> str:
        """The text of `value`; in a slot it has the slot's shape."""
        text = self.printer.print(value)
        is_slot = any(slot.name == name for slot in self.program.slots)
        known = {**self.rates, (Kind.LET, NEW): Rate.ELEMENT}
        if not is_slot or rate_of(value, known) >= Rate.ROW:
            return text
        return f"jnp.zeros_like({name})" if value == ZERO else f"jnp.full_like({name}, {text})"


def _merged(given: Iterable[tuple[Guard, list[str]]]) -> list[tuple[Guard, list[str]]]:
    """Neighbours under one guard are one block."""
    blocks: list[tuple[Guard, list[str]]] = []
    for guard, lines in given:
        if blocks and blocks[-1][0] == guard:
            blocks[-1][1].extend(lines)
        else:
            blocks.append((guard, list(lines)))
    return blocks


def _laid_out(printer: TensorPrinter, blocks: list[tuple[Guard, list[str]]]) -> list[str]:
    text: list[str] = []
    for guard, lines in blocks:
        text += lines if guard == ALWAYS else [f"if {printer.guard(guard)}:", *_indented(lines)]
    return text


def goes_along_axes(value: Expression) -> bool:
    """Whether `value` needs a leaf as a whole: where devices hold parts of it, sums over all of them do not suffice."""
    return any(
        (isinstance(node, Reduce | Length) and node.over == "axis") or (isinstance(node, Op) and node.fn is Fn.MATMUL)
        for node in walk(value)
    )


def _tuple(names: str) -> str:
    return f"({names})" if "," in names else names


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _target(statement: Statement) -> str:
    return statement.slot if isinstance(statement, Store) else statement.name


def _reads_parameter(statement: Statement) -> bool:
    """Whether a statement needs the parameter itself, not only to add to it."""
    if _target(statement) != "w":
        return PARAMETER in references(statement.value)
    increments = [parameter_moved(branch, Ref(Kind.LET, NEW)) for _, branch in alternatives(statement.value)]
    return any(increment is None or PARAMETER in references(increment) for increment in increments)


def guards_of_reads(program: Program) -> Iterator[Guard]:
    """The guards under which an update needs the parameters, also where it does not write them."""
    for region in program.regions:
        for statement in region.statements:
            if _reads_parameter(statement):
                yield statement.guard
