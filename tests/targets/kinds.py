"""Rules that stand for others: every rule is judged by the conformance suite, and one of each kind by what is slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optloom.codegen.compiler import discover, program_for
from optloom.codegen.ir.nodes import Choose, Fn, Op, Program, Reduce, Ref, walk
from optloom.codegen.passes.locality import locality
from optloom.spec.guards import HasAxes, atoms

DECISIVE = (Fn.MATMUL, Fn.SIGN, Fn.POW)


def of_each_kind(names: Iterable[str], target: str) -> tuple[str, ...]:
    """Of rules that need the same of `target`, the one that declares most."""
    found: dict[Any, tuple[int, str]] = {}
    for name in names:
        program = program_for(discover()[name], target)
        if program.inputs:  # they are stepped otherwise
            continue
        size = len(program.options) + len(program.hypers) + len(program.slots)
        kind = _kind(program)
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
