"""cse: what is computed twice is computed once, and named.

Precondition: `hoist` has run. Only what costs more than one basic operation is shared, in the order of first use;
values under different guards are shared only where one guard implies the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..ir.naming import descriptive_name, unique
from ..ir.nodes import Expression, Fn, Kind, Let, Op, Program, Ref, Region, Statement, transform, walk

DEAR = {Fn.POWER, Fn.ONE_MINUS_POWER, Fn.EXP, Fn.LOG, Fn.TANH, Fn.POW}


def cse(program: Program) -> Program:
    return replace(program, regions=tuple(_share(program, region) for region in program.regions))


def _is_worth_sharing(node: Expression) -> bool:
    operations = [part.fn for part in walk(node) if isinstance(part, Op)]
    return len(operations) > 1 or any(fn in DEAR for fn in operations)


def _share(program: Program, region: Region) -> Region:
    taken = {slot.name for slot in program.slots} | {hyper.name for hyper in program.hypers}
    taken |= {scalar.name for scalar in region.scalars if isinstance(scalar, Let)}
    taken |= {statement.name for statement in region.statements if isinstance(statement, Let)}
    scalars = _shared(region.scalars, taken)
    statements = _shared(region.statements, taken)
    return replace(region, scalars=scalars, statements=statements)


def _shared(statements: tuple, taken: set[str]) -> tuple:  # type: ignore[type-arg]
    while True:
        repeated = _first_repeated(statements)
        if repeated is None:
            return statements
        name = unique(descriptive_name(repeated), taken)
        reference = Ref(Kind.LET, name)

        def put(node: Expression, repeated: Expression = repeated, reference: Ref = reference) -> Expression:
            return reference if node == repeated else node

        shared: list[Statement] = []
        for statement in statements:
            value = transform(statement.value, put)
            if value != statement.value and not any(isinstance(s, Let) and s.name == name for s in shared):
                shared.append(Let(name, repeated, statement.guard))
            shared.append(replace(statement, value=value))
        statements = tuple(shared)


def _first_repeated(statements: tuple) -> Expression | None:  # type: ignore[type-arg]
    """The largest repeated subexpression worth sharing among statements of one guard, first use first."""
    counts: Counter[Expression] = Counter()
    guards: dict[Expression, set] = {}  # type: ignore[type-arg]
    for statement in statements:
        for node in walk(statement.value):
            if isinstance(node, Op) and _is_worth_sharing(node):
                counts[node] += 1
                guards.setdefault(node, set()).add(statement.guard)
    repeated = [node for node, count in counts.items() if count > 1 and len(guards[node]) == 1]
    return max(repeated, key=lambda node: sum(1 for _ in walk(node)), default=None)
