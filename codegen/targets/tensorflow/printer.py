"""Printing for TensorFlow: tensors as `tf` expressions; step scalars as float64 tensors, or as double words."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from optloom.spec.guards import ALWAYS, Always, And, Flag, Given, Guard, HasAxes, Is, Narrow, Not, exact_axes

from ...double_word import FUNCTIONS
from ...ir.nodes import Expression, Fn, Hyperparameter, Kind, Length, Literal, Op, Program, Rate, Reduce, Ref
from ...passes.rates import Environment, rate_of
from ...printing import Precedence, Printer, UnsupportedOperation

CALLS = {
    Fn.SQUARE: "tf.square({0})", Fn.SQRT: "tf.sqrt({0})", Fn.ABS: "tf.abs({0})", Fn.SIGN: "tf.sign({0})",
    Fn.MAXIMUM: "_support.maximum({0}, {1})", Fn.MINIMUM: "_support.minimum({0}, {1})", Fn.EXP: "tf.exp({0})",
    Fn.LOG: "tf.math.log({0})", Fn.TANH: "tf.tanh({0})", Fn.WHERE: "tf.where({0}, {1}, {2})",
    Fn.BOTH: "tf.logical_and({0}, {1})", Fn.EQUAL: "tf.equal({0}, {1})", Fn.MATMUL: "tf.matmul({0}, {1})",
    Fn.TRANSPOSE: "tf.linalg.matrix_transpose({0})", Fn.POW: "tf.pow({0}, {1})",
}  # fmt: skip
HELPERS = {Fn.ONE_MINUS_POWER: "one_minus_power"}
"""Operations that are printed as functions of the file itself, by the name of the template that holds them."""

ALIKE = (Fn.WHERE, Fn.MAXIMUM, Fn.MINIMUM, Fn.POW)
"""Operations whose operands must be of one dtype, literals too."""

CONDITIONS = (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.BOTH)
"""Operations whose value is true or false."""

TURNED = {Fn.LESS: ">", Fn.LESS_EQUAL: ">="}
"""Comparisons, by their sign with the sides exchanged: a number stands on the right."""

# Stages that Keras's base class knows: the condition that it adds for a variable.
EXTRA_CONDITIONS = {"weight_decay": "self._use_weight_decay(variable)"}


def may_be_none(hyper: Hyperparameter) -> bool:
    return hyper.optional and hyper.off is None


class TensorFlowPrinter(Printer):
    """Guards as Python conditions on the optimizer's attributes and the variable's axes."""

    target = "tensorflow"
    calls = CALLS
    extra_conditions: dict[str, str] = {}

    def __init__(self, program: Program) -> None:
        self.program = program

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in TURNED and fn in self.infix and isinstance(arguments[0], Literal):
            left, right = (self.at(argument, Precedence.SUM) for argument in reversed(arguments))
            return f"{left} {TURNED[fn]} {right}", Precedence.COMPARISON
        return super().operation(fn, arguments)

    def alike(self, fn: Fn, arguments: tuple[Expression, ...], literal: str) -> str:
        """A call whose operands are of one dtype. `literal`: how a number is made a tensor."""
        texts = [self.print(argument) for argument in arguments]
        for index, argument in enumerate(arguments):
            if isinstance(argument, Literal):
                texts[index] = literal.format(texts[index])
        return self.calls[fn].format(*texts)

    def condition(self, guard: Guard) -> str:
        """`guard` as the condition of an `if`; empty where none is needed."""
        return "" if guard == ALWAYS else self.guard(guard)

    def guard(self, guard: Guard) -> str:
        match guard:
            case Always():
                return "True"
            case Flag(option):
                return f"self.{option}"
            case Is(option, value):
                return f"self.{option} == {value!r}"
            case Given(hyper):
                return self._given(hyper)
            case HasAxes(count):
                return f"len(variable.shape) >= {count}"
            case Narrow():
                return "_support.is_narrow(variable)"
            case Not(HasAxes(count)):
                return f"len(variable.shape) < {count}"
            case And() if (exact := exact_axes(guard)) is not None:
                return f"len(variable.shape) == {exact}"
            case Not(And() as inner) if (exact := exact_axes(inner)) is not None:
                return f"len(variable.shape) != {exact}"
            case Not(inner):
                return f"not ({self.guard(inner)})"
            case And(parts):
                return " and ".join(self.guard(part) for part in parts)

    def _given(self, hyper: str) -> str:
        off = self.program.hyper(hyper).off
        given = f"self.{hyper} is not None" if off is None else f"_support.given(self.{hyper}, off={off:g})"
        extra = self.extra_conditions.get(hyper)
        return f"{given} and {extra}" if extra else given


class TensorPrinter(TensorFlowPrinter):
    """Values of an element's rate, or (`per_tensor`) of a tensor's: float64, rounded where they meet elements.

    `of_all`: the names of what is known of all variables together, members of `k`.
    """

    calls = CALLS | {
        Fn.EXACT: "k.exact({0})",
        Fn.BFLOAT16: "_support.bfloat16({0})",
        Fn.STOCHASTICALLY_ROUNDED: "_support.stochastically_rounded({0}, {1}, variable.dtype)",
    }
    rounded_if = "_support.bfloat16({0}, {1})"
    extra_conditions = EXTRA_CONDITIONS

    def __init__(
        self, program: Program, rates: Environment, per_tensor: bool = False, of_all: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(program)
        self.rates, self.per_tensor, self.of_all = rates, per_tensor, of_all
        statements = (s for region in program.regions for s in (*region.scalars, *region.statements))
        self.conditions = {s.defines for s in statements if is_condition(s.value)}

    def at_rate(self, per_tensor: bool) -> TensorPrinter:
        return TensorPrinter(self.program, self.rates, per_tensor, self.of_all)

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.SUM:
            return f'sums["{ref.name}"]'
        is_of_all = ref.kind in (Kind.LET, Kind.SLOT) and ref.name in self.of_all
        text = f"k.{ref.name}" if ref.kind is Kind.SCALAR or is_of_all else ref.name
        is_wide = ref.kind is Kind.LET and self.rates[ref.kind, ref.name].is_per_tensor
        return text if is_wide == self.per_tensor or ref.name in self.conditions else self._cast(text)

    def _cast(self, text: str) -> str:
        return f"tf.cast({text}, {self._dtype})"

    @property
    def _dtype(self) -> str:
        return "tf.float64" if self.per_tensor else "k.dtype"

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if self.per_tensor and fn is Fn.EXACT:
            return self.render(arguments[0])
        if fn in ALIKE:
            return self.alike(fn, arguments, f"tf.constant({{0}}, {self._dtype})"), Precedence.ATOM
        return super().operation(fn, arguments)

    def reduction(self, node: Reduce) -> str:
        """A sum: in float64, or along an axis, where it is one of many, in the elements' dtype."""
        if node.over == "tensors":
            return super().reduction(node)
        elements, along = self.at_rate(per_tensor=False), ""
        if node.over == "axis":
            along = f", axis={node.axis}, keepdims=True"
            if node.to == "largest":
                return f"tf.reduce_max({self.print(node.argument)}{along})"
            if not self.per_tensor:
                return f"tf.reduce_sum({self.print(node.argument)}{along})"
        match node.argument:
            case Op(Fn.SQUARE, (x,)):  # formed in the accumulator's dtype, so that a norm does not overflow
                total = f"tf.reduce_sum(tf.square(tf.cast({elements.print(x)}, tf.float64)){along})"
            case _:
                total = f"tf.reduce_sum(tf.cast({elements.print(node.argument)}, tf.float64){along})"
        return total if self.per_tensor else self._cast(total)

    def length(self, node: Length) -> str:
        if node.over == "tensors":
            return super().length(node)
        argument = self.at_rate(per_tensor=False).print(node.argument)
        return self._cast(f"tf.shape({argument})[{node.axis}]" if node.over == "axis" else f"tf.size({argument})")

    def is_per_tensor(self, node: Expression) -> bool:
        rate = rate_of(node, self.rates)
        return rate != Rate.BUILT and rate.is_per_tensor


def is_condition(node: Expression) -> bool:
    return isinstance(node, Op) and node.fn in CONDITIONS


class BetweenPrinter(TensorPrinter):
    """What is known of all variables together, between passes over them: no variable is at hand."""

    extra_conditions = {}


class ScalarPrinter(TensorFlowPrinter):
    """A step's scalars. `handed_on`: hyperparameters that go into one of them as they are, read where they are used."""

    def __init__(self, program: Program, handed_on: frozenset[str] = frozenset()) -> None:
        super().__init__(program)
        self.handed_on = handed_on

    def is_in_place(self, hyper: Hyperparameter) -> bool:
        """Whether a hyperparameter is read where it is used: the others are variables."""
        return may_be_none(hyper) or hyper.name in self.handed_on


class FastScalarPrinter(ScalarPrinter):
    """A step's scalars as float64 tensors."""

    calls = CALLS | {
        Fn.POWER: "tf.pow({0}, {1})",
        Fn.ONE_MINUS_POWER: "_one_minus_power({0}, {1})",
        Fn.REMAINDER: "tf.math.floormod({0}, {1})",
        Fn.ROUNDING_KEY: "_support.rounding_key({0})",
    }

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn is Fn.POWER and isinstance(arguments[0], Literal):  # of a number alone, graphs would make a float32
            base = f"_support.float64({self.print(arguments[0])})"
            return self.calls[fn].format(base, self.print(arguments[1])), Precedence.ATOM
        if fn in ALIKE:
            return self.alike(fn, arguments, "_support.float64({0})"), Precedence.ATOM
        return super().operation(fn, arguments)

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.HYPER and self.is_in_place(self.program.hyper(ref.name)):
            return f'self._value("{ref.name}")'
        return ref.name


DECISIONS: Mapping[Fn, tuple[str, frozenset[str]]] = {
    Fn.LESS: ("less({0}, {1})", frozenset({"less"})),
    Fn.LESS_EQUAL: ("less_equal({0}, {1})", frozenset({"less", "less_equal"})),
    Fn.EQUAL: ("equal({0}, {1})", frozenset({"equal"})),
    Fn.WHERE: ("choose({0}, {1}, {2})", frozenset({"where", "choose"})),
    Fn.MAXIMUM: ("maximum({0}, {1})", frozenset({"where", "choose", "less", "maximum"})),
    Fn.MINIMUM: ("minimum({0}, {1})", frozenset({"where", "choose", "less", "minimum"})),
}
"""Comparisons of pairs, and choices between them: how they are called, and the functions that they need."""

PAIRS: dict[Fn, str] = {fn: f"double.{text}" for fn, text in FUNCTIONS.items()}
PAIRS |= {fn: f"double.{text}" for fn, (text, _) in DECISIONS.items()} | {Fn.BOTH: "{0} & {1}"}
"""Operations on pairs: functions of the generated module `double`."""


class StrictScalarPrinter(ScalarPrinter):
    """A step's scalars as pairs of the compute dtype."""

    infix = {}
    calls = PAIRS

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in (Fn.POWER, Fn.ONE_MINUS_POWER):
            if arguments[1] != Ref(Kind.STEP, "t"):
                raise UnsupportedOperation("a power to another exponent than the step's number", self.target)
            return self.calls[fn].format(self.print(arguments[0]), "t"), Precedence.ATOM
        if fn is Fn.ROUNDING_KEY and arguments == (Ref(Kind.STEP, "t"),):
            return "_support.rounding_key(t)", Precedence.ATOM
        if fn is Fn.REMAINDER:
            return f"double.pair({self._remainder(*arguments)})", Precedence.ATOM
        return super().operation(fn, arguments)

    def _remainder(self, step: Expression, divisor: Expression) -> str:
        match step, divisor:
            case Ref(Kind.STEP), Ref(Kind.HYPER, name) if self.program.hyper(name).integer:
                return f"t % self.{name}"
        raise UnsupportedOperation("a remainder of other than the step's number and an integer", self.target)

    def literal(self, value: Fraction) -> str:
        return f"double.pair({super().literal(value)})"

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.STEP:
            return "double.pair(t)"
        if ref.kind is Kind.HYPER and self.is_in_place(self.program.hyper(ref.name)):
            return f'double.pair(self._value("{ref.name}"))'
        return ref.name


NESTINGS = frozenset(
    # XLA contracts a product and a sum to one rounding, also through a minus sign.
    {(outer, inner) for outer in (Fn.ADD, Fn.SUB) for inner in (Fn.MUL, Fn.SQUARE, Fn.NEG)}
    # Grappler flattens sums, and moves scalar factors together; XLA merges quotients; both know rsqrt.
    | {(Fn.ADD, Fn.ADD), (Fn.MUL, Fn.MUL), (Fn.DIV, Fn.DIV), (Fn.DIV, Fn.SQRT)}
)
"""Of all nestings of two basic operations, on tensors and scalars, those whose bits `tf.function` or XLA change."""
