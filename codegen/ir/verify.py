"""The legality of a program after each pass: raises IllegalProgram, naming pass, statement and rule's line."""

from __future__ import annotations

from collections.abc import Iterator

from optloom.spec.guards import ALWAYS, Guard, conjunction, implies, negation

from ..passes.rates import environment, rate_of
from .nodes import (
    Choose,
    Expression,
    Fn,
    Kind,
    Let,
    Literal,
    Op,
    Program,
    Ref,
    Region,
    Statement,
    Store,
    children,
    walk,
)
from .text import statement_text

UNARY = (
    Fn.NEG, Fn.SQUARE, Fn.ABS, Fn.SQRT, Fn.SIGN, Fn.EXP, Fn.LOG, Fn.TANH, Fn.TRANSPOSE, Fn.EXACT, Fn.STORED,
    Fn.ROUNDING_KEY, Fn.BFLOAT16,
)  # fmt: skip
ARITY = {Fn.WHERE: 3} | dict.fromkeys(UNARY, 1)


class IllegalProgram(Exception):
    """A pass broke the program: a defect of the compiler, not of the rule."""


def verify(program: Program, after: str) -> Program:
    """`program`, if it is legal after the pass `after`."""
    for region in program.regions:
        for problem in _problems(program, region, after):
            raise IllegalProgram(f"{program.name} after {after}: {problem}")
    stores = [s for s in program.update.statements if isinstance(s, Store) and s.slot == "w"]
    if len(stores) != 1:
        raise IllegalProgram(f"{program.name} after {after}: the parameter is stored {len(stores)} times")
    return program


def _problems(program: Program, region: Region, after: str) -> Iterator[str]:
    yield from _names(program, region)
    for statement in (*region.scalars, *region.statements):
        for node in walk(statement.value):
            if isinstance(node, Op) and len(node.arguments) != ARITY.get(node.fn, 2):
                yield f"'{node.fn}' has {len(node.arguments)} arguments in {_shown(statement)}"
    if after in HOISTED:
        yield from _rates(program, region)


HOISTED = ("hoist", "cse", "schedule", "legalise")


def _shown(statement: Statement) -> str:
    return f"{statement_text(statement)}  ({statement.location})"


def _names(program: Program, region: Region) -> Iterator[str]:
    """Every reference is defined before, under a guard that its reader's implies; slots are stored once."""
    known: dict[Ref, Guard] = {
        Ref(Kind.PARAMETER, "w"): ALWAYS, Ref(Kind.GRADIENT, "g"): ALWAYS, Ref(Kind.STEP, "t"): ALWAYS,
    }  # fmt: skip
    known |= {Ref(Kind.HYPER, hyper.name): ALWAYS for hyper in program.hypers}
    known |= {Ref(Kind.INPUT, source.name): ALWAYS for source in program.inputs}
    known |= {Ref(Kind.BEFORE, slot.name): slot.when for slot in program.slots}
    for earlier in program.regions[: program.regions.index(region)]:
        known |= _values_of(earlier)
    for statement in (*region.scalars, *region.statements):
        for ref, guard in _reads(statement.value, statement.guard):
            if ref not in known:
                yield f"{ref.kind} '{ref.name}' is read before it is defined, in {_shown(statement)}"
            elif not implies(guard, known[ref]):
                yield f"{ref.kind} '{ref.name}' is read under a weaker guard than its own, in {_shown(statement)}"
        made = _made(statement)
        if made in known and not getattr(statement, "rebinds", ""):
            yield f"'{made.name}' is defined twice, in {_shown(statement)}"
        known[made] = statement.guard if not getattr(statement, "rebinds", "") else ALWAYS
        if statement in region.scalars:
            known[Ref(Kind.SCALAR, made.name)] = statement.guard


def _values_of(region: Region) -> dict[Ref, Guard]:
    """What a region names, for those after it."""
    named = {_made(s): s.guard for s in (*region.scalars, *region.statements) if isinstance(s, Let) and not s.rebinds}
    named |= {_made(s): ALWAYS for s in region.statements if isinstance(s, Let) and s.rebinds}
    return named | {Ref(Kind.SCALAR, s.defines): s.guard for s in region.scalars}


def _made(statement: Statement) -> Ref:
    if isinstance(statement, Store):
        return Ref(Kind.SLOT, statement.slot)
    kinds = {"w": Kind.PARAMETER, "g": Kind.GRADIENT}
    return Ref(kinds.get(statement.name, Kind.LET), statement.name)


def _reads(node: Expression, guard: Guard) -> Iterator[tuple[Ref, Guard]]:
    if isinstance(node, Choose):
        yield from _reads(node.chosen, conjunction(guard, node.guard))
        yield from _reads(node.other, conjunction(guard, negation(node.guard)))
    elif isinstance(node, Ref):
        yield node, guard
    else:
        for child in children(node):
            yield from _reads(child, guard)


def _rates(program: Program, region: Region) -> Iterator[str]:
    """Tensor statements hold no arithmetic on step scalars, and no hyperparameter."""
    rates = environment(program, region)
    for scalar in region.scalars:
        if not rate_of(scalar.value, rates).is_scalar:
            yield f"a scalar reads a tensor: {_shown(scalar)}"
    for statement in region.statements:
        for node in walk(statement.value):
            if isinstance(node, Ref) and node.kind in (Kind.HYPER, Kind.STEP):
                yield f"'{node.name}' is not hoisted out of {_shown(statement)}"
            if isinstance(node, (Op, Choose)) and rate_of(node, rates).is_scalar and not isinstance(node, Literal):
                yield f"arithmetic on scalars is not hoisted out of {_shown(statement)}"
