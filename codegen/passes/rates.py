"""rates (binding times): the axes that each value varies over.

An analysis, not a rewrite. Precondition: a frozen program whose names are unique within a region.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.nodes import Expression, Kind, Length, Let, Literal, Program, Rate, Reduce, Ref, Region, Store, children

ELEMENTS = Rate.STEP | Rate.TENSOR | Rate.ROW | Rate.COLUMN | Rate.ELEMENT
SHAPES = {
    "parameter": ELEMENTS,
    "rows": Rate.STEP | Rate.TENSOR | Rate.ROW,
    "columns": Rate.STEP | Rate.TENSOR | Rate.COLUMN,
    "tensor": Rate.STEP | Rate.TENSOR,
    "scalar": Rate.STEP,
}

Environment = Mapping[tuple[Kind, str], Rate]


def environment(program: Program, region: Region) -> Environment:
    """The rate of every reference of `region`, which may read what earlier regions name."""
    rates: dict[tuple[Kind, str], Rate] = {
        (Kind.PARAMETER, "w"): ELEMENTS,
        (Kind.GRADIENT, "g"): ELEMENTS,
        (Kind.STEP, "t"): Rate.STEP,
    }
    rates |= {(Kind.HYPER, hyper.name): Rate.STEP for hyper in program.hypers}
    rates |= {(Kind.INPUT, source.name): SHAPES[source.shape] for source in program.inputs}
    rates |= {(Kind.BEFORE, slot.name): SHAPES[slot.shape] for slot in program.slots}
    for earlier in program.regions[: program.regions.index(region)] if region in program.regions else ():
        _add(rates, program, earlier)
    _add(rates, program, region)
    return rates


def _add(rates: dict[tuple[Kind, str], Rate], program: Program, region: Region) -> None:
    """The rates of what `region` names and stores."""
    for scalar in region.scalars:
        name = scalar.name if isinstance(scalar, Let) else scalar.slot
        kind = Kind.LET if isinstance(scalar, Let) else Kind.SLOT
        rates[Kind.SCALAR, name] = rates[kind, name] = Rate.STEP
    for statement in region.statements:
        rate = rate_of(statement.value, rates)
        match statement:
            case Let(name=name):
                rates[Kind.LET, name] = rate
            case Store(slot="w"):
                pass
            case Store(slot=name):
                shape = program.slot(name).shape
                rates[Kind.SLOT, name] = rate if shape == "scalar" else SHAPES[shape] | rate


def rate_of(node: Expression, rates: Environment) -> Rate:
    """The rate of an expression, given those of its references."""
    match node:
        case Literal():
            return Rate.BUILT
        case Ref(kind, name):
            return rates[kind, name]
        case Reduce(argument, over, axis):
            return _reduced(rate_of(argument, rates), over, axis)
        case Length(_, over):
            return Rate.STEP if over == "tensors" else Rate.STEP | Rate.TENSOR
        case _:
            joined = Rate.BUILT
            for child in children(node):
                joined |= rate_of(child, rates)
            return joined


def _reduced(rate: Rate, over: str, axis: int) -> Rate:
    if over == "tensors":
        return Rate.STEP | Rate.TENSORS
    if over == "tensor":
        return rate & (Rate.STEP | Rate.TENSORS | Rate.TENSOR)
    gone = Rate.COLUMN if axis == -1 else Rate.ROW
    return rate & ~(gone | Rate.ELEMENT)
