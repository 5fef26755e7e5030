"""Guards: conditions that are known before a step runs.

A guard depends on options, on which hyperparameters were given, and on the parameter's axes and dtype; never on
data. Guards are plain values: they are compared, hashed and printed by targets, and never evaluated by Python's
`if` in a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .errors import SpecError, author_location


class _NoTruth:
    """A guard is decided when the optimizer is made, not while its rule is read."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise SpecError(
            f"'{describe(self)}' has no truth value while the rule is read",  # type: ignore[arg-type]
            author_location(),
            "write where(guard, a, b)",
        )


@dataclass(frozen=True, slots=True)
class Always(_NoTruth):
    """No condition."""


@dataclass(frozen=True, slots=True)
class Flag(_NoTruth):
    """A boolean option is set."""

    option: str


@dataclass(frozen=True, slots=True)
class Is(_NoTruth):
    """An option has one of its values."""

    option: str
    value: str


@dataclass(frozen=True, slots=True)
class Given(_NoTruth):
    """An optional hyperparameter was given: it is not None, and not the number that switches it off."""

    hyper: str


@dataclass(frozen=True, slots=True)
class HasAxes(_NoTruth):
    """The parameter has at least this many axes."""

    count: int


@dataclass(frozen=True, slots=True)
class Narrow(_NoTruth):
    """The parameter's dtype is narrower than that of its arithmetic: float16 or bfloat16."""


@dataclass(frozen=True, slots=True)
class Not(_NoTruth):
    guard: Guard


@dataclass(frozen=True, slots=True)
class And(_NoTruth):
    guards: tuple[Guard, ...]


Guard: TypeAlias = Always | Flag | Is | Given | HasAxes | Narrow | Not | And
Atom: TypeAlias = Flag | Is | Given | HasAxes | Narrow

ALWAYS = Always()


def exact_axes(guard: Guard) -> int | None:
    """The number of axes that `guard` asks for, if that is all it asks: at least so many, and not one more."""
    match guard:
        case And((HasAxes(count), Not(HasAxes(more)))) if more == count + 1:
            return count
    return None


def conjunction(*guards: Guard) -> Guard:
    """All of `guards`, flattened, without repetitions, in the order given."""
    parts: list[Guard] = []
    for guard in guards:
        for part in guard.guards if isinstance(guard, And) else (guard,):
            if part != ALWAYS and part not in parts:
                parts.append(part)
    if not parts:
        return ALWAYS
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def has_axes(count: int, *, exactly: bool = False) -> Guard:
    """The parameter has at least (or exactly) `count` axes."""
    return And((HasAxes(count), Not(HasAxes(count + 1)))) if exactly else HasAxes(count)


def negation(guard: Guard) -> Guard:
    return guard.guard if isinstance(guard, Not) else Not(guard)


def implies(stronger: Guard, weaker: Guard) -> bool:
    """Whether `weaker` holds wherever `stronger` does (by their conjuncts)."""
    known = stronger.guards if isinstance(stronger, And) else (stronger,)
    needed = weaker.guards if isinstance(weaker, And) else (weaker,)
    axes = max((part.count for part in known if isinstance(part, HasAxes)), default=0)
    return all(part == ALWAYS or part in known or (isinstance(part, HasAxes) and part.count <= axes) for part in needed)


def atoms(guard: Guard) -> Iterator[Atom]:
    """The conditions that `guard` is made of."""
    match guard:
        case Always():
            return
        case Not(inner):
            yield from atoms(inner)
        case And(parts):
            for part in parts:
                yield from atoms(part)
        case _:
            yield guard


def asks_tensors(guard: Guard) -> bool:
    """Whether `guard` asks for something of the parameter, in which the tensors of an optimizer differ."""
    return any(isinstance(atom, HasAxes | Narrow) for atom in atoms(guard))


def before_tensors(guard: Guard) -> Guard:
    """What of `guard` is known before tensors are: where it does not hold, `guard` holds for none."""
    parts = guard.guards if isinstance(guard, And) else (guard,)
    return conjunction(*(part for part in parts if not asks_tensors(part)))


def of_tensors(guard: Guard) -> Guard:
    """The rest of `guard`: what each tensor decides."""
    parts = guard.guards if isinstance(guard, And) else (guard,)
    return conjunction(*(part for part in parts if asks_tensors(part)))


def evaluate(guard: Guard, atom: Callable[[Atom], bool]) -> bool:
    """The truth of `guard`, given the truth of its atoms."""
    match guard:
        case Always():
            return True
        case Not(inner):
            return not evaluate(inner, atom)
        case And(parts):
            return all(evaluate(part, atom) for part in parts)
        case _:
            return atom(guard)


def simplify(guard: Guard, atom: Callable[[Atom], bool | None]) -> Guard | None:
    """`guard` with the atoms that `atom` decides put in; None when it can never hold."""
    match guard:
        case Always():
            return ALWAYS
        case Not(inner):
            reduced = simplify(inner, atom)
            if reduced is None:
                return ALWAYS
            return None if reduced == ALWAYS else negation(reduced)
        case And(parts):
            reduced_parts = [simplify(part, atom) for part in parts]
            if any(part is None for part in reduced_parts):
                return None
            return conjunction(*(part for part in reduced_parts if part is not None))
        case _:
            known = atom(guard)
            return guard if known is None else (ALWAYS if known else None)


def axes_in_words(count: int) -> str:
    return f"{count} {'axis' if count == 1 else 'axes'}"


def describe(guard: Guard) -> str:
    """A guard in words, for messages and comments."""
    match guard:
        case Flag(option):
            return option
        case Is(option, value):
            return f"{option} is '{value}'"
        case Given(hyper):
            return f"{hyper} given"
        case HasAxes(count):
            return f"at least {axes_in_words(count)}"
        case Narrow():
            return "narrow"
        case Not(inner):
            return f"not ({describe(inner)})"
        case And(parts):
            return " and ".join(describe(part) for part in parts)
        case _:
            return "always"
