"""locality: whether a step may run on some rows of a parameter alone, leaving the others as they are.

An analysis, not a rewrite. It justifies the lazy update for sparse gradients: where every statement is elementwise in
the parameter, its slots and the step's numbers, the rows that a gradient touches do not see the rest.
A number that is kept (a product of momenta) is one for all rows, also those that a lazy update leaves alone.
Precondition: a frozen program.
"""

from __future__ import annotations

from ..ir.nodes import Fn, Length, Op, Program, Reduce, Statement, walk

ACROSS = (Fn.MATMUL, Fn.TRANSPOSE)


def locality(program: Program) -> str:
    """Empty if every statement is elementwise; else one clause that says which is not."""
    for slot in program.slots:
        if slot.shape != "parameter":
            return f"`{slot.name}` is not of the parameter's shape"
    for region in program.regions:
        for statement in (*region.scalars, *region.statements):
            if reason := _reach(statement):
                return f"`{statement.defines}` {reason}"
    return ""


def _reach(statement: Statement) -> str:
    for node in walk(statement.value):
        match node:
            case Reduce(over="tensors"):
                return "is taken from all tensors"
            case Reduce() | Length():
                return "is taken from the whole tensor"
            case Op(fn) if fn in ACROSS:
                return "is a matrix product"
    return ""
