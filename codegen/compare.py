"""A rule's peers side by side: names, defaults, conventions, and how to go from one to another.

Everything is taken from what the rule says of its peers and from the targets' renamings; no framework is imported.
`distances` runs the generated NumPy class under each peer's conventions, and needs NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from optloom.spec.declarations import Peer
from optloom.spec.rule import Rule

from .api import UnknownName
from .compiler import frozen
from .discovery import targets
from .ir.nodes import Choice, Hyperparameter, Program
from .target import names_in

Setting = bool | str | float | int | None


@dataclass(frozen=True, slots=True)
class Argument:
    """A hyperparameter: `default` is the rule's. `peers`: by path, its name there and its default there; a peer of
    which the rule does not say that it has it is absent."""

    name: str
    doc: str
    default: float | None
    peers: Mapping[str, tuple[str, float | None]]


@dataclass(frozen=True, slots=True)
class Convention:
    """What the peers' formulas do differently, as an option of the rule. `values`: by path."""

    name: str
    doc: str
    default: bool | str
    values: Mapping[str, bool | str]


@dataclass(frozen=True, slots=True)
class Conversion:
    """From the arguments of one peer to those of another.

    `assignments`: (name there, name here), equal in value. `give`: what must be said there because its default is
    another: (name there, the default here). `kept_apart`: why no number makes the two the same; empty if they are.
    """

    source: str
    target: str
    assignments: Sequence[tuple[str, str]]
    give: Sequence[tuple[str, float | None]]
    kept_apart: Sequence[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differs`: by path, what the rule does unlike that peer, in the rule's names."""

    rule: str
    peers: Sequence[str]
    arguments: Sequence[Argument]
    conventions: Sequence[Convention]
    differs: Mapping[str, Sequence[str]]
    conversions: Sequence[Conversion]


def compare(rule: type[Rule], names: Sequence[str] = ()) -> Comparison:
    """The peers of `rule` that `names` names (by package, `torch`, or by path), all if it is empty.

    Raises UnknownName for one that it does not have.
    """
    program = frozen(rule)
    peers = peers_named(rule, names)
    arguments = [_argument(hyper, program, peers) for hyper in program.hypers]
    options = [_convention(option, peers) for option in program.options]
    telling = [one for one in options if set(one.values.values()) - {one.default}]
    return Comparison(
        rule=rule.__name__,
        peers=[peer.path for peer in peers],
        arguments=[one for one in arguments if one.peers],
        conventions=telling,
        differs={peer.path: peer.differs for peer in peers},
        conversions=[_conversion(a, b, arguments, telling) for a, b in permutations(peers, 2)],
    )


def peers_named(rule: type[Rule], names: Sequence[str]) -> list[Peer]:
    """By package or path, in the order of `names`. Raises UnknownName."""
    if not names:
        return list(rule.peers)
    found: dict[str, Peer] = {}
    for name in names:
        chosen = [peer for peer in rule.peers if name in (peer.path, peer.ecosystem)]
        if not chosen:
            known = list(dict.fromkeys([*(peer.ecosystem for peer in rule.peers), *(p.path for p in rule.peers)]))
            raise UnknownName(f"peer of {rule.__name__}", name, known)
        found |= {peer.path: peer for peer in chosen}
    return list(found.values())


def _argument(hyper: Hyperparameter, program: Program, peers: Sequence[Peer]) -> Argument:
    named = {peer.path: (_name(hyper, program, peer), peer) for peer in peers}
    return Argument(
        hyper.name,
        hyper.doc or "step size",
        hyper.default,
        {
            path: (name, peer.defaults.get(hyper.name, hyper.default))
            for path, (name, peer) in named.items()
            if _has(hyper, name, peer)
        },
    )


def _name(hyper: Hyperparameter, program: Program, peer: Peer) -> str:
    """What the peer's users write: what the target of its package calls it."""
    target = next((target for target in targets().values() if target.ecosystem == peer.ecosystem), None)
    names = names_in(target, program) if target else {}
    return peer.names.get(hyper.name) or names.get(hyper.name, hyper.name)


def _has(hyper: Hyperparameter, name: str, peer: Peer) -> bool:
    if peer.arguments:
        return name.partition("[")[0] in peer.arguments
    if hyper.stage or hyper.convention:
        return hyper.name in {**peer.names, **peer.defaults}
    return True


def _convention(option: Choice, peers: Sequence[Peer]) -> Convention:
    values = {peer.path: peer.dialect.get(option.name, option.default) for peer in peers}
    return Convention(option.name, option.doc, option.default, values)


def _conversion(a: Peer, b: Peer, arguments: Sequence[Argument], conventions: Sequence[Convention]) -> Conversion:
    shared = [one for one in arguments if a.path in one.peers and b.path in one.peers]
    return Conversion(
        a.path,
        b.path,
        [(one.peers[b.path][0], one.peers[a.path][0]) for one in shared],
        [
            (one.peers[b.path][0], one.peers[a.path][1])
            for one in shared if one.peers[a.path][1] != one.peers[b.path][1]
        ],
        list(_kept_apart(a, b, arguments, conventions)),
    )  # fmt: skip


def _kept_apart(a: Peer, b: Peer, arguments: Sequence[Argument], conventions: Sequence[Convention]) -> Iterator[str]:
    """Conventions first; then what the rule says in words only of one of the two."""
    for one in conventions:
        if one.values[a.path] != one.values[b.path]:
            yield f"{one.name} is {one.values[a.path]} in {a.path} and {one.values[b.path]} in {b.path}: {one.doc}"
    for peer, other in ((a, b), (b, a)):
        yield from (
            f"in {other.path}, unlike {peer.path}: {text}" for text in peer.differs if text not in other.differs
        )
    for argument in arguments:
        if a.path in argument.peers and b.path not in argument.peers:
            name = argument.peers[a.path][0]
            yield f"{name} of {a.path} has no counterpart in {b.path}"


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two peers' weights are apart after `steps` steps on the example, as a share of the way that the first of
    them has gone. `given`: the numbers that both have. `first_step`: the same after one step."""

    a: str
    b: str
    given: str
    first_step: float
    steps: int
    distance: float


def distances(rule: type[Rule], names: Sequence[str] = (), steps: int = 100) -> list[Distance]:
    """Pairs of peers, each run as the generated NumPy class under its conventions: with the rule's default numbers,
    with each peer's own, and with each optional number given.

    Raises UnknownName, and ModuleNotFoundError without NumPy.
    """
    from .trajectories import OWN, run, settings

    peers, program = peers_named(rule, names), frozen(rule)
    found = []
    for given, numbers in settings(program, peers):
        paths = {peer.path: run(rule, peer, dict(peer.defaults) if given == OWN else numbers, steps) for peer in peers}
        for a, b in combinations(peers, 2):
            x, y = paths[a.path], paths[b.path]
            if x is not None and y is not None:
                found.append(Distance(a.path, b.path, given, _apart(x[:2], y[:2]), steps, _apart(x, y)))
    return found


def _apart(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]]) -> float:
    way, gap = math.dist(x[0], x[-1]), math.dist(x[-1], y[-1])
    return gap / way if way else gap
