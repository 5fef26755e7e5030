"""legalise: one schedule, two ways to spell it.

Strict: what the target's compiler would contract or regroup is marked `exact`, and printed with a guard that keeps the
rounding. Which nestings those are is the target's to say: pairs (outer operation, inner operation). Fast: nothing is
marked; the target's printer uses its idioms. Precondition: `schedule` has run.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.nodes import Expression, Fn, Op, Program, map_expressions, transform

Nestings = frozenset[tuple[Fn, Fn]]


def legalise(program: Program, strict: bool, nestings: Nestings = frozenset()) -> Program:
    """`program` in the spelling asked for. `nestings`: what the target's compiler would not leave alone."""

    def mark(node: Expression) -> Expression:
        if not isinstance(node, Op):
            return node
        return replace(node, arguments=tuple(_guarded(node.fn, child) for child in node.arguments))

    def _guarded(outer: Fn, child: Expression) -> Expression:
        return Op(Fn.EXACT, (child,)) if isinstance(child, Op) and (outer, child.fn) in nestings else child

    if not strict or not nestings:
        return replace(program, strict=strict)
    scalars = [region.scalars for region in program.regions]
    marked = map_expressions(program, lambda value: transform(value, mark))
    regions = tuple(
        replace(region, scalars=kept) for region, kept in zip(marked.regions, scalars, strict=True)
    )
    return replace(marked, regions=regions, strict=True)
