"""Rules that stand for others: every rule is judged by the conformance suite, and one of each kind by what is slow.

What is tested for all rules runs on `representatives` alone, unless pytest is told `--every-rule`: a test of a target's
machinery hangs on what a rule is made of, not on its name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

from optloom.codegen.compiler import compile_rule, discover, program_for
from optloom.codegen.ir.nodes import Choose, Fn, Length, Op, Program, Reduce, Ref, walk
from optloom.codegen.passes.locality import locality
from optloom.spec.guards import HasAxes, atoms
from optloom.spec.rule import Rule

EVERY_RULE = "--every-rule" in sys.argv
"""Whether each rule stands for itself alone. (conftests choose rules before pytest has read its options.)"""
DECISIVE = (Fn.MATMUL, Fn.SIGN, Fn.POW)


def of_each_kind(names: Iterable[str], target: str) -> tuple[str, ...]:
    """Of rules that need the same of `target`, the one that declares most."""
    found: dict[Any, tuple[int, str]] = {}
    for name in names:
        program = program_for(discover()[name], target)
        if program.inputs:  # they are stepped otherwise
            continue
        size = len(program.options) + len(program.hypers) + len(program.slots)
        kind = name if EVERY_RULE else _kind(program)
        found[kind] = max(found.get(kind, (0, "")), (size, name))
    return tuple(sorted(name for _, name in found.values()))


def _kind(program: Program) -> Any:
    nodes = [node for s in program.update.statements for node in walk(s.value)]
    own = [slot for slot in program.slots if not slot.stage]
    return (
        not locality(program),
        frozenset(slot.shape for slot in own),
        frozenset(type(slot.init) if isinstance(slot.init, Ref) else None for slot in own),
        frozenset(node.over for node in nodes if isinstance(node, Reduce)),
        frozenset(node.fn for node in nodes if isinstance(node, Op) and node.fn in DECISIVE),
        any(isinstance(atom, HasAxes) for node in nodes if isinstance(node, Choose) for atom in atoms(node.guard)),
        bool(program.peers and any(peer.arguments for peer in program.peers)),
    )


@cache
def representatives() -> frozenset[str]:
    """The fewest rules, found greedily, that together have everything that any rule has; ties go by name."""
    features = {name: _features(rule) for name, rule in sorted(discover().items())}
    missing = frozenset[object]().union(*features.values())
    chosen: set[str] = set()
    while missing:
        best = max(features, key=lambda name: len(features[name] & missing))
        chosen.add(best)
        missing -= features[best]
    return frozenset(chosen)


def _features(rule: type[Rule]) -> frozenset[object]:
    """What a rule declares and what its program consists of."""
    program = compile_rule(rule)
    own: set[object] = {("regions", len(program.regions)), ("wraps", rule.wraps is not None)}
    own |= {("slot", s.shape, type(s.init).__name__, s.when != (), s.for_evaluation) for s in program.slots}
    own |= {("hyper", h.optional, h.integer, h.convention, h.off) for h in program.hypers}
    own |= {("option", o.convention, type(o.default).__name__) for o in program.options}
    own |= {("input", each.shape) for each in program.inputs}
    own |= {("stage", name) for name in rule.stage_defaults}
    own |= {("peer", peer.ecosystem, bool(peer.dialect), bool(peer.otherwise)) for peer in rule.peers}
    nodes = [node for region in program.regions for s in region.statements for node in walk(s.value)]
    own |= {node.fn for node in nodes if isinstance(node, Op)}
    own |= {(type(node), node.over) for node in nodes if isinstance(node, Length)}
    return frozenset(own | {(node.to, node.over) for node in nodes if isinstance(node, Reduce)})
