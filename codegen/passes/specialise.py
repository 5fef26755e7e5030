"""specialise: options, hyperparameters and stages that are fixed are put in, and what is then dead is dropped.

Precondition: a frozen program. Without anything fixed, it returns the program as it is. A peer whose dialect is fixed
differs no more in what the dialect says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, Atom, Flag, Given, Guard, Is, simplify

from ..ir.nodes import Choose, Expression, Let, Program, Ref, Region, map_expressions, references, transform


def specialise(
    program: Program, options: Mapping[str, bool | str] | None = None, absent: frozenset[str] = frozenset()
) -> Program:
    """`program` with `options` bound, and the hyperparameters in `absent` never given."""
    options = options or {}

    def known(atom: Atom) -> bool | None:
        match atom:
            case Flag(option) if option in options:
                return bool(options[option])
            case Is(option, value) if option in options:
                return options[option] == value
            case Given(hyper) if hyper in absent:
                return False
        return None

    def choose(node: Expression) -> Expression:
        if not isinstance(node, Choose):
            return node
        reduced = simplify(node.guard, known)
        if reduced is None:
            return node.other
        return node.chosen if reduced == ALWAYS or node.chosen == node.other else replace(node, guard=reduced)

    before = program
    program = map_expressions(program, lambda value: transform(value, choose))
    program = replace(program, regions=tuple(_reduce(region, known) for region in program.regions))
    regions = _without_dead(_without_names_for_names(program, before).regions)
    started = {slot.init.name for slot in program.slots if isinstance(slot.init, Ref)}
    gone = (_read(before.regions) | absent) - _read(regions) - started
    slots = ((slot, simplify(slot.when, known)) for slot in program.slots)
    takes = ((each, simplify(each.when, known)) for each in program.takes)
    applies = simplify(program.gate.guard, known) if program.gate else None
    return replace(
        program,
        gate=replace(program.gate, guard=applies) if program.gate and applies is not None else None,
        regions=tuple(region for region in regions if region.statements),
        options=tuple(option for option in program.options if option.name not in options),
        hypers=tuple(hyper for hyper in program.hypers if hyper.name not in gone),
        slots=tuple(replace(slot, when=when) for slot, when in slots if when is not None),
        takes=tuple(replace(each, when=when) for each, when in takes if when is not None),
        peers=tuple(_in_dialect(peer, before, options) for peer in program.peers),
    )


def _in_dialect(peer: Peer, program: Program, options: Mapping[str, bool | str]) -> Peer:
    """`peer`: where its dialect is bound, what still differs is what it computes otherwise."""
    declared = {option.name for option in program.options}
    bound = all(options.get(name) == value for name, value in peer.dialect.items() if name in declared)
    if not (peer.dialect and bound):
        return peer
    known = declared | {hyper.name for hyper in program.hypers}
    parts = {part: text for part, text in peer.otherwise.items() if part == "step" or part in known}
    return replace(peer, differs=tuple(text if part == "step" else f"{part}: {text}" for part, text in parts.items()))


def _read(regions: tuple[Region, ...]) -> frozenset[str]:
    """The names that statements read."""
    return frozenset(part.name for region in regions for s in region.statements for part in references(s.value))


def _without_names_for_names(program: Program, before: Program) -> Program:
    """A name whose value was a choice, and is now another name, is put in where it is read."""
    chosen = {
        s.name
        for region in before.regions
        for s in region.statements
        if isinstance(s, Let) and isinstance(s.value, Choose)
    }
    for region in program.regions:
        for statement in region.statements:
            if isinstance(statement, Let) and statement.name in chosen and isinstance(statement.value, Ref):
                return _without_names_for_names(_substitute(program, statement.name, statement.value), before)
    return program


def _without_dead(regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """Without named values that nothing reads any more."""
    read = _read(regions)
    alive = tuple(
        replace(region, statements=tuple(s for s in region.statements if not isinstance(s, Let) or s.name in read))
        for region in regions
    )
    return alive if alive == regions else _without_dead(alive)


def _reduce(region: Region, known: object) -> Region:
    statements = []
    for statement in region.statements:
        guard = simplify(statement.guard, known)  # type: ignore[arg-type]
        if guard is not None:
            statements.append(replace(statement, guard=guard))
    applies: Guard | None = simplify(region.guard, known)  # type: ignore[arg-type]
    predicate = region.predicate if applies is not None else None
    return replace(
        region, predicate=predicate, guard=applies if applies is not None else ALWAYS, statements=tuple(statements)
    )


def without_trivial_rebinds(program: Program) -> Program:
    """Lets that hand on a value unchanged (`g_1 = g`, after a stage is gone) are put in where they are read."""
    for region in program.regions:
        for statement in region.statements:
            rebinds = getattr(statement, "rebinds", "")
            if rebinds and isinstance(statement.value, Ref):
                return without_trivial_rebinds(_substitute(program, statement.name, statement.value))  # type: ignore[union-attr]
    return program


def _substitute(program: Program, name: str, value: Ref) -> Program:
    def put(node: Expression) -> Expression:
        return value if isinstance(node, Ref) and node.name == name else node

    regions = tuple(
        replace(region, statements=tuple(s for s in region.statements if getattr(s, "name", "") != name))
        for region in program.regions
    )
    return map_expressions(replace(program, regions=regions), lambda tree: transform(tree, put))
