"""Names of an ecosystem put into a program: `beta_1` is `b1`, and `one_minus_beta_1` is `one_minus_b1`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from optloom.spec.guards import And, Flag, Given, Guard, Is, Not

from ...ir.nodes import (
    Choose,
    Expression,
    Let,
    Literal,
    Program,
    Ref,
    Region,
    SlotInfo,
    StageInfo,
    Statement,
    Store,
    TakesInfo,
    references,
    transform,
)  # fmt: skip

FIXED = ("w", "g", "t")


def renamed(program: Program, new: Mapping[str, str]) -> Program:
    """`program` with each name replaced by what `new` has for it: see `new_names`."""
    return replace(
        program,
        hypers=tuple(replace(hyper, name=new[hyper.name]) for hyper in program.hypers),
        options=tuple(replace(option, name=new[option.name]) for option in program.options),
        slots=tuple(_slot(slot, new) for slot in program.slots),
        inputs=tuple(replace(source, name=new[source.name]) for source in program.inputs),
        takes=tuple(_takes(each, new) for each in program.takes),
        regions=tuple(_region(region, new) for region in program.regions),
        stages=tuple(_stage(stage, new) for stage in program.stages),
        formula=tuple(re.sub(r"[^\W\d]\w*", lambda word: new.get(word[0], word[0]), line) for line in program.formula),
    )


def new_names(program: Program, names: Mapping[str, str], reserved: frozenset[str] = frozenset()) -> dict[str, str]:
    """A new name for each name of `program`: `names` (old -> new), also as parts of the names that passes made.

    Different names stay different, and none is in `reserved`: a name that would be gets an underscore.
    """
    longest_first = sorted(names, key=len, reverse=True)
    part = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?![^\W_])")
    new = {name: name for name in FIXED}

    def add(name: str, candidate: str) -> None:
        while candidate in reserved or candidate in new.values():
            candidate += "_"
        new[name] = candidate

    # What users see comes first, and so is called as it should be.
    for declared in (program.hypers, program.options, program.slots, program.inputs):
        for name in (one.name for one in declared):
            add(name, names.get(name, name))
    for name in _made_names(program):
        if name not in new:
            add(name, part.sub(lambda found: names[found[0]], name))
    return new


def _made_names(program: Program) -> Iterator[str]:
    for region in program.regions:
        for statement in (*region.scalars, *region.statements):
            yield statement.name if isinstance(statement, Let) else statement.slot
            yield from (reference.name for reference in references(statement.value))


def _slot(slot: SlotInfo, new: Mapping[str, str]) -> SlotInfo:
    init = slot.init if isinstance(slot.init, Literal) else replace(slot.init, name=new[slot.init.name])
    return replace(slot, name=new[slot.name], init=init, when=_guard(slot.when, new))


def _stage(stage: StageInfo, new: Mapping[str, str]) -> StageInfo:
    """What a dialect took away is no longer declared."""
    return replace(stage, guard=_guard(stage.guard, new), declares=tuple(new[n] for n in stage.declares if n in new))


def _takes(takes: TakesInfo, new: Mapping[str, str]) -> TakesInfo:
    return replace(takes, when=_guard(takes.when, new))


def _region(region: Region, new: Mapping[str, str]) -> Region:
    predicate = region.predicate and replace(region.predicate, hyper=new[region.predicate.hyper])
    return replace(
        region,
        predicate=predicate,
        guard=_guard(region.guard, new),
        scalars=tuple(_statement(scalar, new) for scalar in region.scalars),
        statements=tuple(_statement(statement, new) for statement in region.statements),
    )


def _statement(statement: Statement, new: Mapping[str, str]) -> Statement:
    value, guard = _expression(statement.value, new), _guard(statement.guard, new)
    if isinstance(statement, Store):
        return replace(statement, slot=new[statement.slot], value=value, guard=guard)
    return replace(statement, name=new[statement.name], value=value, guard=guard)


def _expression(tree: Expression, new: Mapping[str, str]) -> Expression:
    def rename(node: Expression) -> Expression:
        if isinstance(node, Ref):
            return replace(node, name=new[node.name])
        return replace(node, guard=_guard(node.guard, new)) if isinstance(node, Choose) else node

    return transform(tree, rename)


def _guard(guard: Guard, new: Mapping[str, str]) -> Guard:
    match guard:
        case Flag(option) | Is(option, _):
            return replace(guard, option=new[option])
        case Given(hyper):
            return replace(guard, hyper=new[hyper])
        case Not(inner):
            return Not(_guard(inner, new))
        case And(parts):
            return And(tuple(_guard(part, new) for part in parts))
        case _:
            return guard
