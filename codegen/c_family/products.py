"""Matrix products before a pass over the elements: steps over whole matrices, which buffers hold.

A step is a product of two buffers, or what each element of a buffer is. A buffer that the elements read afterwards is
kept for them; the others share memory, each until its last reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from optloom.spec.guards import Guard

from ..ir.naming import unique
from ..ir.nodes import (
    Expression,
    Fn,
    Kind,
    Let,
    Op,
    Program,
    Ref,
    Statement,
    Store,
    rebuild,
    references,
    walk,
)
from ..passes.traffic import Phase
from ..printing import UnsupportedOperation

if TYPE_CHECKING:
    from .passes import Pass

Shape: TypeAlias = tuple[str, str]
"""Rows and columns of a matrix, each as many as its tensor has "rows" or "columns"."""
OF_TENSOR: Shape = ("rows", "columns")


@dataclass(frozen=True, slots=True)
class Factor:
    """A buffer as it stands in a product."""

    name: str
    is_transposed: bool


@dataclass(frozen=True, slots=True)
class Product:
    """`name` becomes the product of two buffers, the first with `shape[0]` rows and `inner` columns."""

    name: str
    shape: Shape
    inner: str
    left: Factor
    right: Factor


@dataclass(frozen=True, slots=True)
class Elementwise:
    """The elements of `name` become what the last of `statements` gives."""

    name: str
    shape: Shape
    statements: tuple[Statement, ...]


Step: TypeAlias = Product | Elementwise


@dataclass(frozen=True, slots=True)
class Products:
    """`steps` in order, for tensors for which `guard` holds. `statements`: what is left for the elements to do, which
    read the buffers `kept`. `shapes`: of buffers."""

    steps: tuple[Step, ...]
    guard: Guard
    statements: tuple[Statement, ...]
    kept: tuple[str, ...]
    shapes: Mapping[str, Shape]

    def shared(self) -> tuple[tuple[str, ...], ...]:
        """The buffers that are not kept, those together that take turns in one place."""
        last = {name: at for at, step in enumerate(self.steps) for name in _read(step, self.shapes)}
        places: list[list[str]] = []
        for at, step in enumerate(self.steps):
            if step.name not in self.kept:
                free = (p for p in places if self.shapes[p[-1]] == step.shape and last.get(p[-1], -1) < at)
                place = next(free, None)
                if place is None:
                    places.append(place := [])
                place.append(step.name)
        return tuple(map(tuple, places))


@dataclass(frozen=True, slots=True)
class Multiplied:
    """A product as the templates lay it out: buffers by the names of their places."""

    to: str
    rows: str
    columns: str
    inner: str
    left: str
    left_is_transposed: str
    right: str
    right_is_transposed: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A pass over the elements of a buffer: their `count`, and the places of the pass's buffers."""

    elements: Pass
    count: str
    buffers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matrices:
    """The steps before a pass for the tensors `x` for which `guard` holds, as a `condition`. `known`: what it says of
    axes. `working` and `kept`: places in the memory of all tensors in turn, and of each, as (name, how many numbers).
    `shapes`: of the places."""

    condition: str
    guard: Guard
    known: Mapping[str, str]
    steps: tuple[Multiplied | Filled, ...]
    working: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]
    shapes: Mapping[str, Shape]

    def kept_from(self, begin: str) -> tuple[str, ...]:
        """Where the buffers that are kept lie in the memory at `begin`."""
        return tuple(begin + "".join(f" + {size}" for _, size in self.kept[:at]) for at in range(len(self.kept)))

    @property
    def reads_gradient(self) -> bool:
        return any(each.reads_gradient for each in self.passes)

    @property
    def passes(self) -> tuple[Pass, ...]:
        return tuple(step.elements for step in self.steps if isinstance(step, Filled))

    @property
    def axes(self) -> tuple[tuple[str, int], ...]:
        return tuple(dict.fromkeys(asked for each in self.passes for asked in each.axes))

    @property
    def given(self) -> tuple[tuple[str, str], ...]:
        return tuple(dict.fromkeys(given for each in self.passes for given in each.given))


def matrices_of(asked: Products, condition: str, known: Mapping[str, str], passes: Mapping[str, Pass]) -> Matrices:
    """`passes`: those over the elements of buffers, by name."""
    shared = asked.shared()
    places = {name: f"working_{at}" for at, names in enumerate(shared, 1) for name in names}
    places |= {name: f"kept_{name}" for name in asked.kept}
    steps: list[Multiplied | Filled] = []
    for step in asked.steps:
        if isinstance(step, Elementwise):
            made = passes[step.name]
            steps.append(Filled(made, _size(step.shape), tuple(places[o.member] for o in made.buffers)))
        else:
            (rows, columns), left, right = step.shape, step.left, step.right
            turned = (str(factor.is_transposed).lower() for factor in (left, right))
            steps.append(Multiplied(
                places[step.name], f"x.{rows}", f"x.{columns}", f"x.{step.inner}",
                places[left.name], next(turned), places[right.name], next(turned),
            ))  # fmt: skip
    working = tuple((f"working_{at}", _size(asked.shapes[names[0]])) for at, names in enumerate(shared, 1))
    kept = tuple((places[name], _size(asked.shapes[name])) for name in asked.kept)
    shapes = {place: asked.shapes[name] for name, place in places.items()}
    return Matrices(condition, asked.guard, known, tuple(steps), working, kept, shapes)


def _size(shape: Shape) -> str:
    return f"x.matrices * x.{shape[0]} * x.{shape[1]}"


def products(program: Program, phase: Phase) -> Products | None:
    """The products that the statements of `phase` ask for; None if there are none."""
    guards = {s.guard for s in phase.statements if _multiplies(s.value)}
    if not guards:
        return None
    if len(guards) > 1:
        raise UnsupportedOperation("matrix products under different guards in one pass", "c")
    if phase.sums:
        raise UnsupportedOperation("matrix products and reductions in one pass", "c")
    return _Lowering(program, phase).lowered(guards.pop())


class _Lowering:
    def __init__(self, program: Program, phase: Phase) -> None:
        self.program, self.phase = program, phase
        self.taken = {s.defines for s in (*phase.before, *phase.statements)} | {slot.name for slot in program.slots}
        self.shapes: dict[str, Shape] = {}
        self.steps: list[Step] = []
        self.products: dict[tuple[str, Factor, Factor], str] = {}
        self.statements: list[Statement] = []

    def lowered(self, guard: Guard) -> Products:
        for statement in self.phase.statements:
            if not _multiplies(statement.value):
                self.statements.append(statement)
                continue
            value = self._without_products(statement.value, statement)
            if not _has_own_name(statement):
                self.statements.append(replace(statement, value=value))
            elif value != Ref(Kind.LET, statement.defines):
                self._become(statement.defines, value, statement.guard)
        wanted = {ref for total in self.phase.sums for ref in references(total.argument)}
        left = tuple(_needed(self.statements, wanted, self.shapes, keeps_stores=True))
        read = {ref.name for s in left for ref in references(s.value)} | {ref.name for ref in wanted}
        kept = tuple(name for name in self.shapes if name in read)
        return Products(tuple(self.steps), guard, left, kept, self.shapes)

    def _without_products(self, node: Expression, owner: Statement) -> Expression:
        """`node` with buffers in place of products."""
        if not isinstance(node, Op) or node.fn is not Fn.MATMUL:
            return rebuild(node, lambda child: self._without_products(child, owner))
        left, right = (self._factor(argument, owner) for argument in node.arguments)
        if (owner.defines, left, right) in self.products:  # both branches of a choice multiply
            return Ref(Kind.LET, self.products[owner.defines, left, right])
        (rows, inner), (_, columns) = (
            self.shapes[f.name][::-1] if f.is_transposed else self.shapes[f.name] for f in (left, right)
        )
        is_named = _has_own_name(owner) and node == owner.value
        name = owner.defines if is_named else unique(f"{owner.defines}_product", self.taken)
        self.products[owner.defines, left, right] = name
        self.shapes[name] = rows, columns
        self.steps.append(Product(name, (rows, columns), inner, left, right))
        return Ref(Kind.LET, name)

    def _factor(self, node: Expression, owner: Statement) -> Factor:
        if isinstance(node, Op) and node.fn is Fn.TRANSPOSE:
            inner = self._factor(node.arguments[0], owner)
            return replace(inner, is_transposed=not inner.is_transposed)
        value = self._without_products(node, owner)
        if isinstance(value, Ref) and value.kind is Kind.LET:
            if value.name not in self.shapes:
                self._fill(value.name, value)
            return Factor(value.name, False)
        name = unique(f"{owner.defines}_factor", self.taken)
        self._become(name, value, owner.guard)
        return Factor(name, False)

    def _become(self, name: str, value: Expression, guard: Guard) -> None:
        """A buffer of the elements `value`."""
        self.statements.append(Let(name, value, guard))
        self._fill(name, value)

    def _fill(self, name: str, value: Expression) -> None:
        wanted = set(references(value)) | {Ref(Kind.LET, name)}
        own = tuple(_needed(self.statements, wanted, self.shapes, keeps_stores=False))
        shape = self._shape(own)
        self.steps.append(Elementwise(name, shape, own))
        self.shapes[name] = shape

    def _shape(self, statements: tuple[Statement, ...]) -> Shape:
        found = {shape for s in statements for node in walk(s.value) for shape in self._own_shape(node)}
        if len(found) != 1:
            raise UnsupportedOperation("elements of matrices of several shapes", "c")
        return found.pop()

    def _own_shape(self, node: Expression) -> Iterator[Shape]:
        if isinstance(node, Op) and node.fn is Fn.TRANSPOSE:
            raise UnsupportedOperation("a transpose that is no factor of a product", "c")
        if isinstance(node, Ref):
            of_parameter = {slot.name for slot in self.program.slots if slot.shape == "parameter"}
            of_parameter |= {source.name for source in self.program.inputs if source.shape == "parameter"}
            if node.name in self.shapes:
                yield self.shapes[node.name]
            elif node.kind in (Kind.PARAMETER, Kind.GRADIENT) or (
                node.kind is not Kind.LET and node.name in of_parameter
            ):
                yield OF_TENSOR


def _needed(
    statements: Iterable[Statement], wanted: set[Ref], buffers: Mapping[str, Shape], *, keeps_stores: bool
) -> list[Statement]:
    """Of `statements` those that `wanted` values are made of, up to what buffers hold. A store that is not to be kept
    only names its value."""
    wanted = set(wanted)
    chosen: list[Statement] = []
    for statement in reversed(list(statements)):
        match statement:
            case Store(slot=slot) if keeps_stores:
                chosen.append(statement)
            case Store(slot=slot) if Ref(Kind.SLOT, slot) in wanted:
                chosen.append(Let(slot, statement.value, statement.guard, statement.location, rebinds=slot))
            case Let(name=name) if name not in buffers and _made(statement) in wanted:
                chosen.append(statement)
            case _:
                continue
        wanted |= set(references(statement.value))
    return chosen[::-1]


def _has_own_name(statement: Statement) -> bool:
    """Whether its value may lie in a buffer of its name: a parameter, a gradient or a slot has that name already."""
    return isinstance(statement, Let) and not statement.rebinds


def _made(let: Let) -> Ref:
    kinds = {"w": Kind.PARAMETER, "g": Kind.GRADIENT}
    return Ref(kinds.get(let.rebinds, Kind.LET), let.rebinds or let.name)


def _multiplies(node: Expression) -> bool:
    return any(isinstance(each, Op) and each.fn is Fn.MATMUL for each in walk(node))


def _read(step: Step, buffers: Mapping[str, Shape]) -> set[str]:
    if isinstance(step, Product):
        return {step.left.name, step.right.name}
    return {ref.name for s in step.statements for ref in references(s.value) if ref.name in buffers}
