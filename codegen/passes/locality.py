"""locality: whether a step may run on some rows of a parameter alone, leaving the others as they are.

An analysis, not a rewrite. It justifies the lazy update for sparse gradients: where every statement is elementwise in
the parameter, its slots and the step's numbers, the rows that a gradient touches do not see the rest.
A number that is kept (a product of momenta) is one for all rows, also those that a lazy update leaves alone.
The norm of the gradient is that of its rows. Precondition: a frozen program.
"""

from __future__ import annotations

from optloom.spec.guards import Flag, Given, atoms

from ..ir.nodes import Fn, Kind, Length, Let, Op, Program, Reduce, Ref, Statement, Store, walk

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
    """What turns on a stage that keeps state: it changes in all rows, also those that no gradient touches; or one that
    asks for an element's place in the whole tensor.
    """
    kept = {slot.stage for slot in program.slots if slot.stage and not follows_parameter(program, slot.name)}
    guards = [stage.guard for stage in program.stages if stage.name in kept]
    guards += [statement.guard for statement in program.update.statements if _asks_for_place(statement)]
    found = (atom for guard in guards for atom in atoms(guard) if isinstance(atom, Given | Flag))
    return tuple(atom.hyper if isinstance(atom, Given) else atom.option for atom in found)


def _asks_for_place(statement: Statement) -> bool:
    return any(isinstance(node, Op) and node.fn is Fn.STOCHASTICALLY_ROUNDED for node in walk(statement.value))


def follows_parameter(program: Program, slot: str) -> bool:
    """Whether a slot is stored what the parameter is: then it changes where the parameter does, and nowhere else."""
    stores = [s for region in program.regions for s in region.statements if isinstance(s, Store)]
    (parameter,) = (store.value for store in stores if store.slot == "w")
    stored = [store.value for store in stores if store.slot == slot]
    return bool(stored) and all(value == parameter for value in stored)


def following(program: Program) -> tuple[str, ...]:
    """The slots that are stored what the parameter is: who overwrites the parameter has to overwrite them too."""
    return tuple(slot.name for slot in program.slots if follows_parameter(program, slot.name))


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
