"""traffic: the passes over memory that a region is split into, and the bytes that each moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from optloom.spec.guards import ALWAYS, Atom, Flag, Given, Guard, HasAxes, Is, Narrow, evaluate

from ..ir.nodes import Choose, Expression, Kind, Length, Let, Program, Reduced, Ref, Scope, Statement, Store, children


@dataclass(frozen=True, slots=True)
class Sum:
    """A reduction that a phase carries out: `name` is its value, known to later phases.

    `position`: how many of the phase's statements come before it.
    """

    name: str
    argument: Expression
    over: Scope
    axis: int
    guard: Guard
    position: int = 0
    to: Reduced = "sum"


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass over a tensor's memory.

    `before`: values per tensor (or for all), computed from earlier phases' sums before this pass begins.
    `statements`: per element, in order. `reads` and `writes`: what moves, each a slot, "w", "g" or an input.
    `guards`: the phase runs where one of them holds.
    """

    before: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    sums: tuple[Sum, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    guards: tuple[Guard, ...] = (ALWAYS,)


def gate_phase(program: Program) -> tuple[Phase, ...]:
    """The pass that decides whether a call is made at all, if the program has one."""
    if program.gate is None:
        return ()
    name, guard = program.gate.predicate.name, program.gate.guard
    decided = Sum(name, Ref(Kind.GRADIENT, "g"), "tensors", 0, guard)
    return (Phase((), (), (decided,), ("g",), (), (guard,)),)


def bytes_moved(program: Program, phase: Phase, size: int = 4, given: frozenset[str] = frozenset()) -> int:
    """Bytes per parameter, as wide as its arithmetic, that a phase moves with the defaults, but with the numbers and
    options in `given`."""
    defaults = _defaults(program, given)

    def exists(guard: Guard) -> bool:
        return evaluate(guard, defaults)

    if not any(map(exists, phase.guards)):
        return 0
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
                return option in given or bool(options.get(option))
            case Is(option, value):
                return options.get(option) == value
            case Given(name):
                hyper = hypers[name]
                return name in given or (hyper.default is not None and hyper.default != hyper.off)
            case HasAxes():
                return True
            case Narrow():
                return False

    return atom
