"""What the templates lay out: a program as the interface and the passes of a C++ or CUDA file.

A pass is a function of one element, and the loop around it: the start of the slots, the part that runs in every call,
and one pass for each phase of the update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optloom.spec.guards import (
    ALWAYS,
    And,
    Atom,
    Flag,
    Given,
    Guard,
    HasAxes,
    Is,
    Narrow,
    Not,
    asks_tensors,
    atoms,
    before_tensors,
    describe,
    negation,
)

from ..arguments import refused
from ..ir.nodes import Choose, Expression, Program, walk
from ..printing import UnsupportedOperation

NARROW = "narrow"
"""The constant that says that a parameter's dtype is narrower than that of its arithmetic."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What C++ and CUDA spell differently: a function's head, the names of numbers, and literals of float64.

    `brings_scratch`: a tensor comes with the memory that sums along its axes take, and matrices.
    """

    target: str
    suffix: str
    function: str
    float32: str
    float64: str
    literal: str
    to_double: str
    int64: str
    uint32: str
    uint16: str
    brings_scratch: bool = False


@dataclass(frozen=True, slots=True)
class Operand:
    """An array of a tensor: `type` is that of its numbers, `guard` (empty for always) when it exists. `along`: what it
    has a number for, a "row", "column" or "matrix" of the tensor; empty for each element. `is_buffer`: it is no member
    of the tensor, but holds a value of whole matrices for some passes."""

    name: str
    member: str
    type: str
    guard: str
    is_loaded: bool
    is_stored: bool
    along: str = ""
    is_buffer: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """A guard's atom: a bit of the interface, and a constant of the compiler's in the code that depends on it."""

    atom: Atom
    name: str
    constant: str
    bit: int

    def describe(self, program: Program) -> dict[str, object]:
        """For bindings: when the bit is to be set."""
        match self.atom:
            case Given(hyper):
                return {"name": self.name, "given": hyper, "off": program.hyper(hyper).off}
            case Is(option, value):
                return {"name": self.name, "option": option, "value": value}
            case Flag(option):
                return {"name": self.name, "option": option, "value": True}
        raise AssertionError(self.atom)


class Switches:
    """The atoms of all guards of a program, in order of first appearance. `axes`: those that each tensor decides for
    itself, and the names of the constants that they are in the code of its elements. `asks_narrow`: whether another
    such constant, NARROW, is what the parameter's dtype decides."""

    def __init__(self, program: Program, prefix: str) -> None:
        self.all: dict[Atom, Switch] = {}
        self.axes: dict[HasAxes, str] = {}
        self.asks_narrow = False
        for guard in _guards(program):
            for atom in atoms(guard):
                name = _name(atom)
                if isinstance(atom, HasAxes):
                    self.axes[atom] = name
                    continue
                if isinstance(atom, Narrow):
                    self.asks_narrow = True
                    continue
                self.all.setdefault(atom, Switch(atom, name, f"{prefix.upper()}_{name.upper()}", 1 << len(self.all)))

    def names(self, *guards: Guard) -> tuple[str, ...]:
        """The switches that `guards` depend on, in the order of their bits; then what tensors decide."""
        wanted = {atom for guard in guards for atom in atoms(guard)}
        known = (*((atom, switch.name) for atom, switch in self.all.items()), *self.axes.items(), (Narrow(), NARROW))
        return tuple(name for atom, name in known if atom in wanted)

    def asked_of_tensors(self, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        """Those of `names` that tensors decide, and the number of axes that each asks for."""
        return tuple((name, atom.count) for atom, name in self.axes.items() if name in names)

    def of(self, *names: str) -> tuple[Switch, ...]:
        """The switches of those names, in the order of their bits."""
        return tuple(switch for switch in self.all.values() if switch.name in names)

    def conjuncts(self, guard: Guard) -> list[str | list[str]]:
        """The names of switches that must be set, or, behind a "!", must not be; of a list one must be so."""
        parts = guard.guards if isinstance(guard, And) else () if guard == ALWAYS else (guard,)
        return [
            [self._literal(negation(each)) for each in part.guard.guards]
            if isinstance(part, Not) and isinstance(part.guard, And) else self._literal(part)
            for part in parts
        ]  # fmt: skip

    def _literal(self, guard: Guard) -> str:
        return f"!{self.names(guard)[0]}" if isinstance(guard, Not) else self.names(guard)[0]

    def constant(self, guard: Guard) -> str:
        """`guard` as an expression of template parameters."""
        return _spelled(guard, self._constant)

    def _constant(self, atom: Atom) -> str:
        if isinstance(atom, Narrow):
            return NARROW
        return self.axes[atom] if isinstance(atom, HasAxes) else self.all[atom].name

    def any(self, guards: tuple[Guard, ...]) -> str:
        """Whether one of `guards` holds for some tensor, as an expression of constants; empty for always."""
        known = tuple(dict.fromkeys(map(before_tensors, guards)))
        parts = (f"({self.constant(guard)})" if isinstance(guard, And) else self.constant(guard) for guard in known)
        return "" if ALWAYS in known else " || ".join(parts)

    def of_tensor(self, guard: Guard, axes: str) -> str:
        """`guard` as an expression of constants and of a tensor's number of `axes`."""

        def asked(atom: Atom) -> str:
            return f"({axes} >= {atom.count})" if isinstance(atom, HasAxes) else self._constant(atom)

        return _spelled(guard, asked)

    def known_of_tensors(self, guard: Guard) -> dict[str, str]:
        """What tensors for which `guard` holds say of their axes, by the names of its conjuncts."""
        literals = (each for each in self.conjuncts(guard) if isinstance(each, str))
        said = {name.lstrip("!"): "false" if name.startswith("!") else "true" for name in literals}
        return {name: said[name] for name in self.axes.values() if name in said}

    def bits(self, guard: Guard) -> str:
        """`guard` as a test of the run-time `options`."""
        if asks_tensors(guard):
            raise UnsupportedOperation(f"a step's scalar that depends on '{describe(guard)}'", "c")
        return _spelled(guard, lambda atom: f"(options & {self.all[atom].constant})")


def guards_of(value: Expression) -> tuple[Guard, ...]:
    return tuple(node.guard for node in walk(value) if isinstance(node, Choose))


def _guards(program: Program) -> list[Guard]:
    found = [slot.when for slot in program.slots] + [each.guard for each in refused(program)]
    for region in program.regions:
        found.append(region.guard)
        for statement in (*region.scalars, *region.statements):
            found += [*guards_of(statement.value), statement.guard]
    if program.gate:
        found.append(program.gate.guard)
    return found


def _name(atom: Atom) -> str:
    """`weight_decay` says that it was given: the number itself is a member of a struct."""
    if isinstance(atom, Given):
        return atom.hyper
    return "".join(c if c.isalnum() else "_" for c in describe(atom).replace("'", ""))


def _spelled(guard: Guard, atom: Callable[[Atom], str]) -> str:
    match guard:
        case Not(And() as inner):
            return f"!({_spelled(inner, atom)})"
        case Not(inner):
            return f"!{_spelled(inner, atom)}"
        case And(parts):
            return " && ".join(_spelled(part, atom) for part in parts)
        case _ if guard == ALWAYS:
            return "true"
        case Flag() | Is() | Given() | HasAxes() | Narrow():
            return atom(guard)
    raise AssertionError(guard)
