"""What every target says of a hyperparameter's bounds."""

from __future__ import annotations

from .ir.nodes import Hyperparameter

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
