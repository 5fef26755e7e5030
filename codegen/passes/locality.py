"""locality: whether a step may run on some rows of a parameter alone, leaving the others as they are.

An analysis, not a rewrite. It justifies the lazy update for sparse gradients: where every statement is elementwise in
the parameter, its slots and the step's numbers, the rows that a gradient touches do not see the rest.
A number that is kept (a product of momenta) is one for all rows, also those that a lazy update leaves alone.
The norm of the gradient is that of its rows. Precondition: a frozen program.
"""

from __future__ import annotations

from optloom.spec.guards import Flag, Given, atoms

from ..ir.nodes import Fn, Kind, Length, Let, Op, Program, Reduce, Ref, Statement, walk

ACROSS = (Fn.MATMUL, Fn.TRANSPOSE)


def locality(program: Program) -> str:
    """Empty if every statement is elementwise; else one clause that says which is not."""
    for slot in program.slots:
        if slot.shape != "parameter":
            return f"`{slot.name}` is not of the parameter's shape"
    gradients = {Ref(Kind.GRADIENT, "g")}
    for region in program.regions:
        for statement in (*region.scalars, *region.statements):
            if isinstance(statement, Let) and statement.rebinds == "g":
                gradients.add(Ref(Kind.LET, statement.name))
            if reason := _reach(statement, gradients):
                return f"`{statement.defines}` {reason}"
    return ""


def whole_under(program: Program) -> tuple[str, ...]:
    """What turns on a stage that keeps state: it changes in all rows, also those that no gradient touches."""
    kept = {slot.stage for slot in program.slots if slot.stage}
    return tuple(
        atom.hyper if isinstance(atom, Given) else atom.option
        for stage in program.stages if stage.name in kept
        for atom in atoms(stage.guard) if isinstance(atom, Given | Flag)
    )  # fmt: skip


def _reach(statement: Statement, gradients: set[Ref]) -> str:
    for node in walk(statement.value):
        match node:
            case Reduce(Op(Fn.SQUARE, (Ref() as ref,))) if ref in gradients:
                continue
            case Reduce(over="tensors"):
                return "is taken from all tensors"
            case Reduce() | Length():
                return "is taken from the whole tensor"
            case Op(fn) if fn in ACROSS:
                return "is a matrix product"
    return ""
