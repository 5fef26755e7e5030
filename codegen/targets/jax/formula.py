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
)  # fmt: skip
from ...passes.fission import phases
from ...passes.joined import joined, named_instead
from ...passes.rates import environment, rate_of
from ...passes.traffic import Phase, Sum
from .printer import TensorPrinter, alternatives, parameter_moved

MOVED = "update"
PARAMETER = Ref(Kind.PARAMETER, "w")
LOCALS = frozenset(
    f"{MOVED} k h t on moved step before write sums exact is_update jax jnp lax optax partial "
    "count iterations sparse axis_name exclude_from_weight_decay slots_in_rule Any NamedTuple Number".split()
)
"""Names around the formula, which no rule's names may take."""


def tensors(program: Program) -> list[SlotInfo]:
    """The slots that leaves have."""
    return [slot for slot in program.slots if slot.shape != "scalar"]


Blocks = Iterator[tuple[Guard, list[str]]]
"""Lines, and the guard that they are under."""


@dataclass(frozen=True)
class Pass:
    """A function of the formula, which runs over all leaves. `after`: the lines of the function that follows it, of
    what was summed over all leaves. `condition`: when the two are needed, empty for always."""

    name: str
    lines: tuple[str, ...]
    results: str
    after: tuple[str, ...]
    condition: str


class Formula:
    def __init__(self, program: Program) -> None:
        self.program, self.update, self.instead = program, joined(program), named_instead(program)
        self.split = phases(program, self.update, cuts=frozenset({"tensors"}))
        of_all = {s.defines for phase in self.split for s in phase.before}
        self.printer = TensorPrinter(frozenset(of_all))
        self.rates = dict(environment(program, self.update))
        self.rates |= {(Kind.SUM, total.name): Rate.STEP | Rate.TENSORS for phase in self.split for total in phase.sums}

    def passes(self) -> list[Pass]:
        """The last one's numbers may be all that comes after the sums: then it has no function of its own."""
        following = (*self.split[1:], None)
        made = [self._pass(phase, later) for phase, later in zip(self.split, following, strict=True)]
        return [one for one in made if one.lines]

    def _pass(self, phase: Phase, later: Phase | None) -> Pass:
        self.writes = _writes(phase)
        lines = self._guarded(self._blocks(phase))
        results = ", ".join(slot.name for slot in tensors(self.program))
        results = f"w if write else {MOVED}, {results}" if self.writes else f"None, {results}"
        if phase.sums:
            sums = ", ".join(f'"{total.name}": {total.name}' for total in phase.sums)
            results = f"({results}), {{{sums}}}" if phase.writes else f"None, {{{sums}}}"
        condition = "" if ALWAYS in phase.guards else " or ".join(map(self.printer.guard, phase.guards))
        return Pass(self._name(phase), tuple(lines), results, tuple(self._before(later)), condition)

    def _name(self, phase: Phase) -> str:
        """Of those that do not write the parameter, if there are several, each has a number."""
        if _writes(phase):
            return "_leaf"
        others = [other for other in self.split if not _writes(other)]
        return "_sums" if len(others) == 1 else f"_sums_{others.index(phase) + 1}"

    def _before(self, phase: Phase | None) -> list[str]:
        """What is known of all leaves together, from their sums."""
        known = phase.before if phase else ()
        return self._guarded((s.guard, [f"k.{s.defines} = {self.printer.print(s.value)}"]) for s in known)

    def _guarded(self, blocks: Iterable[tuple[Guard, list[str]]]) -> list[str]:
        """The lines of `blocks`, and before them what strict code needs."""
        lines = _laid_out(self.printer, _merged(blocks))
        if self.program.strict and any("exact(" in line for line in lines):
            lines.insert(0, "exact = partial(_double.exact, zero=k.zero)")
        return lines

    def _blocks(self, phase: Phase) -> Blocks:
        """The statements of a phase, each sum at its place; what a call that does not update leaves, if there are such
        calls: slots as they are, or as every call stores them."""
        region, statements, sums = self.update, phase.statements, phase.sums
        stored = {_target(s) for s in statements if isinstance(s, Store)}
        names = ["w", MOVED] if self.writes else []
        names += [slot.name for slot in tensors(self.program) if slot.name in stored]
        left = [self.instead.get(name, name) for name in names]
        made = [at for at, s in enumerate(statements, 1) if _target(s) in left and isinstance(s, Let)]
        chooses = region.predicate is not None and bool(stored)
        if self.writes:
            yield ALWAYS, [f"{MOVED} = jnp.zeros_like(w)"]
        for at in range(len(statements) + 1):
            if chooses and at == max(made, default=0):
                yield region.guard, [f"before = {', '.join(left)}"]
            for total in sums:
                if total.position == at:
                    yield total.guard, [f"{total.name} = {self.printer.share(total.argument)}"]
            if at < len(statements):
                yield from self._statement(statements[at])
        if chooses and region.predicate is not None:
            new = ", ".join(names)
            yield region.guard, [f"{new} = _support.select({region.predicate.name}, {_tuple(new)}, before)"]

    def _statement(self, statement: Statement) -> Blocks:
        name = _target(statement)
        if name != "w":
            yield statement.guard, self._assigned(name, statement.value)
        elif not self.writes:
            yield statement.guard, [f"w = {self.printer.print(statement.value)}"]
        elif statement.value != PARAMETER:
            yield statement.guard, self._moved(statement.value)

    def _moved(self, value: Expression) -> list[str]:
        """The parameter goes a step on, and so does what optax will add to it."""
        match value:
            case Op(Fn.ADD | Fn.SUB as fn, (Ref(Kind.PARAMETER, "w"), step)):
                sign = "+" if fn is Fn.ADD else "-"
                return [*self._assigned("step", step), f"w, {MOVED} = w {sign} step, {MOVED} {sign} step"]
        return [*self._assigned("moved", value), f"w, {MOVED} = moved, {MOVED} + (moved - w)"]

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
        if not is_slot or rate_of(value, self.rates) >= Rate.ROW:
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


def _tuple(names: str) -> str:
    return f"({names})" if "," in names else names


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _target(statement: Statement) -> str:
    return statement.slot if isinstance(statement, Store) else statement.name


def _writes(phase: Phase) -> bool:
    return "w" in phase.writes


def _reads_parameter(statement: Statement) -> bool:
    """Whether a statement needs the parameter itself, not only to move it."""
    match statement.value:
        case Op(Fn.ADD | Fn.SUB, (Ref(Kind.PARAMETER, "w"), step)) if _target(statement) == "w":
            return PARAMETER in references(step)
        case value:
            return value != PARAMETER and PARAMETER in references(value)


def guards_of_reads(program: Program) -> Iterator[Guard]:
    """The guards under which an update needs the parameters, also where it does not write them."""
    for region in program.regions:
        for statement in region.statements:
            if _reads_parameter(statement):
                yield statement.guard
