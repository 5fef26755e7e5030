"""Printing for JAX: tensors and a step's scalars as plain expressions, guards as Python conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from optloom.spec.guards import (
    ALWAYS,
    And,
    Flag,
    Given,
    Guard,
    HasAxes,
    Is,
    Narrow,
    Not,
    asks_tensors,
    atoms,
    conjunction,
    describe,
)

from ...ir.nodes import Choose, Expression, Fn, Kind, Length, Literal, Op, Reduce, Ref, transform, walk
from ...printing import Precedence, Printer, UnsupportedOperation

IS_NARROW = "_support.is_narrow(w)"
FLIPPED = {Fn.LESS: ">", Fn.LESS_EQUAL: ">="}


class JaxPrinter(Printer):
    """What tensors and scalars share: guards over what is on when a function is compiled."""

    target = "jax"

    def guard(self, guard: Guard) -> str:
        match guard:
            case Flag(option):
                return f"on.{option}"
            case Is(option, value):
                return f'on.{option} == "{value}"'
            case Given(hyper):
                return f"on.{hyper}"
            case HasAxes(count):
                return f"w.ndim >= {count}"
            case Narrow():
                return IS_NARROW
            case Not(HasAxes(count)):
                return f"w.ndim < {count}"
            case Not(And()):
                return f"not ({self.guard(guard.guard)})"
            case Not(inner):
                return f"not {self.guard(inner)}"
            case And(parts):
                return " and ".join(self.guard(part) for part in parts)
            case _:
                return "True"


class TensorPrinter(JaxPrinter):
    """Values of tensors, one leaf at a time. `of_all`: the names of what is known of all leaves, members of `k`.

    `wide`: the names of a leaf's own numbers that are float64, as its sums are; `is_wide`: whether such a number is
    printed, not a tensor of the leaf's dtype, which they are rounded to. `is_strict`: there is a function `exact`.
    `slots`: those that narrow leaves alone have, by their guards: the formula's own leaves are wide.
    """

    calls = {
        Fn.ABS: "jnp.abs({0})", Fn.SQRT: "jnp.sqrt({0})", Fn.SIGN: "jnp.sign({0})", Fn.EXP: "jnp.exp({0})",
        Fn.LOG: "jnp.log({0})", Fn.TANH: "jnp.tanh({0})", Fn.MAXIMUM: "jnp.maximum({0}, {1})",
        Fn.MINIMUM: "jnp.minimum({0}, {1})", Fn.WHERE: "jnp.where({0}, {1}, {2})",
        Fn.BOTH: "jnp.logical_and({0}, {1})", Fn.EQUAL: "jnp.equal({0}, {1})",
        Fn.MATMUL: "_support.product({0}, {1})",
        Fn.TRANSPOSE: "jnp.matrix_transpose({0})", Fn.POW: "jnp.power({0}, {1})",
        Fn.STOCHASTICALLY_ROUNDED: "_rounding.stochastically_rounded({0}, {1}, on)",
        Fn.BFLOAT16: "_support.bfloat16({0})",
        Fn.STORED: "_slot_dtype.stored({0}, on, k.zero)",
    }  # fmt: skip
    rounded_if = "_support.bfloat16({0}, {1})"

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn is Fn.SQUARE:
            return f"{self.at(arguments[0], Precedence.ATOM)}**2", Precedence.UNARY
        if fn is Fn.EXACT:
            value = self.print(arguments[0])
            return f"exact({value})" if self.is_strict else f"_double.exact({value}, k.zero)", Precedence.ATOM
        if fn in FLIPPED and isinstance(arguments[0], Literal):
            left, right = (self.at(argument, Precedence.SUM) for argument in reversed(arguments))
            return f"{left} {FLIPPED[fn]} {right}", Precedence.COMPARISON
        return super().operation(fn, arguments)

    def __init__(
        self,
        of_all: frozenset[str] = frozenset(),
        wide: frozenset[str] = frozenset(),
        is_wide: bool = False,
        is_strict: bool = False,
        slots: Mapping[Guard, str] = MappingProxyType({}),
    ) -> None:
        self.of_all, self.wide, self.is_wide, self.is_strict, self.slots = of_all, wide, is_wide, is_strict, slots

    def widely(self, is_wide: bool = True) -> TensorPrinter:
        """The printer of numbers in float64, or of tensors."""
        return TensorPrinter(self.of_all, self.wide, is_wide, self.is_strict, self.slots)

    def guard(self, guard: Guard) -> str:
        if Narrow() not in atoms(guard):
            return super().guard(guard)
        if guard not in self.slots:
            raise UnsupportedOperation(f"the condition '{describe(guard)}' without a slot under it", self.target)
        return f"{self.slots[guard]} is not None"

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.SUM:
            return f'sums["{ref.name}"]'
        is_of_all = ref.kind in (Kind.LET, Kind.SLOT) and ref.name in self.of_all
        if ref.kind is Kind.LET and ref.name in self.wide and not self.is_wide:
            return f"{ref.name}.astype(w.dtype)"
        return f"k.{ref.name}" if ref.kind is Kind.SCALAR or is_of_all else ref.name

    def reduction(self, node: Reduce) -> str:
        if node.over == "tensors":
            return super().reduction(node)
        if node.to == "largest":  # of nothing, it is the least number
            return f"jnp.max({self.print(node.argument)}, axis={node.axis}, keepdims=True, initial=-jnp.inf)"
        if node.over == "axis":
            return f"jnp.sum({self.print(node.argument)}, axis={node.axis}, keepdims=True)"
        return self.total(node.argument) + ("" if self.is_wide else ".astype(w.dtype)")

    def total(self, argument: Expression) -> str:
        """The sum of a leaf's elements, in float64."""
        inner = self.widely(False)
        if isinstance(argument, Op) and argument.fn is Fn.SQUARE:
            return f"_support.squares({inner.print(argument.arguments[0])}, on.axis_name)"
        return f"_support.total({inner.print(argument)}, on.axis_name)"

    def length(self, node: Length) -> str:
        if node.over == "tensors":
            return super().length(node)
        if node.over == "tensor":
            return f"_support.size({self.print(node.argument)}, on.axis_name)"
        return f"{self.at(node.argument, Precedence.ATOM)}.shape[{node.axis}]"


class ScalarPrinter(JaxPrinter):
    """A step's scalars, in double words: the operators are those of the class `Double`. `number(x)` makes one."""

    infix = {fn: JaxPrinter.infix[fn] for fn in (Fn.ADD, Fn.SUB, Fn.MUL, Fn.DIV, Fn.LESS, Fn.LESS_EQUAL)} | {
        Fn.BOTH: ("&", Precedence.PRODUCT)
    }
    calls = {
        Fn.SQRT: "_double.root({0})", Fn.EQUAL: "_double.equal({0}, {1})", Fn.WHERE: "_double.where({0}, {1}, {2})",
        Fn.MAXIMUM: "_double.maximum({0}, {1})", Fn.MINIMUM: "_double.minimum({0}, {1})",
    }  # fmt: skip

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in (Fn.POWER, Fn.ONE_MINUS_POWER):
            if not isinstance(arguments[1], Ref) or arguments[1].kind is not Kind.STEP:
                raise UnsupportedOperation("a power other than the step's number, of a step's scalar", self.target)
            base = self.at(arguments[0], Precedence.ATOM)
            power = f"{f'number({base})' if isinstance(arguments[0], Literal) else base}**t"
            return (power, Precedence.UNARY) if fn is Fn.POWER else (f"1 - {power}", Precedence.SUM)
        if fn is Fn.POW:
            base, exponent = (f"({text})" if " " in text else text for text in map(self.as_number, arguments))
            return f"{base}**{exponent}", Precedence.UNARY
        if fn is Fn.SQUARE:
            return f"_double.squared({self.print(arguments[0])})", Precedence.ATOM
        if fn is Fn.REMAINDER:
            if not isinstance(arguments[0], Ref) or arguments[0].kind is not Kind.STEP:
                raise UnsupportedOperation("a remainder of other than the step's number", self.target)
            return f"_double.remainder(t, {self.print(arguments[1])})", Precedence.ATOM
        if fn is Fn.ROUNDING_KEY:
            if not isinstance(arguments[0], Ref) or arguments[0].kind is not Kind.STEP:
                raise UnsupportedOperation("a key of rounding that is not made of the step's number", self.target)
            return "_rounding.rounding_key(t)", Precedence.ATOM
        if fn is Fn.EQUAL and isinstance(arguments[1], Literal) and arguments[0] == Ref(Kind.STEP, "t"):
            return f"t == {self.print(arguments[1])}", Precedence.COMPARISON
        if fn in self.calls:
            operands = arguments[1:] if fn is Fn.WHERE else arguments
            is_known = all(isinstance(operand, Literal) for operand in operands)
            printed = map(self.as_number if is_known else self.print, arguments)
            return self.calls[fn].format(*printed), Precedence.ATOM
        if all(isinstance(argument, Literal) for argument in arguments):
            if fn is not Fn.DIV:
                raise UnsupportedOperation("arithmetic on literals alone", self.target)
            dividend, divisor = map(self.print, arguments)
            return f"(number({dividend}) / {divisor})", Precedence.ATOM
        if fn in FLIPPED and isinstance(arguments[0], Literal):
            left, right = (self.at(argument, Precedence.SUM) for argument in reversed(arguments))
            return f"{left} {FLIPPED[fn]} {right}", Precedence.COMPARISON
        return super().operation(fn, arguments)

    def as_number(self, node: Expression) -> str:
        """`node` as an operand of a function, to which a literal does not bring the dtype of what it stands beside."""
        text = self.print(node)
        return f"number({text})" if isinstance(node, Literal) else text

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.STEP:
            return "number(t)"
        if ref.kind in (Kind.HYPER, Kind.INPUT, Kind.BEFORE):
            return f"h.{ref.name}"
        if ref.kind in (Kind.LET, Kind.SLOT):
            return ref.name
        raise UnsupportedOperation(f"a step's scalar that reads '{ref.name}' ({ref.kind})", self.target)

    def guard(self, guard: Guard) -> str:
        if asks_tensors(guard):
            raise UnsupportedOperation(f"a step's scalar that depends on '{describe(guard)}'", self.target)
        return super().guard(guard)


def is_number(node: Expression) -> bool:
    """Whether a step's scalar is a double word: no condition, and no word of bits."""
    others = (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.BOTH, Fn.ROUNDING_KEY)
    return not (isinstance(node, Op) and node.fn in others)


def alternatives(node: Expression, guard: Guard = ALWAYS) -> Iterator[tuple[Guard, Expression]]:
    """The branches of a statement's value, to be tried in order: a chain of if, elif and else."""
    if isinstance(node, Choose) and not node.only_rounds:
        yield from alternatives(node.chosen, conjunction(guard, node.guard))
        yield from alternatives(node.other, guard)
    else:
        yield guard, node


def pulled_up(node: Expression, guard: Guard = ALWAYS) -> Iterator[tuple[Guard, Expression]]:
    """The branches of a value that chooses somewhere within, to be tried in order: each a value without choices."""
    choices = [part for part in walk(node) if isinstance(part, Choose) and not part.only_rounds]
    inner = {part for choice in choices for part in walk(choice) if part != choice}
    choice = next((choice for choice in choices if choice not in inner), None)
    if choice is None:
        yield guard, node
        return

    def chosen(part: Expression) -> Expression:
        return transform(node, lambda x: part if x == choice else x)

    yield from pulled_up(chosen(choice.chosen), conjunction(guard, choice.guard))
    yield from pulled_up(chosen(choice.other), guard)


def parameter_moved(node: Expression, moved: Ref) -> Expression | None:
    """`node`, a sum over the parameter, with `moved` in the parameter's place; None if it is no such sum."""
    match node:
        case Ref(Kind.PARAMETER, "w"):
            return moved
        case Op(Fn.ADD | Fn.SUB, (a, b)):
            left = parameter_moved(a, moved)
            return None if left is None else Op(node.fn, (left, b))
    return None
