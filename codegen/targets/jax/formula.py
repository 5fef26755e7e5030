"""The lines of `_leaf`: one program's statements, in order, for one leaf.

Two doors share them. `adam_step` writes the parameter; `adam` returns what optax will add to it. So the sum that
replaces the parameter starts, in a variable of its own, from the parameter or from zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from optloom.spec.guards import ALWAYS, Guard

from ...ir.nodes import ZERO, Expression, Kind, Program, Rate, Ref, Region, SlotInfo, Statement, Store, references
from ...passes.rates import environment, rate_of
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
    return [slot for slot in program.slots if slot.shape == "parameter"]


Blocks = Iterator[tuple[Guard, list[str]]]
"""Lines, and the guard that they are under."""


class Formula:
    def __init__(self, program: Program) -> None:
        self.program, self.printer = program, TensorPrinter()

    def lines(self) -> list[str]:
        text = []
        for guard, lines in self._merged():
            text += lines if guard == ALWAYS else [f"if {self.printer.guard(guard)}:", *_indented(lines)]
        return text

    def results(self) -> str:
        """What `_leaf` returns."""
        return ", ".join([NEW, *(slot.name for slot in tensors(self.program))])

    def _merged(self) -> list[tuple[Guard, list[str]]]:
        """Neighbours under one guard are one block."""
        blocks: list[tuple[Guard, list[str]]] = []
        for guard, lines in self._blocks():
            if blocks and blocks[-1][0] == guard:
                blocks[-1][1].extend(lines)
            else:
                blocks.append((guard, list(lines)))
        return blocks

    def _blocks(self) -> Blocks:
        if self.program.strict:
            yield ALWAYS, ["exact = partial(_double.exact, zero=k.zero)"]
        yield ALWAYS, [f"{NEW} = w if write else jnp.zeros_like(w)"]
        for region in self.program.regions:
            yield from self._region(region)

    def _region(self, region: Region) -> Blocks:
        self.rates = environment(self.program, region)
        body = [block for at in range(len(region.statements)) for block in self._statement(region.statements, at)]
        if region.predicate is None:
            yield from body
            return
        stored = {NEW if _target(s) == "w" else _target(s) for s in region.statements if isinstance(s, Store)}
        kept = ", ".join(name for name in [NEW, *(slot.name for slot in tensors(self.program))] if name in stored)
        yield region.guard, [f"before = {kept}"]
        yield from body
        yield region.guard, [f"{kept} = _support.select({region.predicate.name}, ({kept}), before)"]

    def _statement(self, statements: tuple[Statement, ...], at: int) -> Blocks:
        statement = statements[at]
        name = _target(statement)
        if name != "w":
            yield statement.guard, self._assigned(name, statement.value)
            return
        needed_later = any(_reads_parameter(later) for later in statements[at + 1 :])
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
