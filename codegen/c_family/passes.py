"""Passes over the elements, from a program's regions and phases, with the lines of their functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from optloom.spec.guards import ALWAYS, Guard

from ..ir.nodes import Kind, Length, Program, Ref, Statement, Store, references, walk
from ..passes.fission import phases
from ..passes.joined import joined
from ..passes.traffic import Phase, Sum
from ..printing import UnsupportedOperation
from .layout import Dialect, Switches, guards_of
from .printer import ElementPrinter, TensorPrinter, is_condition, local

GIVEN_FOR = {"row": Kind.HYPER, "k": Kind.SCALAR, "n": Kind.LET}


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of a pass: `type` is that of its array, `guard` (empty for always) when it exists."""

    name: str
    member: str
    type: str
    guard: str
    is_loaded: bool
    is_stored: bool


@dataclass(frozen=True, slots=True)
class PerTensor:
    """Values of one tensor, of type `type`, which `function` computes before a pass from the sums of earlier ones.

    `needs`: its arguments, of the row's scalars `k`, the tensor's `size` and the `sum`s. `guards`: one of them holds
    where there are any.
    """

    type: str
    function: str
    fields: tuple[str, ...]
    needs: tuple[str, ...]
    lines: tuple[str, ...]
    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """A function of one element and the loop around it. `given`: what it needs beside its operands, (type, name).
    `writes_back`: it is the last of its call to read the gradient. `totals`: those `sums` that are over all tensors.
    `reductions`: what `sums` add up. `guards`: one of them holds; `condition` says so, empty for always."""

    name: str
    doc: str
    given: tuple[tuple[str, str], ...]
    switches: tuple[str, ...]
    operands: tuple[Operand, ...]
    lines: tuple[str, ...]
    sums: tuple[str, ...] = ()
    per_tensor: PerTensor | None = None
    writes_back: bool = False
    reductions: tuple[Sum, ...] = ()
    condition: str = ""
    guards: tuple[Guard, ...] = (ALWAYS,)

    @property
    def totals(self) -> tuple[str, ...]:
        return tuple(total.name for total in self.reductions if total.over == "tensors")

    @property
    def reads_gradient(self) -> bool:
        return any(operand.member == "g" for operand in self.operands)

    @property
    def copies(self) -> bool:
        """Whether the parameter is written."""
        return any(operand.member == "w" and operand.is_stored for operand in self.operands)


@dataclass(frozen=True)
class PassBuilder:
    """Makes the passes of `program`. `helpers`: filled with the operations that the elements use."""

    program: Program
    switches: Switches
    dialect: Dialect
    helpers: set[str]

    def start(self) -> Pass | None:
        """The slots before the first step; None if there are none."""
        stores = tuple(Store(slot.name, slot.init, slot.when) for slot in self.program.slots)
        printer = _StartPrinter(self.switches.constant, self.helpers, frozenset())
        reads = {ref.name for store in stores for ref in references(store.value) if ref.kind is Kind.PARAMETER}
        given = (f"{self.program.name}Row", "row")
        doc = "One element's slots before the first step."
        return self._pass("start", doc, stores, printer, reads, given) if stores else None

    def every_call(self) -> Pass | None:
        """What runs in the calls that do not update; None if every call does."""
        prelude = self._prelude()
        if self.program.update.predicate is None or not prelude:
            return None
        printer = ElementPrinter(self.switches.constant, self.helpers, frozenset())
        doc = "One element, in a call that does not update."
        made = self._pass("every_call", doc, prelude, printer, _read(prelude), ("Scalars<C>", "k"))
        return replace(made, writes_back=made.reads_gradient)

    def updates(self) -> tuple[Pass, ...]:
        """The update: a pass for each phase."""
        split = phases(self.program, joined(self.program))
        made = [self._update(number, phase, len(split)) for number, phase in enumerate(split, 1)]
        last = max((index for index, each in enumerate(made) if each.reads_gradient), default=None)
        return tuple(replace(each, writes_back=index == last) for index, each in enumerate(made))

    def _prelude(self) -> tuple[Statement, ...]:
        earlier = self.program.regions[:-1]
        if any(region.predicate is not None for region in earlier):
            raise UnsupportedOperation("more than one predicate", "c")
        return tuple(statement for region in earlier for statement in region.statements)

    def _update(self, number: int, phase: Phase, count: int) -> Pass:
        suffix = f"_{number}" if count > 1 else ""
        doc = "One element, in a call that updates" + (f": pass {number} of {count}." if count > 1 else ".")
        per_tensor = self._per_tensor(phase, suffix)
        names = frozenset(let.defines for let in phase.before)
        printer = ElementPrinter(self.switches.constant, self.helpers, names)
        given = (("Scalars<C>", "k"), (f"{per_tensor.type}<C>", "n")) if per_tensor else (("Scalars<C>", "k"),)
        return self._pass(
            f"update{suffix}", doc, phase.statements, printer, set(phase.reads), *given, phase=phase,
            per_tensor=per_tensor,
        )  # fmt: skip

    def _per_tensor(self, phase: Phase, suffix: str) -> PerTensor | None:
        if not phase.before:
            return None
        number = self.dialect.float64
        printer = TensorPrinter(self.switches.constant, self.helpers, number, self.dialect.literal)
        used = {ref.name for s in (*phase.statements, *phase.sums) for ref in _references(s) if ref.kind is Kind.LET}
        fields = tuple(let.defines for let in phase.before if let.defines in used)
        lines = []
        for let in phase.before:
            kind = "bool" if is_condition(let.value) else number
            lines.append(f"const {kind} {local(let.defines)} = {printer.print(let.value)};")
        kinds = {ref.kind for let in phase.before for ref in references(let.value)}
        is_sized = any(isinstance(node, Length) for let in phase.before for node in walk(let.value))
        is_needed = {"k": Kind.SCALAR in kinds, "size": is_sized, "sum": Kind.SUM in kinds}
        needs = tuple(name for name in is_needed if is_needed[name])
        guards = tuple(dict.fromkeys(let.guard for let in phase.before))
        return PerTensor(
            f"PerTensor{suffix.replace('_', '')}", f"per_tensor{suffix}", fields, needs, tuple(lines), guards
        )

    def _pass(
        self, name: str, doc: str, statements: tuple[Statement, ...], printer: ElementPrinter, reads: set[str],
        *given: tuple[str, str], phase: Phase | None = None, per_tensor: PerTensor | None = None,
    ) -> Pass:  # fmt: skip
        sums = phase.sums if phase else ()
        for total in sums:
            if total.over not in self.dialect.scopes:
                raise UnsupportedOperation(f"a sum over all {total.over}", "c")
        lines = _Lines(printer, self.switches.constant, self.dialect.float64).of(statements, sums)
        operands = tuple(self._operands(statements, reads))
        kinds = {ref.kind for part in (*statements, *sums) for ref in _references(part)}
        given = tuple(pair for pair in given if GIVEN_FOR[pair[1]] in kinds)
        guards = [statement.guard for statement in (*statements, *sums)]
        guards += [g for s in (*statements, *sums) for g in guards_of(s.argument if isinstance(s, Sum) else s.value)]
        guards += [slot.when for slot in self.program.slots if any(slot.name == o.member for o in operands)]
        names = tuple(total.name for total in sums)
        runs = phase.guards if phase else (ALWAYS,)
        condition = "" if ALWAYS in runs else " || ".join(f"({self.switches.constant(guard)})" for guard in runs)
        named = self.switches.names(*guards)
        parts = (name, doc, given, named, operands, lines, names, per_tensor)
        return Pass(*parts, reductions=sums, condition=condition, guards=runs)

    def _operands(self, statements: tuple[Statement, ...], reads: set[str]) -> Iterable[Operand]:
        stores = {statement.slot for statement in statements if isinstance(statement, Store)}
        guards: dict[str, Guard] = {"w": ALWAYS, "g": ALWAYS} | {slot.name: slot.when for slot in self.program.slots}
        for name, guard in guards.items():
            if name in reads | stores:
                yield Operand(
                    local(name), name, {"w": "T", "g": "G"}.get(name, "C"),
                    "" if guard == ALWAYS else self.switches.constant(guard), name in reads, name in stores,
                )  # fmt: skip


class _StartPrinter(ElementPrinter):
    """A slot's first value: a number, a hyperparameter of the row, or the parameter itself."""

    def reference(self, ref: Ref) -> str:
        return f"C(row.{ref.name})" if ref.kind is Kind.HYPER else super().reference(ref)


@dataclass(frozen=True)
class _Lines:
    """Statements of one element as lines of C++; neighbours under one guard share its braces."""

    printer: ElementPrinter
    constant: Callable[[Guard], str]
    number: str

    def of(self, statements: tuple[Statement, ...], sums: tuple[Sum, ...]) -> tuple[str, ...]:
        lines: list[tuple[Guard, str]] = []
        for position, statement in enumerate((None, *statements)):
            if statement is not None:
                lines += self._statement(statement)
            for total in sums:
                if total.position == position:
                    lines += [(total.guard, f"term[{total.name}] = {self.printer.term(total.argument, self.number)};")]
        return tuple(self._grouped(lines))

    def _statement(self, statement: Statement) -> list[tuple[Guard, str]]:
        value = self.printer.print(statement.value)
        if isinstance(statement, Store):
            return [(statement.guard, f"{local(statement.slot)} = {value};")]
        name = local(statement.name)
        if statement.rebinds:
            return [(statement.guard, f"{name} = {value};")]
        kind = "bool" if is_condition(statement.value) else "C"
        if statement.guard == ALWAYS:
            return [(ALWAYS, f"const {kind} {name} = {value};")]
        return [(ALWAYS, f"{kind} {name} = {{}};"), (statement.guard, f"{name} = {value};")]

    def _grouped(self, lines: list[tuple[Guard, str]]) -> Iterable[str]:
        at = 0
        while at < len(lines):
            guard = lines[at][0]
            end = next((i for i in range(at, len(lines)) if lines[i][0] != guard), len(lines))
            block = [line for _, line in lines[at:end]]
            if guard == ALWAYS:
                yield from block
            elif len(block) == 1:
                yield f"if constexpr ({self.constant(guard)}) {block[0]}"
            else:
                yield from (f"if constexpr ({self.constant(guard)}) {{", *(f"    {line}" for line in block), "}")
            at = end


def _references(part: Statement | Sum) -> Iterable[Ref]:
    return references(part.argument if isinstance(part, Sum) else part.value)


def _read(statements: tuple[Statement, ...]) -> set[str]:
    tensors = (Kind.BEFORE, Kind.PARAMETER, Kind.GRADIENT)
    return {ref.name for s in statements for ref in references(s.value) if ref.kind in tensors}
