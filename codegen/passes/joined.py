"""joined: all regions as one, as they follow each other in a call that updates.

What an earlier region stores is stored once more at most: a slot that a later region stores too is named instead, and
what it is then is read by that name. Precondition: `schedule` has run.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.naming import unique
from ..ir.nodes import Expression, Kind, Let, Program, Ref, Region, Statement, Store, transform


def joined(program: Program) -> Region:
    """What happens in a call that updates. Like the last region, it has a predicate if any call does not."""
    return _joined(program)[0]


def named_instead(program: Program) -> dict[str, str]:
    """The slots that an earlier region stores, and what the joined one calls the values that they have then."""
    return _joined(program)[1]


def _joined(program: Program) -> tuple[Region, dict[str, str]]:
    names: dict[str, str] = {}
    taken = {slot.name for slot in program.slots}
    taken |= {s.defines for region in program.regions for s in (*region.scalars, *region.statements)}
    statements: list[Statement] = []
    known: dict[Expression, Expression] = {}
    for index, region in enumerate(program.regions):
        later = {s.slot for other in program.regions[index + 1 :] for s in other.statements if isinstance(s, Store)}
        stored: dict[Expression, Expression] = {}
        for statement in region.statements:
            current = known | stored
            value = transform(statement.value, lambda node, current=current: current.get(node, node))  # type: ignore[misc]
            statement = replace(statement, value=value)
            if isinstance(statement, Store) and index + 1 < len(program.regions):
                slot = statement.slot
                named: Expression = Ref(Kind.SLOT, slot)
                if slot in later:
                    names[slot] = name = unique(f"new_{slot}", taken)
                    statement, named = Let(name, value, statement.guard, statement.location), Ref(Kind.LET, name)
                    stored[Ref(Kind.SLOT, slot)] = named
                known[Ref(Kind.BEFORE, slot)] = named
            statements.append(statement)
    scalars = tuple(scalar for region in program.regions for scalar in region.scalars)
    return replace(program.update, statements=tuple(statements), scalars=scalars), names
