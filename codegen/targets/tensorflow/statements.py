"""The lines of Python that statements become: assignments, and a step's scalars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ...ir.nodes import (
    Choose,
    Expression,
    Fn,
    Kind,
    Literal,
    Op,
    Program,
    Ref,
    Region,
    Statement,
    Store,
    children,
    references,
    walk,
)  # fmt: skip
from ...printing import Precedence
from .printer import FastScalarPrinter, ScalarPrinter, StrictScalarPrinter, TensorPrinter, is_condition

INDENT = "    "
STORAGE = {"accumulated_gradient": "_accumulated_gradients", "weight_average": "_model_variables_moving_average"}
"""The lists of variables that Keras's base class makes for stages, by slot; a rule's own are called as the slot."""


def storage(slot: str) -> str:
    """The attribute of the optimizer that lists a slot's variables."""
    return STORAGE.get(slot, f"_{slot}")


class Lines(list[str]):
    """Lines of Python; those under one guard follow each other under one `if`."""

    def add(self, condition: str, new: Iterable[str]) -> None:
        """Appends `new`, under `condition` if there is one."""
        new = list(new)
        if condition and new:
            head = f"if {condition}:"
            opened = next((line for line in reversed(self) if not line.startswith(INDENT)), None)
            if opened != head:
                self.append(head)
            new = [INDENT + line for line in new]
        self.extend(new)


def assignment(name: str, value: Expression, printer: TensorPrinter, shape: str) -> Iterator[str]:
    """`name = value`; a choice between choices becomes branches, one number for all elements a tensor of `shape`."""
    match value:
        case Choose(guard, chosen, other) if isinstance(chosen, Choose) or isinstance(other, Choose):
            yield f"if {printer.condition(guard)}:"
            yield from (INDENT + line for line in assignment(name, chosen, printer, shape))
            yield "else:"
            yield from (INDENT + line for line in assignment(name, other, printer, shape))
        case Literal(zero) if zero == 0 and shape == "tf.shape(w)":
            yield f"{name} = tf.zeros_like(w)"
        case Literal() | Ref(kind=Kind.SCALAR):
            yield f"{name} = tf.fill({shape}, tf.cast({printer.print(value)}, k.dtype))"
        case _:
            yield f"{name} = {printer.print(value)}"


def _scalar_printer(program: Program, region: Region) -> ScalarPrinter:
    read = Counter(ref.name for ref in _references(region.scalars) if ref.kind is Kind.HYPER)
    whole = {scalar.value.name for scalar in region.scalars if isinstance(scalar.value, Ref)}
    handed_on = frozenset(name for name in whole - {"learning_rate"} if read[name] == 1)
    return (StrictScalarPrinter if program.strict else FastScalarPrinter)(program, handed_on)


def scalar_lines(program: Program, region: Region) -> Lines:
    """The step's scalars, in order; those that tensor statements read become attributes of `k`."""
    printer = _scalar_printer(program, region)
    exported = {ref.name for ref in _references(region.statements) if ref.kind is Kind.SCALAR}
    inner = {ref.name for ref in _references(region.scalars) if ref.kind in (Kind.LET, Kind.SLOT)}
    lines = Lines()
    for scalar in region.scalars:
        text = printer.at(scalar.value, Precedence.ATOM if program.strict else Precedence.CHOICE)
        here: list[str] = []
        if isinstance(scalar, Store):
            where = ", where=where" if region.predicate else ""
            here = [
                f"{scalar.slot} = {_rounded(text, scalar.value, program.strict)}",
                f"_support.store(self.{storage(scalar.slot)}[dtype.name], {scalar.slot}{where})",
            ]
            here += [f"k.{scalar.slot} = {scalar.slot}"] if scalar.slot in exported else []
            here += [f"{scalar.slot} = {_exactly(scalar.slot, program.strict)}"] if scalar.slot in inner else []
        else:
            if scalar.name in inner:
                here, text = [f"{scalar.name} = {text}"], scalar.name
            if scalar.name in exported:
                here.append(f"k.{scalar.name} = {_rounded(text, scalar.value, program.strict)}")
        lines.add(printer.condition(scalar.guard), here)
    return lines


def scalar_read_lines(program: Program, region: Region) -> Lines:
    """Local names for the optimizer's own slots, numbers, as the step finds them, and whether it stores them."""
    printer = FastScalarPrinter(program)
    lines = Lines()
    if region.predicate and any(isinstance(scalar, Store) for scalar in region.scalars):
        lines.append(f"where = self._every(self.{region.predicate.hyper})")
    read = {ref.name for ref in _references(region.scalars) if ref.kind is Kind.BEFORE}
    for slot in program.slots:
        if slot.shape == "scalar" and slot.name in read:
            value = f"self.{storage(slot.name)}[dtype.name]"
            lines.add(printer.condition(slot.when), [f"{slot.name} = {_exactly(value, program.strict)}"])
    return lines


def _exactly(text: str, strict: bool) -> str:
    """A number of the compute dtype as scalars are computed with."""
    return f"double.pair({text})" if strict else f"_support.float64({text})"


def _rounded(text: str, value: Expression, strict: bool) -> str:
    """A scalar in the compute dtype; conditions and words of bits stay what they are."""
    if is_condition(value) or (isinstance(value, Op) and value.fn is Fn.ROUNDING_KEY):
        return text
    return f"{text}[0]" if strict else f"tf.cast({text}, dtype)"


def hyper_lines(program: Program, region: Region) -> list[str]:
    """Local names for the hyperparameters and inputs that the scalars read, exactly as they were passed."""
    refs = list(_references_to_pairs(region.scalars) if program.strict else _references(region.scalars))
    read = {ref.name for ref in refs if ref.kind is Kind.HYPER}
    lines, printer = [], _scalar_printer(program, region)
    for hyper in program.hypers:
        if hyper.name in read and not printer.is_in_place(hyper):
            value = (
                "_support.float64(learning_rate)" if hyper.name == "learning_rate" else f'self._value("{hyper.name}")'
            )
            lines.append(f"{hyper.name} = " + (f"double.pair({value})" if program.strict else value))
    for name in dict.fromkeys(ref.name for ref in refs if ref.kind is Kind.INPUT):
        value = f'self._input("{name}")'
        lines.append(f"{name} = " + (f"double.pair({value})" if program.strict else value))
    return lines


def reads_step(region: Region) -> bool:
    return any(ref.kind is Kind.STEP for ref in _references(region.scalars))


def operations(program: Program) -> set[Fn]:
    """All that the program uses."""
    return {
        node.fn
        for region in program.regions
        for statement in (*region.scalars, *region.statements)
        for node in walk(statement.value)
        if isinstance(node, Op)
    }


def _references(statements: Iterable[Statement]) -> Iterator[Ref]:
    return (ref for statement in statements for ref in references(statement.value))


def _references_to_pairs(statements: Iterable[Statement]) -> Iterator[Ref]:
    """What strict scalars read as pairs: a remainder's operands are integers, which stand in it as they are."""

    def within(node: Expression) -> Iterator[Ref]:
        if isinstance(node, Ref):
            yield node
        elif not (isinstance(node, Op) and node.fn in (Fn.REMAINDER, Fn.ROUNDING_KEY)):
            for child in children(node):
                yield from within(child)

    return (ref for statement in statements for ref in within(statement.value))
