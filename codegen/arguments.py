"""What every target says of a hyperparameter's bounds, and of the parameters that it does not take."""

from __future__ import annotations

from dataclasses import dataclass

from optloom.spec.guards import (
    ALWAYS,
    And,
    Flag,
    Given,
    Guard,
    HasAxes,
    Is,
    Not,
    axes_in_words,
    conjunction,
    exact_axes,
    negation,
)

from .ir.nodes import Hyperparameter, Program, TakesInfo

FLIPPED = {">=": "<=", ">": "<", "<=": "<=", "<": "<"}


def in_bounds(hyper: Hyperparameter, name: str | None = None) -> str:
    """A Python condition that holds for legal numbers: `0 <= beta_1 < 1`. Empty for a hyperparameter without bounds.

    A missing upper bound is infinity, so that neither NaN nor infinity is legal.
    """
    if not hyper.bounds:
        return ""
    lower = next((f"{bound:g} {FLIPPED[sign]} " for sign, bound in hyper.bounds if sign in (">=", ">")), "")
    upper = next((f" {sign} {bound:g}" for sign, bound in hyper.bounds if sign in ("<=", "<")), ' < float("inf")')
    condition = f"{lower}{name or hyper.name}{upper}"
    return f"({condition} and {name or hyper.name} % 1 == 0)" if hyper.integer else condition


def bounds_in_words(hyper: Hyperparameter) -> str:
    """`must be >= 0 and < 1`."""
    limits = [f"{sign} {bound:g}" for sign, bound in hyper.bounds]
    return f"must be {'an integer ' if hyper.integer else ''}" + " and ".join(limits)


def only_one(names: tuple[str, ...]) -> str:
    """What is said where more than one of `names` is given."""
    return f"only one of {', '.join(names[:-1])} and {names[-1]} may be set"


def needs_option(hyper: str, option: str) -> str:
    """What is said where `hyper` is given, and `option`, without which it means nothing, is not set."""
    return f"{hyper} means nothing without {option}=True"


def may_be_none(hyper: Hyperparameter) -> bool:
    """Whether None turns it off; else a number does, or nothing."""
    return hyper.optional and hyper.off is None


@dataclass(frozen=True, slots=True)
class Refused:
    """Parameters that an optimizer does not take: those for which `guard` holds. `takes`: what it does, in words."""

    guard: Guard
    takes: str


def refused(program: Program) -> tuple[Refused, ...]:
    """The parameters that `program` is not for."""
    return tuple(
        Refused(conjunction(each.when, negation(each.axes)), _takes_in_words(program.name, each))
        for each in program.takes
    )


def _takes_in_words(rule: str, takes: TakesInfo) -> str:
    """`Muon takes parameters with exactly 2 axes`; and under which options, if under some."""
    when = "" if takes.when == ALWAYS else f" where {_option_in_words(takes.when)}"
    return f"{rule} takes parameters with {_axes_in_words(takes.axes)}{when}"


def _axes_in_words(guard: Guard) -> str:
    if (exact := exact_axes(guard)) is not None:
        return f"exactly {axes_in_words(exact)}"
    match guard:
        case HasAxes(count):
            return f"at least {axes_in_words(count)}"
        case Not(HasAxes(count)):
            return f"fewer than {axes_in_words(count)}"
        case Not(inner):
            return f"not ({_axes_in_words(inner)})"
        case And(parts):
            return " and ".join(map(_axes_in_words, parts))
    raise AssertionError(guard)


def _option_in_words(guard: Guard) -> str:
    match guard:
        case Flag(option):
            return f"{option}=True"
        case Is(option, value):
            return f"{option}='{value}'"
        case Given(hyper):
            return f"{hyper} is given"
        case Not(Flag(option)):
            return f"{option}=False"
        case Not(inner):
            return f"not ({_option_in_words(inner)})"
        case And(parts):
            return " and ".join(map(_option_in_words, parts))
    raise AssertionError(guard)
