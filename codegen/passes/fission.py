"""fission: a reduction splits a region into phases; each phase is one pass over memory.

A value that crosses phases is read again if it is a slot, else recomputed: no temporary of a parameter's size. Of the
legal splits (each slot may be stored, and each sum taken, in any phase from the one where its value is known) the one
that moves the fewest bytes wins; ties go to fewer phases that always run, then to the earlier store. A phase whose sums
and stores are all under guards runs only where one of these holds. Precondition: `schedule` has run. Matrix products
are a target's own affair and split nothing here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product

from optloom.spec.guards import ALWAYS, Given, Guard, atoms

from ..ir.naming import unique
from ..ir.nodes import (
    Expression,
    Kind,
    Let,
    Program,
    Rate,
    Reduce,
    Ref,
    Region,
    Statement,
    Store,
    rebuild,
    references,
)
from .rates import Environment, environment, rate_of
from .traffic import Phase, Sum, bytes_moved

ALL_SCOPES = frozenset({"tensor", "tensors", "axis"})


def phases(program: Program, region: Region, cuts: frozenset[str] = ALL_SCOPES) -> tuple[Phase, ...]:
    """The phases of `region`, split at reductions over the scopes in `cuts`."""
    return _Fission(program, region, cuts).best()


@dataclass(frozen=True, slots=True)
class _Costed:
    """A phase that may be, the bytes that it moves, and whether it always runs."""

    phase: Phase
    moved: int
    always: bool


class _Fission:
    def __init__(self, program: Program, region: Region, cuts: frozenset[str]) -> None:
        self.program, self.region, self.cuts = program, region, cuts
        self.sums: dict[str, tuple[Sum, int]] = {}
        self.taken = {slot.name for slot in program.slots} | {
            scalar.name for scalar in region.scalars if isinstance(scalar, Let)
        }
        self.taken |= {s.name for s in region.statements if isinstance(s, Let)}
        self.rates = dict(environment(program, region))
        self.owners: dict[str, int] = {}
        self.exclude = _exclusion(program.alternatives)
        self.statements = tuple(self._named_sums(i, statement) for i, statement in enumerate(region.statements))
        self.levels = self._levels()
        self.values = tuple(map(_made, self.statements))
        self.reads = tuple(frozenset(references(statement.value)) for statement in self.statements)
        self.sums_read = {name: frozenset(references(total.argument)) for name, (total, _) in self.sums.items()}
        self.between = frozenset(i for i, s in enumerate(self.statements) if self._is_between_passes(s))
        self.count = 1 + max([0, *self.levels, *(level + 1 for _, level in self.sums.values())])
        self.made: dict[tuple[int, frozenset[int], frozenset[int], frozenset[str]], _Costed | None] = {}
        self.given = frozenset(hyper.name for hyper in program.hypers if hyper.optional and not hyper.stage)

    def _named_sums(self, index: int, statement: Statement) -> Statement:
        def name_sum(node: Expression) -> Expression:
            node = rebuild(node, name_sum)
            if not isinstance(node, Reduce) or node.over not in self.cuts:
                return node
            owner = statement.name if isinstance(statement, Let) else statement.slot
            name = unique(f"{owner}_{node.to}", self.taken)
            self.owners[name] = index
            self.sums[name] = (Sum(name, node.argument, node.over, node.axis, statement.guard, to=node.to), -1)
            return Ref(Kind.SUM, name)

        return replace(statement, value=name_sum(statement.value))

    def _levels(self) -> tuple[int, ...]:
        """For each statement the first phase in which its value is known."""
        known: dict[Ref, list[tuple[Guard, int]]] = {}
        levels = []

        def level_of(node: Expression, guard: Guard) -> int:
            found = 0
            for ref in references(node):
                if ref.kind is Kind.SUM:
                    total, level = self.sums[ref.name]
                    if level < 0:
                        self.sums[ref.name] = (total, level := level_of(total.argument, total.guard))
                    found = max(found, level + 1)
                else:
                    made = (level for other, level in known.get(ref, ()) if not self.exclude(other, guard))
                    found = max([found, *made])
            return found

        for statement in self.statements:
            level = level_of(statement.value, statement.guard)
            levels.append(level)
            known.setdefault(_made(statement), []).append((statement.guard, level))
        return tuple(levels)

    def _latest(self, name: str) -> int:
        """The last phase in which a sum may be taken."""
        value = Ref(Kind.SUM, name)
        users = [self.due[i] for i, read in enumerate(self.reads) if value in read]
        users += [self.sums[other][1] for other, read in self.sums_read.items() if value in read]
        return min(users) - 1

    @cached_property
    def due(self) -> tuple[int, ...]:
        """For each statement the last phase in which its value may become known: between passes, that of its users."""
        due = list(self.levels)
        for i in reversed(range(len(due))):
            if i in self.between:
                users = [due[j] for j in range(i + 1, len(due)) if self.values[i] in self.reads[j]]
                users += [self.sums[name][1] for name, read in self.sums_read.items() if self.values[i] in read]
                due[i] = min(users, default=due[i])
        return tuple(due)

    def best(self) -> tuple[Phase, ...]:
        """The split of least traffic by the rule alone: its own optional numbers given, no stage on."""
        stores = [i for i, statement in enumerate(self.statements) if isinstance(statement, Store)]
        ranges = [range(self.levels[i], self.count) for i in stores]
        ranges += [range(level, self._latest(name) + 1) for name, (_, level) in self.sums.items()]
        best: tuple[tuple[int, int], tuple[Phase, ...]] | None = None
        for at in product(*ranges):
            split = self._split(stores, at, best[0] if best else None)
            if split is not None and (best is None or split[0] < best[0]):
                best = split
        assert best is not None
        return best[1]

    def _split(
        self, stores: list[int], at: tuple[int, ...], least: tuple[int, int] | None
    ) -> tuple[tuple[int, int], tuple[Phase, ...]] | None:
        """What the split costs that has `stores`, and then the sums, in the phases `at`, and its phases.

        None if there is no such split, or as soon as its first phases alone move more than `least`.
        """
        moved = always = 0
        made = []
        for number in range(self.count):
            before, here = (
                frozenset(i for i, phase in zip(stores, at, strict=False) if chosen(phase, number))
                for chosen in (operator.lt, operator.eq)
            )
            taken = frozenset(n for n, phase in zip(self.sums, at[len(stores) :], strict=True) if phase == number)
            costed = self._phase(number, before, here, taken)
            if costed is None:
                return None
            moved, always = moved + costed.moved, always + costed.always
            if least is not None and (moved, always) > least:
                return None
            made.append(costed.phase)
        return (moved, always), tuple(made)

    def _phase(
        self, number: int, before: frozenset[int], here: frozenset[int], taken: frozenset[str]
    ) -> _Costed | None:
        """Phase `number`, as `_made_phase` makes it, and what it costs; made once."""
        key = number, before, here, taken
        if key not in self.made:
            phase = self._made_phase(*key)
            if phase is None:
                self.made[key] = None
            else:
                moved = bytes_moved(self.program, phase, given=self.given)
                always = ALWAYS in phase.guards and bool(phase.statements or phase.sums)
                self.made[key] = _Costed(phase, moved, always)
        return self.made[key]

    def _made_phase(
        self, number: int, before_: frozenset[int], here: frozenset[int], taken: frozenset[str]
    ) -> Phase | None:
        """Phase `number`, or None if it would need a value that an earlier phase has overwritten.

        `before_` and `here`: the stores of earlier phases and of this one. `taken`: the sums of this one.
        """
        overwritten = {self.statements[i].slot for i in before_}  # type: ignore[union-attr]
        sums = tuple(total for name, (total, _) in self.sums.items() if name in taken)
        parts = [total.guard for total in sums] + [self.statements[i].guard for i in here]

        def apart(statement: Statement) -> bool:
            return bool(parts) and all(self.exclude(statement.guard, guard) for guard in parts)

        wanted: set[Ref] = set()
        kept: list[tuple[int, Statement]] = []
        before: list[tuple[int, Statement]] = []
        reads: dict[str, None] = {}
        for i in reversed(range(len(self.statements))):
            statement = self.statements[i]
            for total in sums:
                if self.owners[total.name] == i + 1:
                    wanted |= self.sums_read[total.name]
            needed = self.values[i] in wanted and self.levels[i] <= number and not apart(statement)
            if isinstance(statement, Store):
                if i in here:
                    (before if self._is_scalar_slot(statement) else kept).append((i, statement))
                elif needed and i not in before_:
                    known = Let(statement.slot, statement.value, statement.guard, statement.location, statement.slot)
                    kept.append((i, known))
                else:
                    continue
                wanted |= self.reads[i]
            elif needed:
                (before if i in self.between else kept).append((i, statement))
                wanted |= self.reads[i]
        for ref in sorted(wanted, key=lambda ref: ref.name):
            if ref.kind in (Kind.BEFORE, Kind.PARAMETER) and ref.name in overwritten:
                return None
            is_stored = ref.kind is Kind.SLOT and ref.name in overwritten
            if ref.kind in (Kind.BEFORE, Kind.PARAMETER, Kind.GRADIENT, Kind.INPUT) or is_stored:
                reads[ref.name] = None
        statements = tuple(statement for _, statement in reversed(kept))
        sums = tuple(replace(s, position=sum(i < self.owners[s.name] for i, _ in kept)) for s in sums)
        writes = tuple(statement.slot for statement in statements if isinstance(statement, Store))
        guards = tuple(dict.fromkeys(parts))
        run = (ALWAYS,) if ALWAYS in guards or not guards else guards
        between = tuple(statement for _, statement in reversed(before))
        return Phase(between, statements, sums, tuple(reads), writes, run)

    def _is_between_passes(self, statement: Statement) -> bool:
        """Whether the value is one number per tensor or row (for all tensors, if only reductions over all split)."""
        if isinstance(statement, Store):
            return False
        rate = rate_of(statement.value, self.rates_with_sums)
        if statement.rebinds or "tensor" not in self.cuts:
            return rate.is_per_tensor and not statement.rebinds and not rate & Rate.TENSOR
        return not rate & Rate.ELEMENT and not (rate & Rate.ROW and rate & Rate.COLUMN)

    def _is_scalar_slot(self, store: Store) -> bool:
        """A number of the optimizer or, where passes of one tensor are told apart, of a tensor."""
        numbers = {"scalar", "tensor"} if "tensor" in self.cuts else {"scalar"}
        return store.slot != "w" and self.program.slot(store.slot).shape in numbers

    @cached_property
    def rates_with_sums(self) -> Environment:
        rates = dict(self.rates)
        for name, (total, _) in self.sums.items():
            rates[Kind.SUM, name] = rate_of(Reduce(Ref(Kind.PARAMETER, "w"), total.over, total.axis), self.rates)
        return rates


def _exclusion(alternatives: tuple[tuple[str, ...], ...]) -> Callable[[Guard, Guard], bool]:
    """Whether two guards never hold together, since they ask for alternatives."""

    @cache
    def exclude(a: Guard, b: Guard) -> bool:
        first, second = ({atom.hyper for atom in atoms(guard) if isinstance(atom, Given)} for guard in (a, b))
        return any(
            not first.isdisjoint(group) and not second.isdisjoint(group) and first.isdisjoint(second & set(group))
            for group in alternatives
        )

    return exclude


def _made(statement: Statement) -> Ref:
    """What a statement's value is read as."""
    if isinstance(statement, Store):
        return Ref(Kind.SLOT, statement.slot)
    kinds = {"w": Kind.PARAMETER, "g": Kind.GRADIENT}
    return Ref(kinds.get(statement.rebinds, Kind.LET), statement.rebinds or statement.name)
