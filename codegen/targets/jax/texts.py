"""The words of a generated file: what it offers, its arguments, and what separates it from optax's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from optloom.spec.declarations import Hyper, Option, Peer
from optloom.spec.rule import declarations_of
from optloom.spec.stages import PIPELINE

from ...formatting import LINE_LENGTH
from ...ir.nodes import Choice, Hyperparameter, Program

HYPERS = {"beta_1": "b1", "beta_2": "b2", "beta_3": "b3", "epsilon": "eps"}
SLOTS = {"m": "mu", "v": "nu"}
"""What optax calls what rules call otherwise; a rule's optax peer may say otherwise."""


IN_RULE = {ours: rule for rule, ours in HYPERS.items()}


def summary(name: str) -> str:
    text = f"{name} as pure functions, `init(params)` and `step(params, grads, state)`: new parameters and state."
    return textwrap.fill(text, 103, subsequent_indent="    ")


def public(factory: str, has_averages: bool) -> list[str]:
    """The lines that say what a module offers: one, if it is not too long."""
    own = ["SparseRows", factory, f"{factory}_step"]
    shared = ["adopt_state", *(["averaged_params"] if has_averages else []), "export_state", "import_state"]
    both = sorted(own + shared)
    lists = [both] if len(repr(both)) <= LINE_LENGTH - len("__all__ = ") else [own, shared]
    return [f"__all__ {'+=' if at else '='} {names}" for at, names in enumerate(lists)]


def number(value: float | None) -> str:
    """A Python literal, without the zeros of exponents."""
    return repr(value).replace("e-0", "e-")


def hyper(given: Hyperparameter) -> dict[str, str]:
    return {
        "name": given.name,
        "type": ("int" if given.integer else "Number") + (" | None" if given.optional else ""),
        "default": number(given.default),
        "doc": _with_bounds(given.doc or "step size", given.bounds),
    }


def option(option: Choice) -> dict[str, str]:
    return {
        "name": option.name,
        "type": "str" if option.choices else "bool",
        "default": f'"{option.default}"' if option.choices else repr(option.default),
        "doc": option.doc,
    }


def exempt(argument: str) -> dict[str, str]:
    return {"name": argument, "type": "Patterns", "default": "()"}


FUSED = {"name": "fused", "type": "bool | None", "default": "None"}
AXIS_NAME = {"name": "axis_name", "type": "str | tuple[str, ...] | None", "default": "None"}


def of_stages() -> list[tuple[str, str]]:
    """The arguments that stages have, whatever the rule, and what they say."""
    declared = [d for stage in PIPELINE for d in declarations_of(stage) if isinstance(d, Hyper | Option)]
    told = [d for d in declared if not d.convention]
    return [(d.name, _with_bounds(d.doc, d.bounds.items()) if isinstance(d, Hyper) else d.doc) for d in told]


def _with_bounds(doc: str, given: Iterable[tuple[str, float]]) -> str:
    words = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}
    bounds = ", ".join(f"{words[sign]} {bound:g}" for sign, bound in given)
    return f"{doc}{f' ({bounds})' if bounds else ''}"


def differences(program: Program, peers: Sequence[Peer]) -> Iterator[str]:
    """What separates the generated factory from the optax function of the same name."""
    for peer in peers:
        theirs = {HYPERS.get(name, name): value for name, value in peer.defaults.items()}
        known = {hyper.name for hyper in program.hypers}
        defaults = ", ".join(f"{name}={number(value)}" for name, value in theirs.items() if name in known)
        parts = [*peer.differs, *([f"there {defaults}"] if defaults else [])]
        if parts:
            yield f"Differs from {peer.path}: {'; '.join(parts)}."
