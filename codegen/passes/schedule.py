"""schedule: an order in which every statement can be carried out in place, and plain names.

Precondition: `hoist` and `cse` have run. Afterwards a slot's old value is not read after its store, so that one name
serves both; and a value that takes over `w` or `g` bears that name (its `rebinds`), so that a target prints
`if weight_decay is given: w = w - ...`.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.naming import unique
from ..ir.nodes import (
    Choose,
    Expression,
    Kind,
    Let,
    Program,
    Ref,
    Region,
    Statement,
    Store,
    references,
    transform,
)

REBOUND = {"w": Kind.PARAMETER, "g": Kind.GRADIENT}


def schedule(program: Program) -> Program:
    return _renamed(replace(program, regions=tuple(_delayed(program, region) for region in program.regions)))


def _delayed(program: Program, region: Region) -> Region:
    """Stores wait until the last statement that reads the slot's old value; until then the new value has a name."""
    statements = list(region.statements)
    taken = {slot.name for slot in program.slots} | {s.name for s in statements if isinstance(s, Let)}
    for store in [s for s in statements if isinstance(s, Store) and s.slot != "w"]:
        at = statements.index(store)
        before = Ref(Kind.BEFORE, store.slot)
        last = max((i for i, s in enumerate(statements) if before in references(s.value)), default=at)
        if last <= at:
            continue
        name = unique(f"new_{store.slot}", taken)
        fresh = Ref(Kind.LET, name)
        stored = Ref(Kind.SLOT, store.slot)
        after = [_with(s, stored, fresh) for s in statements[at + 1 : last + 1]]
        late = replace(store, value=fresh)
        statements[at : last + 1] = [Let(name, store.value, store.guard, store.location), *after, late]
    return replace(region, statements=tuple(statements))


def _with(statement: Statement, old: Expression, new: Expression) -> Statement:
    return replace(statement, value=transform(statement.value, lambda node: new if node == old else node))


def _renamed(program: Program) -> Program:
    """Values that take over `w` or `g` bear that name, where nothing later reads what they replace, in any region."""
    statements = [statement for region in program.regions for statement in region.statements]
    for index, statement in enumerate(statements):
        if not isinstance(statement, Let) or not statement.rebinds:
            continue
        shown = Ref(REBOUND[statement.rebinds], statement.rebinds)
        if any(shown in references(later.value) for later in statements[index + 1 :]):
            statements[index] = replace(statement, rebinds="")
            continue
        unique_name = Ref(Kind.LET, statement.name)
        statements[index] = _as_guarded(replace(statement, name=statement.rebinds), shown)
        statements[index + 1 :] = [_with(later, unique_name, shown) for later in statements[index + 1 :]]
    ordered = iter(statements)
    regions = (replace(r, statements=tuple(next(ordered) for _ in r.statements)) for r in program.regions)
    return replace(program, regions=tuple(regions))


def _as_guarded(statement: Let, before: Ref) -> Let:
    """`x = a if guard else x` is `a`, assigned under the guard."""
    match statement.value:
        case Choose(guard, chosen, other) if other == before:
            return replace(statement, value=chosen, guard=guard)
    return statement
