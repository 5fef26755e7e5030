"""Expressions for PyTorch: of tensors in plain operators, and of a step's scalars, as floats or as double words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from optloom.spec.guards import And, Flag, Given, Guard, HasAxes, Is, Narrow, Not, atoms, describe, exact_axes

from ...double_word import FUNCTIONS
from ...ir.nodes import Expression, Fn, Kind, Length, Literal, Op, Program, Rate, Reduce, Ref
from ...printing import INFIX, Precedence, Printer, UnsupportedOperation
from .names import OFF, Names

RateOf = Callable[[Expression], Rate]
METHODS = {
    Fn.SQUARE: "square", Fn.ABS: "abs", Fn.EXP: "exp", Fn.LOG: "log", Fn.TANH: "tanh", Fn.POW: "pow",
    Fn.MAXIMUM: "maximum", Fn.MINIMUM: "minimum",
}  # fmt: skip
"""Operations that are methods of tensors."""
EXTREMES = {Fn.MAXIMUM: "clamp_min", Fn.MINIMUM: "clamp_max"}
"""Those that commute, and what they are called where one operand is a number."""
CONDITIONS = (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL)
NOT_NUMBERS = (*CONDITIONS, Fn.ROUNDING_KEY)
"""Operations on a step's scalars whose value is true or false, or a word of bits."""


@dataclass(frozen=True)
class Place:
    """A tensor that is being stored: how it is referred to before the store, and its variable."""

    ref: Ref
    variable: str


class GroupPrinter(Printer):
    """Guards, as conditions on the options of a param group."""

    target = "pytorch"

    def __init__(self, program: Program, names: Names) -> None:
        self.program, self.names = program, names

    def guard(self, guard: Guard) -> str:
        match guard:
            case Flag(option):
                return self.option(option)
            case Is(option, value):
                return f"{self.option(option)} == {value!r}"
            case Given(hyper):
                off = self.program.hyper(hyper).off
                off = OFF.get(hyper) if off is None else off
                return f"{self.option(hyper)} is not None" if off is None else self._is_set(self.option(hyper), off)
            case HasAxes(count):
                return f"w.dim() >= {count}"
            case Not(HasAxes(count)):
                return f"w.dim() < {count}"
            case Narrow():
                return "_support.is_narrow(w)"
            case And() if (exact := exact_axes(guard)) is not None:
                return f"w.dim() == {exact}"
            case Not(And() as inner) if (exact := exact_axes(inner)) is not None:
                return f"w.dim() != {exact}"
            case Not(And() as inner):
                return f"not ({self.guard(inner)})"
            case Not(inner):
                return f"not {self.guard(inner)}"
            case And(parts):
                return " and ".join(self.guard(part) for part in parts)
        raise UnsupportedOperation(f"the condition '{describe(guard)}'", self.target)

    @staticmethod
    def _is_set(value: str, off: float) -> str:
        return f"_support.is_set({value})" if off == 0 else f"_support.is_set({value}, {off:g})"

    def option(self, name: str) -> str:
        return self.names.value(name)


class TensorPrinter(GroupPrinter):
    """Tensors in plain operators, each of which rounds once. `rate`: of any expression of the region."""

    infix = {**INFIX, Fn.BOTH: ("&", Precedence.PRODUCT), Fn.MATMUL: ("@", Precedence.PRODUCT)}
    calls = {
        Fn.SQRT: "_sqrt({0})", Fn.SIGN: "_support.sign({0})", Fn.WHERE: "_support.where({0}, {1}, {2})",
        Fn.STOCHASTICALLY_ROUNDED: "_support.stochastically_rounded({0}, {1}, k.stored)",
        Fn.BFLOAT16: "_support.bfloat16({0})",
        Fn.STORED: "_slot_dtype.stored({0}, k.stored)",
    }  # fmt: skip
    rounded_if = "_support.bfloat16({0}, {1})"

    total = "_total({0})"

    def __init__(self, program: Program, names: Names, rate: RateOf, per_tensor: bool = False) -> None:
        super().__init__(program, names)
        self.rate, self.per_tensor = rate, per_tensor

    def guard(self, guard: Guard) -> str:
        """Here parameters are as wide as their arithmetic: which were narrow is known by the slots that they have."""
        if Narrow() not in atoms(guard):
            return super().guard(guard)
        slot = next((slot for slot in self.program.slots if slot.when == guard), None)
        if slot is None:
            raise UnsupportedOperation(f"the condition '{describe(guard)}' without a slot under it", self.target)
        return f"{self.names.variable(slot.name)} is not None"

    def of_tensor(self) -> TensorPrinter:
        """The printer of values per tensor: 0-dim tensors of float64."""
        return type(self)(self.program, self.names, self.rate, per_tensor=True)

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.SCALAR:
            return f"k.{self.names.hyper(ref.name)}"
        if ref.kind is Kind.SUM:
            return f'sums["{ref.name}"]'
        name = self.names.variable(ref.name) if ref.kind in (Kind.BEFORE, Kind.SLOT) else ref.name
        if ref.kind not in (Kind.BEFORE, Kind.SLOT, Kind.LET) or not self.rate(ref).is_per_tensor:
            return name
        name = f"k.{name}" if self.rate(ref) <= Rate.STEP | Rate.TENSORS else name
        return f"{name}.double()" if self.per_tensor and ref.kind is not Kind.LET else self._met(name)

    def _met(self, name: str) -> str:
        """A number of the tensor where it meets the elements: of their dtype."""
        return name if self.per_tensor else f"{name}.to(w.dtype)"

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn is Fn.WHERE and self._are_numbers(arguments):
            dtype = "torch.float64" if self.per_tensor else "w.dtype"
            printed = ", ".join(self.print(argument) for argument in arguments)
            return f"_support.where({printed}, {dtype})", Precedence.ATOM
        if fn is Fn.TRANSPOSE:
            return f"{self.at(arguments[0], Precedence.ATOM)}.mT", Precedence.ATOM
        if fn is Fn.BOTH:  # binds more tightly than comparisons
            left, right = (self.at(argument, Precedence.ATOM) for argument in arguments)
            return f"{left} & {right}", Precedence.PRODUCT
        if fn in (Fn.LESS, Fn.LESS_EQUAL) and isinstance(arguments[0], Literal):  # `x > 0` rather than `0 < x`
            sign = ">" if fn is Fn.LESS else ">="
            return f"{self.at(arguments[1], Precedence.SUM)} {sign} {self.print(arguments[0])}", Precedence.COMPARISON
        if fn in EXTREMES and self.rate(arguments[0]) < self.rate(arguments[1]):  # methods are tensors'
            return self.operation(fn, arguments[::-1])
        if fn in METHODS and fn not in self.calls:
            is_number = fn in EXTREMES and self.rate(arguments[1]).is_scalar
            method = EXTREMES[fn] if is_number else METHODS[fn]
            others = ", ".join(self.print(argument) for argument in arguments[1:])
            return f"{self.at(arguments[0], Precedence.ATOM)}.{method}({others})", Precedence.ATOM
        return super().operation(fn, arguments)

    def _are_numbers(self, arguments: tuple[Expression, ...]) -> bool:
        """Whether a condition on tensors chooses between numbers, whose dtype PyTorch would choose."""
        condition, *branches = arguments
        return not self.rate(condition).is_scalar and all(self.rate(branch).is_scalar for branch in branches)

    def reduction(self, node: Reduce) -> str:
        if node.to == "largest":
            return f"{self.at(node.argument, Precedence.ATOM)}.amax({node.axis}, keepdim=True)"
        argument = self.accumulated(node.argument)
        return f"_total_along({argument}, {node.axis}, w.dtype)" if node.over == "axis" else self.total.format(argument)

    def accumulated(self, node: Expression) -> str:
        """What a sum adds up: products are formed in the accumulator's dtype, so that a norm does not overflow."""
        elements = type(self)(self.program, self.names, self.rate)
        match node:
            case Op(Fn.SQUARE, (x,)):
                return f"{elements.at(x, Precedence.ATOM)}.double().square()"
            case Op(Fn.MUL, (a, b)):
                return f"{elements.at(a, Precedence.ATOM)}.double() * {elements.at(b, Precedence.ATOM)}.double()"
        return elements.print(node)

    def stored(self, place: Place, value: Expression) -> str:
        """A statement that makes `place` hold `value`."""
        if isinstance(value, Literal):
            return f"{place.variable}.zero_()" if value.value == 0 else f"{place.variable}.fill_({self.print(value)})"
        return f"{place.variable}.copy_({self.print(value)})"

    def length(self, node: Length) -> str:
        if node.over == "axis":
            return f"_support.length({self.print(node.argument)}, {node.axis})"
        return f"{self.at(node.argument, Precedence.ATOM)}.numel()" if node.over == "tensor" else super().length(node)


class ScalarPrinter(GroupPrinter):
    """A step's scalars. Hyperparameters that always have a value are variables; others, and those `handed_on` as they
    are, are read where they are used."""

    number = ""
    kept = "{0}"
    """A scalar slot's value as what scalars are computed with."""

    def __init__(self, program: Program, names: Names, handed_on: frozenset[str] = frozenset()) -> None:
        super().__init__(program, names)
        self.handed_on = handed_on

    def as_number(self, value: str) -> str:
        """A hyperparameter's value as what scalars are computed with."""
        return self.number.format(value)

    def reference(self, ref: Ref) -> str:
        if ref.kind in (Kind.BEFORE, Kind.SLOT):
            return self.kept.format(self.names.variable(ref.name))
        if ref.kind is Kind.INPUT:
            return self.kept.format(ref.name)
        if ref.kind is not Kind.HYPER:
            return ref.name
        return self.as_number(self.option(ref.name)) if self.is_in_place(ref.name) else self.names.hyper(ref.name)

    def is_in_place(self, name: str) -> bool:
        """Whether a hyperparameter is read where it is used."""
        return self.program.hyper(name).optional or name in OFF or name in self.handed_on


class FloatPrinter(ScalarPrinter):
    """Python's floats, or tensors of float64, as `t` is: in operators that both understand."""

    number = "_support.number({0}, t)"
    infix = {**INFIX, Fn.BOTH: ("&", Precedence.PRODUCT)}
    calls = {
        Fn.WHERE: "_support.where({0}, {1}, {2})", Fn.SQRT: "_support.root({0})",
        Fn.MAXIMUM: "_support.maximum({0}, {1})", Fn.MINIMUM: "_support.minimum({0}, {1})",
        Fn.REMAINDER: "{0} % {1}", Fn.ROUNDING_KEY: "_support.rounding_key({0})",
    }  # fmt: skip

    def __init__(
        self, program: Program, names: Names, handed_on: frozenset[str] = frozenset(), quotient: str = ""
    ) -> None:
        super().__init__(program, names, handed_on)
        self.quotient = quotient

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn is Fn.WHERE:  # both branches are computed, also the one that would divide by zero
            careful = type(self)(self.program, self.names, self.handed_on, "_support.quotient({0}, {1})")
            return self.calls[fn].format(*map(careful.print, arguments)), Precedence.ATOM
        match fn:
            case Fn.DIV if self.quotient:
                return self.quotient.format(*map(self.print, arguments)), Precedence.ATOM
            case Fn.SQUARE:
                return f"{self.at(arguments[0], Precedence.ATOM)} ** 2", Precedence.UNARY
            case Fn.POWER | Fn.POW:
                base, exponent = (self.at(argument, Precedence.ATOM) for argument in arguments)
                return f"{base} ** {exponent}", Precedence.UNARY
            case Fn.ONE_MINUS_POWER:
                base, exponent = map(self.print, arguments)
                return f"_one_minus_power({base}, {exponent})", Precedence.ATOM
        return super().operation(fn, arguments)


class PairPrinter(ScalarPrinter):
    """Double words of the compute dtype."""

    number = kept = "pair({0}, dtype)"
    infix = {fn: INFIX[fn] for fn in CONDITIONS}
    calls = FUNCTIONS | {
        Fn.WHERE: "({1} if {0} else {2})", Fn.MAXIMUM: "max({0}, {1})", Fn.MINIMUM: "min({0}, {1})",
        Fn.BOTH: "({0} and {1})",
    }  # fmt: skip

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in (Fn.POWER, Fn.ONE_MINUS_POWER):
            if not isinstance(arguments[1], Ref) or arguments[1].kind is not Kind.STEP:
                raise UnsupportedOperation("a power of a step's scalar", self.target)
            return self.calls[fn].format(self.print(arguments[0]), "t"), Precedence.ATOM
        if fn is Fn.ROUNDING_KEY:
            return self._key(*arguments), Precedence.ATOM
        if fn is Fn.REMAINDER:
            return self.as_number(self._remainder(*arguments)), Precedence.ATOM
        return super().operation(fn, arguments)

    def _key(self, step: Expression) -> str:
        if step != Ref(Kind.STEP, "t"):
            raise UnsupportedOperation("a key of rounding that is not made of the step's number", self.target)
        return "_support.rounding_key(t)"

    def _remainder(self, step: Expression, divisor: Expression) -> str:
        match step, divisor:
            case Ref(Kind.STEP), Ref(Kind.HYPER, name) if self.program.hyper(name).integer:
                return f"t % {self.option(name)}"
        raise UnsupportedOperation("a remainder of other than the step's number and an integer", self.target)

    def reference(self, ref: Ref) -> str:
        return self.as_number("t") if ref.kind is Kind.STEP else super().reference(ref)

    def literal(self, value: Fraction) -> str:
        return self.as_number(super().literal(value))
