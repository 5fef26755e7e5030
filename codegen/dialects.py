"""Conventions: which of several peers' formulas a file computes, and which of them it leaves to its user.

A convention is bound to its default when code is generated and leaves no trace, except those that the target's own
peers (those of its ecosystem) set otherwise: they stay keyword arguments there. A hyperparameter that only some peer
has is there where a peer of the target's names it, and is off elsewhere.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from optloom.spec.declarations import Peer
from optloom.spec.rule import Rule

from .ir.nodes import Program

Open = Literal["own", "all"] | frozenset[str]
"""Which conventions stay arguments: those of the target's own peers, all, or those named."""


EVERY = "*"
"""The ecosystem of a target that serves all of them."""


class UnknownPeer(Exception):
    """A rule has no peer of that path; the message offers the nearest ones."""

    def __init__(self, path: str, rule: type[Rule]) -> None:
        known = [peer.path for peer in rule.peers]
        near = difflib.get_close_matches(path, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"{rule.__name__} has no peer called '{path}': {hint}")


@dataclass(frozen=True)
class Binding:
    """What is fixed: options by name, and the hyperparameters that are never given."""

    options: dict[str, bool | str]
    absent: frozenset[str]


def binding(program: Program, left_open: Open, ecosystem: str = "") -> Binding:
    """What to fix of `program` for a target of `ecosystem`."""
    if left_open == "all":
        return Binding({}, frozenset())
    if left_open == "own":
        peers = [peer for peer in program.peers if ecosystem in (peer.ecosystem, EVERY)]
        left_open = frozenset().union(*(named_by(program, peer) for peer in peers))
    return Binding(
        {o.name: o.default for o in program.options if o.convention and o.name not in left_open},
        frozenset(hyper.name for hyper in program.hypers if hyper.convention and hyper.name not in left_open),
    )


def named_by(program: Program, peer: Peer) -> frozenset[str]:
    """The conventions that `peer` needs open: options that it sets otherwise, hyperparameters that it has."""
    options = {o.name for o in program.options if o.convention and peer.dialect.get(o.name, o.default) != o.default}
    own = {*peer.names, *peer.arguments}
    return frozenset(options | {hyper.name for hyper in program.hypers if hyper.convention and hyper.name in own})


def peer_of(rule: type[Rule], path: str) -> Peer:
    """The peer of `rule` at `path`. Raises UnknownPeer."""
    for peer in rule.peers:
        if peer.path == path:
            return peer
    raise UnknownPeer(path, rule)
