"""cse: what is computed twice is computed once, and named.

Precondition: `hoist` has run. Only what costs more than one basic operation is shared, in the order of first use;
values under different guards are shared only where one guard implies the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from optloom.spec.guards import Guard, conjunction, implies, negation

from ..ir.naming import descriptive_name, unique
from ..ir.nodes import (
    Choose,
    Expression,
    Fn,
    Kind,
    Let,
    Op,
    Program,
    Ref,
    Region,
    Statement,
    children,
    transform,
    walk,
)

DEAR = {Fn.POWER, Fn.ONE_MINUS_POWER, Fn.EXP, Fn.LOG, Fn.TANH, Fn.POW}


def cse(program: Program) -> Program:
    return replace(program, regions=tuple(_share(program, region) for region in program.regions))


def _is_worth_sharing(node: Expression) -> bool:
    operations = [part.fn for part in walk(node) if isinstance(part, Op)]
    return len(operations) > 1 or any(fn in DEAR for fn in operations)


def _share(program: Program, region: Region) -> Region:
    taken = {slot.name for slot in program.slots} | {hyper.name for hyper in program.hypers}
    for each in program.regions:
        taken |= {s.name for s in (*each.scalars, *each.statements) if isinstance(s, Let)}
    scalars = _shared(region.scalars, taken)
    statements = _shared(region.statements, taken)
    return replace(region, scalars=scalars, statements=statements)


def _shared(statements: tuple, taken: set[str]) -> tuple:  # type: ignore[type-arg]
    while True:
        repeated = _first_repeated(statements)
        if repeated is None:
            return statements
        expression, guard = repeated
        name = unique(descriptive_name(expression), taken)
        reference = Ref(Kind.LET, name)

        def put(node: Expression, expression: Expression = expression, reference: Ref = reference) -> Expression:
            return reference if node == expression else node

        shared: list[Statement] = []
        for statement in statements:
            value = transform(statement.value, put)
            if value != statement.value and not any(isinstance(s, Let) and s.name == name for s in shared):
                shared.append(Let(name, expression, guard))
            shared.append(replace(statement, value=value))
        statements = tuple(shared)


def _first_repeated(statements: tuple) -> tuple[Expression, Guard] | None:  # type: ignore[type-arg]
    """The largest repeated subexpression worth sharing, first use first, and the guard under which it exists."""
    found: dict[Expression, list[Guard]] = {}
    for statement in statements:
        for node, guard in _guarded(statement.value, statement.guard):
            if isinstance(node, Op) and _is_worth_sharing(node):
                found.setdefault(node, []).append(guard)
    shared = [(node, _weakest(guards)) for node, guards in found.items() if len(guards) > 1]
    legal = [(node, guard) for node, guard in shared if guard is not None]
    return max(legal, key=lambda pair: sum(1 for _ in walk(pair[0])), default=None)


def _guarded(node: Expression, guard: Guard) -> Iterator[tuple[Expression, Guard]]:
    """Each part of `node`, and the guard under which it is computed; arguments before their operation."""
    if isinstance(node, Choose):
        yield from _guarded(node.chosen, conjunction(guard, node.guard))
        yield from _guarded(node.other, conjunction(guard, negation(node.guard)))
    else:
        for child in children(node):
            yield from _guarded(child, guard)
    yield node, guard


def _weakest(guards: list[Guard]) -> Guard | None:
    """The one that all imply; None if there is none."""
    return next((guard for guard in guards if all(implies(other, guard) for other in guards)), None)
