"""The program of one optimizer: our own small tree, which never simplifies itself.

SymPy stops at `freeze`; from there on only passes rewrite, each by its own stated rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntFlag, StrEnum
from fractions import Fraction
from typing import Literal as OneOf
from typing import TypeAlias

from optloom.spec.declarations import Peer, Shape
from optloom.spec.errors import Location
from optloom.spec.guards import ALWAYS, Flag, Given, Guard
from optloom.spec.rule import AllFinite, Every


class Fn(StrEnum):
    """The operations of the IR. A target declares which of them it prints."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    NEG = "neg"
    SQUARE = "square"
    ABS = "abs"
    SQRT = "sqrt"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    SIGN = "sign"
    EXP = "exp"
    LOG = "log"
    TANH = "tanh"
    POW = "pow"
    POWER = "power"  # to the step's number: a whole exponent, known when the step runs
    ONE_MINUS_POWER = "one_minus_power"  # 1 - beta**t, without the digits that the subtraction would lose
    LESS = "less"
    LESS_EQUAL = "less_equal"
    EQUAL = "equal"
    BOTH = "both"
    REMAINDER = "remainder"
    WHERE = "where"
    STOCHASTICALLY_ROUNDED = "stochastically_rounded"  # to the parameter's dtype, by a key and the element's index
    BFLOAT16 = "bfloat16"  # its argument, rounded to bfloat16, as a number of the compute dtype
    ROUNDING_KEY = "rounding_key"  # the word of 32 bits that keys a step's random bits
    MATMUL = "matmul"
    TRANSPOSE = "transpose"
    EXACT = "exact"  # its argument, rounded: what a compiler may not contract or regroup
    STORED = "stored"  # its argument, rounded to the parameter's dtype, as a number of the compute dtype


class Kind(StrEnum):
    """What a reference refers to."""

    HYPER = "hyper"
    INPUT = "input"
    BEFORE = "before"  # a slot as the region found it
    SLOT = "slot"  # a slot as this region stored it
    LET = "let"
    SCALAR = "scalar"  # a step's scalar, rounded to the compute dtype
    SUM = "sum"  # a reduction of an earlier phase, in its accumulator's dtype
    PARAMETER = "parameter"
    GRADIENT = "gradient"
    STEP = "step"


class Rate(IntFlag):
    """The axes that a value varies over. Everything is computed at its own rate."""

    BUILT = 0
    STEP = 1
    TENSORS = 2  # the step, after a reduction over all tensors
    TENSOR = 4
    ROW = 8
    COLUMN = 16
    ELEMENT = 32

    @property
    def is_scalar(self) -> bool:
        """Known before any tensor is read."""
        return self <= Rate.STEP

    @property
    def is_per_tensor(self) -> bool:
        """One number for a tensor, or for all."""
        return self < Rate.ROW

    @property
    def is_of_all(self) -> bool:
        """One number for all tensors, known after a sum over them."""
        return self in (Rate.TENSORS, Rate.STEP | Rate.TENSORS)


@dataclass(frozen=True, slots=True)
class Literal:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Ref:
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Op:
    fn: Fn
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """`chosen` where the guard holds, else `other`; decided before the step runs."""

    guard: Guard
    chosen: Expression
    other: Expression

    @property
    def only_rounds(self) -> bool:
        """Whether all that is decided is if `other` is rounded: one call, in which it is written once."""
        return self.chosen == Op(Fn.BFLOAT16, (self.other,))


Reduced: TypeAlias = OneOf["sum", "largest"]


@dataclass(frozen=True, slots=True)
class Reduce:
    """A sum, over one tensor, over all, or along an axis (kept with length 1): its tree is fixed, see `reductions`.
    Or, along an axis, the largest number: NaN if any is."""

    argument: Expression
    over: OneOf["tensor", "tensors", "axis"]
    axis: int = 0
    to: Reduced = "sum"


@dataclass(frozen=True, slots=True)
class Length:
    """The number of elements of `argument` along an axis, in the tensor, or in all tensors: a whole number."""

    argument: Expression
    over: OneOf["tensor", "tensors", "axis"]
    axis: int = 0


Scope: TypeAlias = OneOf["tensor", "tensors", "axis"]
Expression: TypeAlias = Literal | Ref | Op | Choose | Reduce | Length


@dataclass(frozen=True, slots=True)
class Let:
    """A named value. `rebinds`: the name that readers of generated code see it take over (w, g), if any."""

    name: str
    value: Expression
    guard: Guard = ALWAYS
    location: Location | None = None
    rebinds: str = ""

    @property
    def defines(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Store:
    """The only place where a value is rounded to a slot's, or the parameter's (`w`), own dtype."""

    slot: str
    value: Expression
    guard: Guard = ALWAYS
    location: Location | None = None

    @property
    def defines(self) -> str:
        return self.slot


Statement: TypeAlias = Let | Store


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A number that the user sets; its bounds as (sign, number)."""

    name: str
    default: float | None
    off: float | None
    bounds: tuple[tuple[str, float], ...]
    integer: bool
    optional: bool
    doc: str
    stage: str = ""  # the stage that it belongs to, empty for the rule's own
    convention: bool = False  # only some peer has it


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: boolean if it has no `choices`. `convention`: it says which of several peers' formulas is meant."""

    name: str
    default: bool | str
    choices: tuple[str, ...]
    doc: str
    stage: str = ""
    convention: bool = False


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """State per parameter. `storage`: the parameter's own dtype, or its compute dtype."""

    name: str
    doc: str
    init: Literal | Ref
    when: Guard
    shape: Shape
    storage: OneOf["compute", "parameter"] = "compute"
    stage: str = ""
    for_evaluation: bool = False  # what the parameter is to be when a model is evaluated


@dataclass(frozen=True, slots=True)
class InputInfo:
    name: str
    doc: str
    shape: OneOf["scalar", "parameter"]


@dataclass(frozen=True, slots=True)
class TakesInfo:
    """Where `when` holds, the parameters that can be optimized are those with the axes that `axes` asks for."""

    axes: Guard
    when: Guard


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage around the rule: what it is called where stages are chosen, and when it is on.

    Of stages of one name at most one may be on. `declares`: its hyperparameters and options; `is_of_optimizer`:
    whether those are the whole optimizer's, not a param group's.
    """

    name: str
    guard: Guard
    declares: tuple[str, ...]
    is_of_optimizer: bool


@dataclass(frozen=True, slots=True)
class Region:
    """Statements that run in the same calls. `guard`: when `predicate` applies at all; else the region always runs.

    `scalars` (empty before `hoist`) are computed once per step, before any tensor is read: named values, and stores of
    scalar slots that need no tensor.
    """

    predicate: Every | None
    guard: Guard
    statements: tuple[Statement, ...]
    scalars: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """Where `guard` holds, a call in which `predicate` does not changes nothing but the number of such calls, which
    targets keep as `skipped`. It is decided before anything else, of the gradients as they are given."""

    predicate: AllFinite
    guard: Guard


@dataclass(frozen=True, slots=True)
class Program:
    """One optimizer: what it declares, and what it does in a step."""

    name: str
    doc: str
    hypers: tuple[Hyperparameter, ...]
    options: tuple[Choice, ...]
    slots: tuple[SlotInfo, ...]
    inputs: tuple[InputInfo, ...]
    regions: tuple[Region, ...]
    gate: Gate | None = None
    takes: tuple[TakesInfo, ...] = ()
    formula: tuple[str, ...] = ()
    peers: tuple[Peer, ...] = ()
    source: str = ""
    stages: tuple[StageInfo, ...] = ()
    strict: bool = True

    def slot(self, name: str) -> SlotInfo:
        return next(slot for slot in self.slots if slot.name == name)

    def hyper(self, name: str) -> Hyperparameter:
        return next(hyper for hyper in self.hypers if hyper.name == name)

    @property
    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """Hyperparameters of which at most one may be given: each turns on a stage of the same name."""
        names: dict[str, list[str]] = {}
        for stage in self.stages:
            if isinstance(stage.guard, Given):
                names.setdefault(stage.name, []).append(stage.guard.hyper)
        return tuple(tuple(hypers) for hypers in names.values() if len(hypers) > 1)

    def dependents(self) -> tuple[tuple[str, str], ...]:
        """(hyperparameter, option): an optional number that means nothing unless the option is set."""
        return tuple(
            (hyper.name, stage.guard.option)
            for stage in self.stages if isinstance(stage.guard, Flag)
            for hyper in self.hypers if hyper.name in stage.declares and hyper.default is None
        )  # fmt: skip

    @property
    def of_optimizer(self) -> tuple[str, ...]:
        """What groups of parameters may not differ in."""
        declared = {hyper.name for hyper in self.hypers} | {option.name for option in self.options}
        return tuple(n for stage in self.stages if stage.is_of_optimizer for n in stage.declares if n in declared)

    @property
    def update(self) -> Region:
        """The region that holds the rule itself: the last."""
        return self.regions[-1]


ZERO, ONE = Literal(Fraction(0)), Literal(Fraction(1))


def children(node: Expression) -> tuple[Expression, ...]:
    match node:
        case Op(_, arguments):
            return arguments
        case Choose(_, chosen, other):
            return (chosen, other)
        case Reduce(argument) | Length(argument):
            return (argument,)
        case _:
            return ()


def rebuild(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """`node` with `change` applied to each child."""
    match node:
        case Op(fn, arguments):
            return Op(fn, tuple(change(argument) for argument in arguments))
        case Choose(guard, chosen, other):
            return Choose(guard, change(chosen), change(other))
        case Reduce() | Length():
            return replace(node, argument=change(node.argument))
        case _:
            return node


def transform(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """`change` applied bottom-up to every node."""
    return change(rebuild(node, lambda child: transform(child, change)))


def walk(node: Expression) -> Iterator[Expression]:
    """All nodes, in the order of evaluation: arguments from left to right, then their operation."""
    for child in children(node):
        yield from walk(child)
    yield node


def references(node: Expression) -> Iterator[Ref]:
    """What `node` reads. Asking for the length of something that lies in memory reads nothing."""
    if isinstance(node, Ref):
        yield node
    elif not (isinstance(node, Length) and isinstance(node.argument, Ref)):
        for child in children(node):
            yield from references(child)


def map_expressions(program: Program, change: Callable[[Expression], Expression]) -> Program:
    """`program` with `change` applied to the whole expression of every statement and scalar."""
    regions = tuple(
        replace(
            region,
            statements=tuple(replace(statement, value=change(statement.value)) for statement in region.statements),
            scalars=tuple(replace(scalar, value=change(scalar.value)) for scalar in region.scalars),
        )
        for region in program.regions
    )
    return replace(program, regions=regions)
