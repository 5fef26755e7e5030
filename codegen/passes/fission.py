"""fission: a reduction splits a region into phases; each phase is one pass over memory.

A value that crosses phases is read again if it is a slot, else recomputed: no temporary of a parameter's size. Of the
legal splits (each slot may be stored in any phase from the one where its value is known) the one that moves the fewest
bytes wins; ties go to the earlier store. Precondition: `schedule` has run. Matrix products are a target's own affair
and split nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from optloom.spec.guards import ALWAYS, Atom, Flag, Given, Guard, HasAxes, Is, evaluate

from ..ir.naming import unique
from ..ir.nodes import (
    Choose,
    Expression,
    Kind,
    Length,
    Let,
    Program,
    Rate,
    Reduce,
    Ref,
    Region,
    Scope,
    Statement,
    Store,
    children,
    rebuild,
    references,
)
from .rates import environment, rate_of

ALL_SCOPES = frozenset({"tensor", "tensors", "axis"})


@dataclass(frozen=True, slots=True)
class Sum:
    """A reduction that a phase carries out: `name` is its value, known to later phases."""

    name: str
    argument: Expression
    over: Scope
    axis: int
    guard: Guard


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass over a tensor's memory.

    `before`: values per tensor (or for all), computed from earlier phases' sums before this pass begins.
    `statements`: per element, in order. `reads` and `writes`: what moves, each a slot, "w", "g" or an input.
    """

    before: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    sums: tuple[Sum, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def phases(program: Program, region: Region, cuts: frozenset[str] = ALL_SCOPES) -> tuple[Phase, ...]:
    """The phases of `region`, split at reductions over the scopes in `cuts`."""
    return _Fission(program, region, cuts).best()


def bytes_moved(program: Program, phase: Phase, size: int = 4, given: frozenset[str] = frozenset()) -> int:
    """Bytes per parameter that a phase moves with default options and the hyperparameters in `given`."""
    defaults = _defaults(program, given)

    def exists(guard: Guard) -> bool:
        return evaluate(guard, defaults)

    guards = {slot.name: slot.when for slot in program.slots}
    small = {slot.name for slot in program.slots if slot.shape != "parameter"}
    used: set[str] = set()
    made: set[str] = set()  # what took over a name: reading it moves nothing
    for s in (*phase.statements, *phase.sums):
        if exists(s.guard):
            value = s.argument if isinstance(s, Sum) else s.value
            used |= {ref.name for ref in _live(value, exists)} - made
            made.add(s.rebinds if isinstance(s, Let) else "")
    reads = [name for name in phase.reads if name in used - small and exists(guards.get(name, ALWAYS))]
    written = {s.slot for s in phase.statements if isinstance(s, Store) and exists(s.guard)}
    return size * (len(reads) + len(written - small))


def _live(node: Expression, exists: Callable[[Guard], bool]) -> Iterator[Ref]:
    if isinstance(node, Choose):
        yield from _live(node.chosen if exists(node.guard) else node.other, exists)
    elif isinstance(node, Ref):
        yield node
    elif not isinstance(node, Length):
        for child in children(node):
            yield from _live(child, exists)


def _defaults(program: Program, given: frozenset[str]) -> Callable[[Atom], bool]:
    options = {option.name: option.default for option in program.options}
    hypers = {hyper.name: hyper for hyper in program.hypers}

    def atom(guard: Atom) -> bool:
        match guard:
            case Flag(option):
                return bool(options.get(option))
            case Is(option, value):
                return options.get(option) == value
            case Given(name):
                hyper = hypers[name]
                return name in given or (hyper.default is not None and hyper.default != hyper.off)
            case HasAxes():
                return True

    return atom


class _Fission:
    def __init__(self, program: Program, region: Region, cuts: frozenset[str]) -> None:
        self.program, self.region, self.cuts = program, region, cuts
        self.sums: dict[str, tuple[Sum, int]] = {}
        self.taken = {slot.name for slot in program.slots} | {
            scalar.name for scalar in region.scalars if isinstance(scalar, Let)
        }
        self.taken |= {s.name for s in region.statements if isinstance(s, Let)}
        self.rates = dict(environment(program, region))
        self.statements = tuple(self._named_sums(statement) for statement in region.statements)
        self.levels = self._levels()
        self.count = 1 + max([0, *self.levels, *(level + 1 for _, level in self.sums.values())])

    def _named_sums(self, statement: Statement) -> Statement:
        def name_sum(node: Expression) -> Expression:
            node = rebuild(node, name_sum)
            if not isinstance(node, Reduce) or node.over not in self.cuts:
                return node
            owner = statement.name if isinstance(statement, Let) else statement.slot
            name = unique(f"{owner}_sum", self.taken)
            self.sums[name] = (Sum(name, node.argument, node.over, node.axis, statement.guard), -1)
            return Ref(Kind.SUM, name)

        return replace(statement, value=name_sum(statement.value))

    def _levels(self) -> tuple[int, ...]:
        """For each statement the first phase in which its value is known."""
        known: dict[tuple[Kind, str], int] = {}
        levels = []

        def level_of(node: Expression) -> int:
            found = 0
            for ref in references(node):
                if ref.kind is Kind.SUM:
                    total, level = self.sums[ref.name]
                    if level < 0:
                        self.sums[ref.name] = (total, level := level_of(total.argument))
                    found = max(found, level + 1)
                else:
                    found = max(found, known.get((ref.kind, ref.name), 0))
            return found

        for statement in self.statements:
            level = level_of(statement.value)
            levels.append(level)
            if isinstance(statement, Let):
                known[Kind.LET, statement.name] = level
                if statement.rebinds:
                    known[Kind.PARAMETER if statement.rebinds == "w" else Kind.GRADIENT, statement.rebinds] = level
            else:
                known[Kind.SLOT, statement.slot] = level
        return tuple(levels)

    def best(self) -> tuple[Phase, ...]:
        stores = [i for i, statement in enumerate(self.statements) if isinstance(statement, Store)]
        choices = product(*(range(self.levels[i], self.count) for i in stores))
        legal = (split for at in choices if (split := self._split(dict(zip(stores, at, strict=True)))) is not None)
        given = frozenset(hyper.name for hyper in self.program.hypers if hyper.optional and not hyper.stage)
        return min(legal, key=lambda split: sum(bytes_moved(self.program, phase, given=given) for phase in split))

    def _split(self, stored_in: dict[int, int]) -> tuple[Phase, ...] | None:
        made = [self._phase(number, stored_in) for number in range(self.count)]
        return tuple(phase for phase in made if phase is not None) if all(made) else None

    def _phase(self, number: int, stored_in: dict[int, int]) -> Phase | None:
        """Phase `number`, or None if it would need a value that an earlier phase has overwritten."""
        overwritten = {self.statements[i].slot for i, at in stored_in.items() if at < number}  # type: ignore[union-attr]
        sums = tuple(total for total, level in self.sums.values() if level == number)
        wanted = {ref for total in sums for ref in references(total.argument)}
        kept: list[Statement] = []
        before: list[Statement] = []
        reads: dict[str, None] = {}
        for i in reversed(range(len(self.statements))):
            statement = self.statements[i]
            needed = self._produces(statement, wanted) and self.levels[i] <= number
            if isinstance(statement, Store):
                if stored_in[i] == number:
                    (before if self._is_scalar_slot(statement) else kept).append(statement)
                elif needed and stored_in[i] > number:
                    kept.append(
                        Let(statement.slot, statement.value, statement.guard, statement.location, statement.slot)
                    )
                else:
                    continue
                wanted |= set(references(statement.value))
            elif needed:
                (before if self._is_between_passes(statement) else kept).append(statement)
                wanted |= set(references(statement.value))
        for ref in sorted(wanted, key=lambda ref: ref.name):
            if ref.kind in (Kind.BEFORE, Kind.PARAMETER) and ref.name in overwritten:
                return None
            is_stored = ref.kind is Kind.SLOT and ref.name in overwritten
            if ref.kind in (Kind.BEFORE, Kind.PARAMETER, Kind.GRADIENT, Kind.INPUT) or is_stored:
                reads[ref.name] = None
        writes = tuple(s.slot for s in reversed(kept) if isinstance(s, Store))
        return Phase(tuple(reversed(before)), tuple(reversed(kept)), sums, tuple(reads), writes)

    def _is_between_passes(self, statement: Let) -> bool:
        """Whether the value is one number per tensor or row (for all tensors, if only reductions over all split)."""
        rate = rate_of(statement.value, self.rates_with_sums)
        if statement.rebinds or "tensor" not in self.cuts:
            return rate.is_per_tensor and not statement.rebinds and not rate & Rate.TENSOR
        return not rate & Rate.ELEMENT and not (rate & Rate.ROW and rate & Rate.COLUMN)

    def _is_scalar_slot(self, store: Store) -> bool:
        return store.slot != "w" and self.program.slot(store.slot).shape == "scalar"

    @property
    def rates_with_sums(self) -> dict:  # type: ignore[type-arg]
        rates = dict(self.rates)
        for name, (total, _) in self.sums.items():
            rates[Kind.SUM, name] = rate_of(Reduce(Ref(Kind.PARAMETER, "w"), total.over, total.axis), self.rates)
        return rates

    @staticmethod
    def _produces(statement: Statement, wanted: set[Ref]) -> bool:
        if isinstance(statement, Store):
            return Ref(Kind.SLOT, statement.slot) in wanted
        if statement.rebinds:
            kind = Kind.PARAMETER if statement.rebinds == "w" else Kind.GRADIENT
            return Ref(kind, statement.rebinds) in wanted
        return Ref(Kind.LET, statement.name) in wanted
