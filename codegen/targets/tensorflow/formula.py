"""The formula of a step as methods: passes over all variables, and between them what follows from their sums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from optloom.spec.guards import ALWAYS, Guard

from ...ir.nodes import Kind, Let, Program, Rate, Reduce, Ref, Statement, Store
from ...passes.fission import phases
from ...passes.joined import joined, named_instead
from ...passes.locality import follows_parameter
from ...passes.rates import environment
from ...passes.traffic import Phase
from .printer import BetweenPrinter, TensorPrinter
from .statements import Lines, assignment, storage


@dataclass(frozen=True)
class Pass:
    """A method of the class that runs over all variables; none if it has no `name`.

    `before`: the lines of the method that runs before it, on what was summed over all variables. `condition`: when the
    pass is needed, empty for always.
    """

    name: str
    before: tuple[str, ...]
    condition: str
    reads: tuple[str, ...]
    lines: tuple[str, ...]
    stores: tuple[str, ...]
    sums: bool

    @property
    def before_name(self) -> str:
        """What the method before it is called; empty where there is none."""
        if not self.before:
            return ""
        return f"_before_{self.name.lstrip('_')}" if self.name else "_after_all_passes"

    def mentions(self, text: str) -> bool:
        """Whether the method needs a name, or an element of a list."""
        pattern = re.compile(rf"(?<![\w.]){re.escape(text)}(?!\w)")
        return any(pattern.search(line) for line in (*self.reads, *self.lines, *self.stores))


def passes(program: Program, lazy: bool) -> list[Pass]:
    """The formula of a step, split by the sums over all variables."""
    return _Passes(program, lazy).made()


class _Passes:
    def __init__(self, program: Program, lazy: bool) -> None:
        self.program, self.lazy, self.region = program, lazy, joined(program)
        self.split = phases(program, self.region, cuts=frozenset({"tensors"}))
        rates = dict(environment(program, self.region))
        rates |= {(Kind.SUM, total.name): Rate.STEP | Rate.TENSORS for phase in self.split for total in phase.sums}
        of_all = frozenset(s.defines for phase in self.split for s in phase.before)
        self.printer = TensorPrinter(program, rates, of_all=of_all)
        self.between = BetweenPrinter(program, rates, per_tensor=True, of_all=of_all)
        # What every call stores, also one that does not update: by the names of the values, and the slots themselves.
        self.each_call = {name: slot for slot, name in named_instead(program).items()}
        later = {s.slot for s in program.update.statements if isinstance(s, Store)}
        self.only_early = {
            s.slot for region in program.regions[:-1] for s in region.statements if isinstance(s, Store)
        } - later

        predicate = self.region.predicate
        self.is_conditional = predicate is not None or program.gate is not None
        self.condition = f"self._every({f'self.{predicate.hyper}' if predicate else None})"

    def made(self) -> list[Pass]:
        known: set[str] = set()
        made = []
        for number, phase in enumerate(self.split, 1):
            before = [statement for statement in phase.before if statement.defines not in known]
            known |= {statement.defines for statement in before}
            made.append(self._pass(number, phase, before))
        return made

    def _pass(self, number: int, phase: Phase, before: list[Statement]) -> Pass:
        alone = phase.guards[0] if len(phase.guards) == 1 else ALWAYS
        return Pass(
            name=self._name(number, phase),
            before=tuple(self._before(before)),
            condition="" if ALWAYS in phase.guards else " or ".join(map(self.printer.guard, phase.guards)),
            reads=tuple(self._reads(phase)),
            lines=tuple(self._lines(phase, alone)),
            stores=tuple(self._stores(phase)),
            sums=bool(phase.sums),
        )

    def _name(self, number: int, phase: Phase) -> str:
        if "w" in phase.writes:
            return "update_step"
        if not phase.statements and not phase.sums:
            return ""
        alone = len([phase for phase in self.split if phase.sums and "w" not in phase.writes]) == 1
        return "_sums" if alone and not phase.writes else f"_pass_{number}"

    def _before(self, statements: list[Statement]) -> Lines:
        """What follows from sums: members of `k`, those that are kept in the dtype that they are kept in."""
        lines = Lines()
        where = ""
        if self.is_conditional and any(isinstance(statement, Store) for statement in statements):
            lines.append(f"where = {self.condition}")
            where = ", where=where"
        for statement in statements:
            name, value = statement.defines, self.between.print(statement.value)
            here = [f"k.{name} = {value}"]
            if isinstance(statement, Store):
                here = [
                    f"k.{name} = tf.cast({value}, k.dtype)",
                    f"_support.store(self.{storage(name)}[k.dtype.name], k.{name}{where})",
                ]
            lines.add(self.between.condition(statement.guard), here)
        return lines

    def _reads(self, phase: Phase) -> Lines:
        """Local names for the slots and inputs that a pass reads; of slots that a lazy update has none of, whole."""
        lines = Lines()
        for slot in self.program.slots:
            if slot.name in phase.reads and slot.shape != "scalar":
                rows = "" if self._is_whole(slot.name) else ", rows"
                value = f"_support.read(self.{storage(slot.name)}[i]{rows})"
                value = f"tf.cast({value}, k.dtype)" if slot.storage == "parameter" else value
                lines.add(self.printer.condition(slot.when), [f"{slot.name} = {value}"])
        for source in self.program.inputs:
            if source.name in phase.reads and source.shape == "parameter":
                rows = f"_support.rows_of({source.name}, rows)" if self.lazy else source.name
                lines.append(f"{source.name} = tf.cast({rows}, k.dtype)")
        return lines

    def _is_whole(self, name: str) -> bool:
        """Whether a pass reads and stores a slot, or the parameter, whole, whatever rows its gradient has."""
        of_stage = name != "w" and self.program.slot(name).stage
        return not self.lazy or bool(of_stage and not follows_parameter(self.program, name))

    def _lines(self, phase: Phase, alone: Guard) -> Lines:
        """All statements in order, stores as assignments to local names. `alone`: what holds in the whole pass."""
        lines = Lines(["terms: _support.Sums = {}"] if phase.sums else [])
        for position, statement in enumerate((*phase.statements, None)):
            for total in phase.sums:
                if total.position == position:
                    term = self.printer.at_rate(per_tensor=True).reduction(Reduce(total.argument, "tensor"))
                    guard = ALWAYS if total.guard == alone else total.guard
                    lines.add(self.printer.condition(guard), [f'terms["{total.name}"] = {term}'])
            if statement is not None and statement.value != Ref(Kind.PARAMETER, statement.defines):
                lines.add(self.printer.condition(statement.guard), self._statement(phase, statement))
        return lines

    def _statement(self, phase: Phase, statement: Statement) -> Iterator[str]:
        name, per_tensor = statement.defines, self.printer.is_per_tensor(statement.value)
        if isinstance(statement, Let):
            wide = per_tensor and not statement.rebinds
            yield from assignment(name, statement.value, self.printer.at_rate(wide), "tf.shape(w)")
            if self.each_call.get(name) in phase.writes:
                where = ", where=self._every(None)" if self.program.gate else ""
                yield f"_support.store(self.{storage(self.each_call[name])}[i], {name}{where})"
        elif name != "w" and self.program.slot(name).shape == "tensor":
            yield f"{name} = tf.cast({self.printer.at_rate(per_tensor=True).print(statement.value)}, k.dtype)"
        else:
            is_whole = name == "w" or self.program.slot(name).shape == "parameter"
            shape = "tf.shape(w)" if is_whole else f"self.{storage(name)}[i].shape"
            yield from assignment(name, statement.value, self.printer, shape)

    def _stores(self, phase: Phase) -> Lines:
        """What the pass assigns to variables: what only calls that update store, under their predicate."""
        lines = Lines()
        stores = [statement for statement in phase.statements if isinstance(statement, Store)]
        if self.is_conditional and any(store.slot not in self.only_early for store in stores):
            lines.append(f"where = {self.condition}")
        early = ", where=self._every(None)" if self.program.gate else ""
        for store in stores:
            name = store.slot
            rows = "" if self._is_whole(name) else ", rows"
            where = early if name in self.only_early else ", where=where" if self.is_conditional else ""
            variable = "variable" if name == "w" else f"self.{storage(name)}[i]"
            lines.add(self.printer.condition(store.guard), [f"_support.store({variable}, {name}{rows}{where})"])
        return lines
