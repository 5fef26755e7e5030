"""The lines of `_leaf`: one program's statements, in order, for one leaf; and of the passes before it.

Two doors share them. `adam_step` writes the parameter; `adam` returns what optax will add to it. So two variables move
side by side: the parameter, and what it has moved by, from zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from optloom.spec.guards import ALWAYS, Guard, Narrow, atoms, before_tensors

from ...ir.nodes import (
    ZERO,
    Expression,
    Fn,
    Kind,
    Length,
    Let,
    Op,
    Program,
    Rate,
    Reduce,
    Ref,
    SlotInfo,
    Statement,
    Store,
    references,
    walk,
)  # fmt: skip
from ...passes.fission import phases
from ...passes.joined import joined, named_instead
from ...passes.rates import environment, rate_of
from ...passes.traffic import Phase
from .printer import TensorPrinter, alternatives, parameter_moved, pulled_up

MOVED = "update"
PARAMETER = Ref(Kind.PARAMETER, "w")
LONGEST = 116  # of a line that chooses
EXACT = "exact = partial(_double.exact, zero=k.zero)"
LOCALS = frozenset(
    f"{MOVED} k h t on number moved step after before write sums exact is_update jax jnp lax optax partial Hyper "
    "count iterations skipped slots sparse fused axis_name exclude_from_weight_decay Any Array Moved NamedTuple Number "
    "Numbers On Slots Sums zero".split()
)
"""Names around the formula, which no rule's names may take."""


Branches = list[tuple[Guard, Expression]]
"""The values that a statement chooses from, to be tried in order."""


def tensors(program: Program) -> list[SlotInfo]:
    """The slots that leaves have, in the order of a state's fields: first those that are always there."""
    slots = [slot for slot in program.slots if slot.shape != "scalar"]
    return sorted(slots, key=lambda slot: before_tensors(slot.when) != ALWAYS)


@dataclass(frozen=True)
class Block:
    """Lines, and the guard that they are under. `wide`: they compute numbers in float64."""

    guard: Guard
    lines: list[str]
    wide: bool = False


@dataclass(frozen=True)
class Pass:
    """A function of the formula, which runs over all leaves. `results`: what it returns, of the type `returns`.
    `after`: the lines of the function that follows it, of what was summed over all leaves. `condition`: when the two
    are needed, empty for always."""

    name: str
    lines: tuple[str, ...]
    results: str
    returns: str
    after: tuple[str, ...]
    condition: str
    writes: bool


class Formula:
    def __init__(self, program: Program) -> None:
        self.program, self.update, self.instead = program, joined(program), named_instead(program)
        self.split = phases(program, self.update, cuts=frozenset({"tensors"}))
        of_all = frozenset(s.defines for phase in self.split for s in phase.before)
        self.rates = dict(environment(program, self.update))
        self.rates |= {(Kind.SUM, total.name): Rate.STEP | Rate.TENSORS for phase in self.split for total in phase.sums}
        slots = {slot.when: slot.name for slot in program.slots if Narrow() in atoms(slot.when)}
        self.printer = TensorPrinter(of_all, self._wide(), is_strict=program.strict, slots=slots)

    def _wide(self) -> frozenset[str]:
        """What is one number of a leaf, made of sums over its elements."""
        found: set[str] = set()
        for statement in self.update.statements:
            if isinstance(statement, Let) and self._is_wide(statement.value, found):
                found.add(statement.name)
        return frozenset(found)

    def _is_wide(self, value: Expression, known: Iterable[str]) -> bool:
        rate = rate_of(value, self.rates)
        reads = any(isinstance(node, Reduce) and node.over == "tensor" for node in walk(value))
        reads |= any(ref.kind is Kind.LET and ref.name in known for ref in references(value))
        return rate.is_per_tensor and bool(rate & Rate.TENSOR) and reads

    def passes(self) -> list[Pass]:
        """The last one's numbers may be all that comes after the sums: then it has no function of its own."""
        following = (*self.split[1:], None)
        made = [self._pass(phase, later) for phase, later in zip(self.split, following, strict=True)]
        return [one for one in made if one.lines]

    def _pass(self, phase: Phase, later: Phase | None) -> Pass:
        writes = "w" in phase.writes
        names = [slot.name for slot in tensors(self.program)]
        moved = f"{f'w if write else {MOVED}' if writes else 'None'}, {_tuple(names)}"
        if not phase.writes:
            results, returns = "sums", "Sums"
        else:
            results, returns = (f"({moved}), sums", "tuple[Moved, Sums]") if phase.sums else (moved, "Moved")
        lines = self._laid_out(self._blocks(phase, writes), phase.guards)
        read = set(re.findall(r"\w+", " ".join([*lines, results])))
        taken = [name if name in read else "_" for name in names]
        lines = [f"{_tuple(taken).strip('()')} = slots", *lines] if read & set(names) else lines
        condition = "" if ALWAYS in phase.guards else " or ".join(map(self.printer.guard, phase.guards))
        after = tuple(self._after(phase, later))
        return Pass(self._name(phase), tuple(lines), results, returns, after, condition, writes)

    def _name(self, phase: Phase) -> str:
        """Of those that do not write the parameter, if there are several, each has a number."""
        if "w" in phase.writes:
            return "_leaf"
        others = [other for other in self.split if "w" not in other.writes and (other.statements or other.sums)]
        return "_sums" if len(others) == 1 or phase not in others else f"_sums_{others.index(phase) + 1}"

    def _after(self, phase: Phase, later: Phase | None) -> list[str]:
        """What is known of all leaves together before the later phase, from sums: numbers in float64."""
        printer = self.printer.widely()
        at = self.split.index(phase)
        earlier = {s for other in self.split[: at + 1] for s in other.before}
        known = [s for s in later.before if s not in earlier] if later else []
        blocks = (Block(s.guard, [f"k.{s.defines} = {printer.print(s.value)}"], wide=True) for s in known)
        return self._laid_out(blocks, phase.guards)

    def _blocks(self, phase: Phase, writes: bool) -> Iterator[Block]:
        """The statements of a phase, each sum at its place; what a call that does not update leaves, if there are such
        calls: slots as they are, or as every call stores them."""
        region, statements = self.update, phase.statements
        stored = {s.slot for s in statements if isinstance(s, Store)}
        names = ["w", MOVED] if writes else []
        names += [slot.name for slot in tensors(self.program) if slot.name in stored]
        left = [self.instead.get(name, name) for name in names]
        made = [at for at, s in enumerate(statements, 1) if s.defines in self.instead.values()]
        chooses = region.predicate is not None and bool(stored)
        whole = {s.guard: at for at, s in reversed(list(enumerate(statements))) if goes_along_axes(s.value)}
        if phase.sums:
            yield Block(ALWAYS, ["sums: Sums = {}"])
        if writes:
            yield Block(ALWAYS, [f"{MOVED} = jnp.zeros_like(w)"])
        for at, statement in enumerate((*statements, None)):
            if chooses and at == max(made, default=0):
                yield Block(region.guard, [f"before = {', '.join(left)}"])
            for total in phase.sums:
                if total.position == at:
                    yield Block(total.guard, [f'sums["{total.name}"] = {self.printer.total(total.argument)}'])
            if statement is not None:
                if whole.get(statement.guard) == at:
                    yield Block(statement.guard, ["_support.check_whole(w, on.axis_name)"])
                yield from self._statement(statement, writes)
        if chooses and region.predicate is not None:
            new = ", ".join(names)
            chosen = f"_support.select({region.predicate.name}, {f'({new})' if len(names) > 1 else new}, before)"
            lines = [f"{new} = {chosen}"]
            if 2 * len(new) > LONGEST:
                select = f"_support.select({region.predicate.name}, after, before)"
                lines = [f"after = {new}", f"after = {select}", f"{new} = after"]
            yield Block(region.guard, lines)

    def _statement(self, statement: Statement, writes: bool) -> Iterator[Block]:
        name = statement.defines
        if name != "w" or not writes:
            wide = name in self.printer.wide or self._starts_wide(statement)
            yield Block(statement.guard, self._assigned(name, statement.value, wide), wide)
        elif statement.value != PARAMETER:
            yield Block(statement.guard, self._moved(statement.value))

    def _starts_wide(self, statement: Statement) -> bool:
        """Whether a slot is stored that is one number of a leaf, made of sums over its elements."""
        return isinstance(statement, Store) and self._is_wide(statement.value, self.printer.wide)

    def _moved(self, value: Expression) -> list[str]:
        """The parameter goes a step on, and so does what optax will add to it."""
        branches = list(alternatives(value))
        if len(branches) > 1:
            return self._branches(branches, self._moved)
        match value:
            case Op(Fn.ADD | Fn.SUB as fn, (Ref(Kind.PARAMETER, "w"), step)):
                sign = "+" if fn is Fn.ADD else "-"
                made = [] if isinstance(step, Ref) else self._assigned("step", step)
                text = "step" if made else self.printer.print(step)
                return [*made, f"w, {MOVED} = w {sign} {text}, {MOVED} {sign} {text}"]
        increment = parameter_moved(value, Ref(Kind.LET, MOVED))
        if increment is not None:
            return [f"w, {MOVED} = {self.printer.print(value)}, {self.printer.print(increment)}"]
        return [f"w, {MOVED} = _support.moved(w, {MOVED}, {self.printer.print(value)})"]

    def _branches(
        self, branches: list[tuple[Guard, Expression]], lines: Callable[[Expression], list[str]]
    ) -> list[str]:
        found = []
        for number, (condition, branch) in enumerate(branches):
            word = "else:" if condition == ALWAYS else f"{'elif' if number else 'if'} {self.printer.guard(condition)}:"
            found += [word, *_indented(lines(branch))]
        return found

    def _assigned(self, name: str, value: Expression, wide: bool = False) -> list[str]:
        """One line, unless it has so many branches, or is so long with them, that they are easier to read apart."""
        line = f"{name} = {self._value(name, value, wide)}"
        branches = list(alternatives(value) if len(line) <= LONGEST else pulled_up(value))
        if len(branches) < 2 or (len(branches) == 2 and len(line) <= LONGEST):
            return [line]
        return self._branches(branches, lambda branch: [f"{name} = {self._value(name, branch, wide)}"])

    def _value(self, name: str, value: Expression, wide: bool) -> str:
        """The text of `value`; in a slot it has the slot's shape."""
        text = (self.printer.widely() if wide else self.printer).print(value)
        is_slot = any(slot.name == name for slot in self.program.slots)
        if not is_slot or rate_of(value, self.rates) >= Rate.ROW:
            return text
        return f"jnp.zeros_like({name})" if value == ZERO else f"jnp.full_like({name}, {text})"

    def _laid_out(self, blocks: Iterable[Block], known: tuple[Guard, ...]) -> list[str]:
        """The lines of blocks, neighbours under one guard together; before them what strict code needs.

        `known`: the guards of which one holds wherever the lines run.
        """
        text: list[str] = []
        for guard, of_guard in groupby(blocks, key=lambda block: block.guard):
            lines: list[str] = []
            for wide, group in groupby(of_guard, key=lambda block: block.wide):
                part = [line for block in group for line in block.lines]
                lines += ["with jax.enable_x64(True):", *_indented(part)] if wide else part
            holds = guard == ALWAYS or (guard,) == known
            text += lines if holds else [f"if {self.printer.guard(guard)}:", *_indented(lines)]
        return [EXACT, *text] if self.program.strict and any("exact(" in line for line in text) else text


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def goes_along_axes(value: Expression) -> bool:
    """Whether `value` needs a leaf as a whole: where devices hold parts of it, sums over all of them do not suffice."""
    return any(
        (isinstance(node, Reduce | Length) and node.over == "axis") or (isinstance(node, Op) and node.fn is Fn.MATMUL)
        for node in walk(value)
    )


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _reads_parameter(statement: Statement) -> bool:
    """Whether a statement needs the parameter itself, not only to move it."""
    if statement.defines != "w":
        return PARAMETER in references(statement.value)
    moves = [parameter_moved(branch, Ref(Kind.LET, MOVED)) for _, branch in alternatives(statement.value)]
    return any(increment is None or PARAMETER in references(increment) for increment in moves)


def guards_of_reads(program: Program) -> Iterator[Guard]:
    """The guards under which an update needs the parameters, also where it does not write them."""
    for region in program.regions:
        for statement in region.statements:
            if _reads_parameter(statement):
                yield statement.guard
