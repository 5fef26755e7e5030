"""legalise: one schedule, two ways to spell it.

Strict: what the target's compiler would contract or regroup is marked `exact`, and printed with a guard that keeps the
rounding. Which nestings those are is the target's to say: pairs (outer operation, inner operation). A name stands for
the operation that made its value: compilers look through names. A literal of the step's scalars that no float64 is
(0.96) becomes the quotient of two whole numbers: double words divide them to all their digits. Fast: nothing is marked;
the target's printer uses its idioms. Only where a stage before accumulation may overflow does it matter whether the
gradient was rounded: a target whose compiler contracts asks for `gradient_apart`. Precondition: `schedule` has run.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..ir.nodes import Choose, Expression, Fn, Kind, Literal, Op, Program, Ref, Region, Statement, Store, transform

Nestings = frozenset[tuple[Fn, Fn]]
REBOUND = {"w": Kind.PARAMETER, "g": Kind.GRADIENT}


def legalise(program: Program, strict: bool, nestings: Nestings = frozenset()) -> Program:
    """`program` in the spelling asked for. `nestings`: what the target's compiler would not leave alone."""
    if not strict:
        return replace(program, strict=False)
    made_by: dict[Ref, frozenset[Fn]] = {}
    regions = tuple(
        replace(
            region,
            scalars=tuple(replace(scalar, value=transform(scalar.value, _exactly)) for scalar in region.scalars),
            statements=_marked(region, nestings, made_by),
        )
        for region in program.regions
    )
    return replace(program, regions=regions, strict=True)


def gradient_apart(program: Program, nestings: Nestings) -> Program:
    """Fast `program` with the gradient marked `exact` where every call adds it to a slot.

    A stage has multiplied it, by what may be above 1. Contracted into the sum, a product that is out of range would not
    become infinite, and what is to be told of the sum (its norm, whether it is finite) would be another thing.
    """
    made_by: dict[Ref, frozenset[Fn]] = {}
    gradient = Ref(Kind.GRADIENT, "g")
    every_call, *others = program.regions
    marked = replace(every_call, statements=_marked(every_call, nestings, made_by, frozenset({gradient})))
    return replace(program, regions=(marked, *others)) if others else program


def _exactly(node: Expression) -> Expression:
    if not isinstance(node, Literal) or Fraction(float(node.value)) == node.value:
        return node
    return Op(Fn.DIV, (Literal(Fraction(node.value.numerator)), Literal(Fraction(node.value.denominator))))


def _marked(
    region: Region, nestings: Nestings, made_by: dict[Ref, frozenset[Fn]], only: frozenset[Ref] | None = None
) -> tuple[Statement, ...]:
    """`made_by`: the operations that made the values of earlier regions; this one's are added. `only`: what is marked,
    None for all."""

    def operations(node: Expression) -> frozenset[Fn]:
        """Those that may have made the value of `node`."""
        match node:
            case Op(fn):
                return frozenset({fn})
            case Choose(_, chosen, other):
                return operations(chosen) | operations(other)
            case Ref():
                return made_by.get(node, frozenset())
            case _:
                return frozenset()

    def guarded(outer: Fn, child: Expression) -> Expression:
        if only is not None and child not in only:
            return child
        return Op(Fn.EXACT, (child,)) if any((outer, inner) in nestings for inner in operations(child)) else child

    def mark(node: Expression) -> Expression:
        if not isinstance(node, Op):
            return node
        return replace(node, arguments=tuple(guarded(node.fn, child) for child in node.arguments))

    statements: list[Statement] = []
    for statement in region.statements:
        statements.append(replace(statement, value=transform(statement.value, mark)))
        name = _named(statement)
        made_by[name] = made_by.get(name, frozenset()) | operations(statement.value)
    return tuple(statements)


def _named(statement: Statement) -> Ref:
    if isinstance(statement, Store):
        return Ref(Kind.SLOT, statement.slot)
    return Ref(REBOUND.get(statement.name, Kind.LET), statement.name)
