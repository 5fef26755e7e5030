"""Numbers between two passes over the elements: those of a row, from sums over all tensors, and those of a tensor.

A row's join the step's scalars `k`; a tensor's are a struct `n`. They are computed in float64, and rounded where
elements read them or a slot keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from optloom.spec.guards import ALWAYS, Guard

from ..ir.nodes import Kind, Length, Let, Program, Rate, Ref, Statement, Store, references, walk
from ..passes.joined import joined
from ..passes.rates import environment
from ..passes.traffic import Phase
from .along import Shapes, axis_length
from .layout import Dialect, Operand, Switches
from .lines import Guarded, grouped, references_of
from .printer import TensorPrinter, is_condition, local


@dataclass(frozen=True, slots=True)
class Between:
    """What `function` computes before a pass. `needs`: its arguments, of a row's scalars `k` and the `row` itself, a
    tensor's `size`, `rows`, `columns` and `sum`s, the `total`s of all tensors. `guards`: one of them holds where there
    is anything to compute; `condition` says so, empty for always."""

    function: str
    needs: tuple[str, ...]
    lines: tuple[str, ...]
    guards: tuple[Guard, ...]
    condition: str


@dataclass(frozen=True, slots=True)
class PerRow(Between):
    """Numbers of a row. `fields`: what elements read of them, as (type, name)."""

    fields: tuple[tuple[str, str], ...]
    slots: ClassVar[tuple[Operand, ...]] = ()


@dataclass(frozen=True, slots=True)
class PerTensor(Between):
    """Numbers of a tensor, of type `type`. `fields`: what elements read of them, and its value. `slots`: of one number
    each, those that are read or kept."""

    type: str
    fields: Mapping[str, str]
    slots: tuple[Operand, ...]

    @property
    def keeps(self) -> bool:
        """Whether it stores anything, and so is to be called once for a tensor."""
        return any(slot.is_stored for slot in self.slots)


@dataclass(frozen=True)
class BetweenBuilder:
    """`phases`: those of `program` in a call that updates. `helpers`: filled with the operations used."""

    program: Program
    phases: tuple[Phase, ...]
    switches: Switches
    dialect: Dialect
    helpers: set[str]
    shapes: Shapes

    def shared(self, phase: Phase) -> dict[Ref, str]:
        """How the elements of `phase` read what they share."""
        found = {
            Ref(Kind.LET, let.name): f"{'k' if self._is_of_row(let) else 'n'}.{let.name}"
            for let in phase.before if isinstance(let, Let) and not self.shapes.of(let.value)
        }  # fmt: skip
        for slot in self.program.slots:
            if slot.shape == "scalar":
                found[Ref(Kind.SLOT, slot.name)] = f"k.{slot.name}"
            elif slot.shape == "tensor":
                found[Ref(Kind.SLOT, slot.name)] = f"n.{slot.name}"
                found[Ref(Kind.BEFORE, slot.name)] = f"n.old_{slot.name}"
        return found

    def per_row(self, phase: Phase, suffix: str) -> PerRow | None:
        earlier = self.phases[: self.phases.index(phase)]
        known = {let.name for each in earlier for let in each.before if isinstance(let, Let) and _is_read(let, each)}
        read = _read_in(phase) - {Ref(Kind.LET, name) for name in known}
        own = [s for s in phase.before if self._is_of_row(s)]
        wanted = [s for s in own if isinstance(s, Store) or Ref(Kind.LET, s.name) in read]
        if not wanted:
            return None
        statements = _with_needed(wanted, own)
        lines: list[Guarded] = []
        fields: list[tuple[str, str]] = []
        for s in statements:
            if isinstance(s, Store):
                value = self.dialect.to_double.format(f"C({self._printer.print(s.value)})")
                lines.append((s.guard, f"row.{s.slot} = {value};"))
                if any(Ref(Kind.SLOT, s.slot) in _read_in(each) for each in self.phases):
                    fields.append(("C", s.slot))
                    lines.append((s.guard, f"k.{s.slot} = C(row.{s.slot});"))
            else:
                lines.append(self._let(s))
                if Ref(Kind.LET, s.name) in read:
                    kind = "bool" if is_condition(s.value) else "C"
                    fields.append((kind, s.name))
                    lines.append((ALWAYS, f"k.{s.name} = {kind}({local(s.name)});"))
        parts = self._parts(statements, wanted, lines, writes_scalars=bool(fields))
        return PerRow(f"advance{suffix}", *parts, tuple(fields))

    def per_tensor(self, phase: Phase, suffix: str) -> PerTensor | None:
        read = _read_in(phase)
        own = [s for s in phase.before if not self._is_of_row(s) and not self.shapes.of_statement(s)]
        numbers = [ref for ref in self.shared(phase) if ref in read and self._shapes.get(ref.name) == "tensor"]
        if not own and not numbers:
            return None
        statements = _with_needed(own, phase.before)
        slots = tuple(self._slots({ref.name for ref in numbers}, statements))
        old = [ref.name for ref in numbers if ref.kind is Kind.BEFORE]
        lines: list[Guarded] = [(ALWAYS, line) for slot in slots if slot.guard for line in _stand_in(slot)]
        lines += [(ALWAYS, f"const C old_{name} = *{local(name)};") for name in old]
        for s in statements:
            if isinstance(s, Store):
                lines.append((s.guard, f"*{local(s.slot)} = C({self._printer.print(s.value)});"))
            else:
                lines.append(self._let(s))
        values = {f"old_{name}": f"old_{name}" for name in old}
        values |= {ref.name: f"*{local(ref.name)}" for ref in numbers if ref.kind is Kind.SLOT}
        values |= {s.name: f"C({local(s.name)})" for s in own if isinstance(s, Let) and Ref(Kind.LET, s.name) in read}
        parts = self._parts(statements, own, lines)
        kind = f"PerTensor{suffix.replace('_', '')}"
        return PerTensor(f"per_tensor{suffix}", *parts, kind, values, slots)

    def _parts(
        self, statements: Sequence[Statement], own: Sequence[Statement], lines: list[Guarded],
        writes_scalars: bool = False,
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Guard, ...], str]:  # fmt: skip
        """The parts of a Between after its function. `own`: those of `statements` that are wanted for themselves."""
        guards = tuple(dict.fromkeys(s.guard for s in own))
        needs, text = self._needs(statements, writes_scalars), tuple(grouped(lines, self.switches.constant))
        return needs, text, guards, self.switches.any(guards)

    def _needs(self, statements: Sequence[Statement], writes_scalars: bool) -> tuple[str, ...]:
        refs = {ref for s in statements for ref in references(s.value)}
        stored = {s.slot for s in statements if isinstance(s, Store)}
        in_row = stored | {ref.name for ref in refs if ref.kind is Kind.SLOT}
        sums = {ref.name for ref in refs if ref.kind is Kind.SUM}
        lengths = [node for s in statements for node in walk(s.value) if isinstance(node, Length)]
        axes = {axis_length(node) for node in lengths if node.over == "axis"}
        is_needed = {
            "k": writes_scalars or any(ref.kind is Kind.SCALAR for ref in refs),
            "row": any(self._shapes[name] == "scalar" for name in in_row),
            "size": any(node.over == "tensor" for node in lengths),
            "rows": "rows" in axes, "columns": "columns" in axes,
            "sum": bool(sums - self._totals),
            "total": bool(sums & self._totals),
        }  # fmt: skip
        return tuple(name for name in is_needed if is_needed[name])

    def _slots(self, names: set[str], statements: Sequence[Statement]) -> Iterator[Operand]:
        """The slots of one number that `statements` or, by `names`, elements ask for."""
        kinds = (Kind.SLOT, Kind.BEFORE)
        loaded = names | {ref.name for s in statements for ref in references(s.value) if ref.kind in kinds}
        stored = {s.slot for s in statements if isinstance(s, Store)}
        for slot in self.program.slots:
            if slot.shape == "tensor" and slot.name in loaded | stored:
                guard = "" if slot.when == ALWAYS else self.switches.constant(slot.when)
                yield Operand(local(slot.name), slot.name, "C", guard, slot.name in loaded, slot.name in stored)

    def _is_of_row(self, statement: Statement) -> bool:
        if isinstance(statement, Store):
            return self._shapes[statement.slot] == "scalar"
        return not self._rates[Kind.LET, statement.name] & Rate.TENSOR

    def _let(self, let: Let) -> Guarded:
        kind = "bool" if is_condition(let.value) else self.dialect.float64
        return ALWAYS, f"const {kind} {local(let.name)} = {self._printer.print(let.value)};"

    @cached_property
    def _printer(self) -> TensorPrinter:
        number, literal = self.dialect.float64, self.dialect.literal
        return TensorPrinter(self.switches.constant, self.helpers, number, literal, self._totals, self._shapes)

    @cached_property
    def _shapes(self) -> Mapping[str, str]:
        return {slot.name: slot.shape for slot in self.program.slots}

    @cached_property
    def _totals(self) -> frozenset[str]:
        return frozenset(total.name for phase in self.phases for total in phase.sums if total.over == "tensors")

    @cached_property
    def _rates(self) -> Mapping[tuple[Kind, str], Rate]:
        return environment(self.program, joined(self.program))


def _stand_in(slot: Operand) -> tuple[str, ...]:
    """A number to point at where options leave the slot out."""
    return f"C no_{slot.name} = C(0);", f"if (!({slot.guard})) {slot.name} = &no_{slot.name};"


def _read_in(phase: Phase) -> set[Ref]:
    """What the elements of a phase read."""
    return {ref for part in (*phase.statements, *phase.sums) for ref in references_of(part)}


def _is_read(let: Let, phase: Phase) -> bool:
    return Ref(Kind.LET, let.name) in _read_in(phase)


def _with_needed(wanted: Iterable[Statement], known: Sequence[Statement]) -> list[Statement]:
    """`wanted` and, of the named values in `known`, those that they are made of; in the order of `known`."""
    chosen = list(wanted)
    needed = {ref.name for s in chosen for ref in references(s.value) if ref.kind is Kind.LET}
    for s in reversed(known):
        if isinstance(s, Let) and s.name in needed:
            if s not in chosen:
                chosen.append(s)
            needed |= {ref.name for ref in references(s.value) if ref.kind is Kind.LET}
    return [s for s in known if s in chosen]
