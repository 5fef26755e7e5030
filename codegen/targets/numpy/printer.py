"""Printing for NumPy: tensors as array expressions, step scalars as double words."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from optloom.spec.guards import Always, And, Flag, Given, Guard, HasAxes, Is, Narrow, Not

from ...double_word import FUNCTIONS
from ...ir.nodes import Expression, Fn, Kind, Length, Literal, Op, Program, Rate, Reduce, Ref
from ...printing import INFIX, Precedence, Printer, UnsupportedOperation


class NumpyGuards(Printer):
    """Guards as Python conditions on the optimizer's attributes and the parameter's axes."""

    target = "numpy"
    parameter = "parameter"
    """What the parameter is called, as it was given."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def guard(self, guard: Guard) -> str:
        match guard:
            case Always():
                return "True"
            case Flag(option):
                return f"self.{option}"
            case Is(option, value):
                return f"self.{option} == {value!r}"
            case Given(hyper):
                off = self.program.hyper(hyper).off
                return f"self.{hyper} is not None" if off is None else f"self.{hyper} != {off:g}"
            case HasAxes(count):
                return f"w.ndim >= {count}"
            case Not(HasAxes(count)):
                return f"w.ndim < {count}"
            case Narrow():
                return f"{self.parameter}.dtype != dtype"
            case Not(inner):
                return f"not ({self.guard(inner)})"
            case And(parts):
                return " and ".join(self.guard(part) for part in parts)


class TensorPrinter(NumpyGuards):
    """Values of a tensor's rate. `rate`: that of a reference, by kind and name; per-tensor values are float64."""

    calls = {
        Fn.SQUARE: "np.square({0})", Fn.SQRT: "np.sqrt({0})", Fn.ABS: "np.abs({0})", Fn.SIGN: "np.sign({0})",
        Fn.MAXIMUM: "np.maximum({0}, {1})", Fn.MINIMUM: "np.minimum({0}, {1})", Fn.EXP: "np.exp({0})",
        Fn.LOG: "np.log({0})", Fn.TANH: "np.tanh({0})", Fn.WHERE: "np.where({0}, {1}, {2})",
        Fn.BOTH: "np.logical_and({0}, {1})", Fn.MATMUL: "np.matmul({0}, {1})",
        Fn.TRANSPOSE: "np.swapaxes({0}, -1, -2)", Fn.EXACT: "{0}", Fn.POW: "np.power({0}, {1})",
        Fn.BFLOAT16: "bfloat16({0})",
        Fn.STOCHASTICALLY_ROUNDED: "stochastically_rounded({0}, {1}, parameter.dtype)",
    }  # fmt: skip
    rounded_if = "bfloat16({0}, {1})"

    def __init__(self, program: Program, rate: Callable[[Expression], Rate], per_tensor: bool = False) -> None:
        super().__init__(program)
        self.rate, self.per_tensor = rate, per_tensor
        statements = (s for region in program.regions for s in region.statements)
        self.stored = {s.defines for s in statements if isinstance(s.value, Op) and s.value.fn is Fn.STORED}

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.SCALAR:
            return f"k.{ref.name}"
        if ref.kind is Kind.INPUT:
            return f"inputs[{ref.name!r}].astype(dtype, copy=False)"
        if ref.kind is Kind.SLOT and self.program.slot(ref.name).shape == "scalar":
            return f"np.float64(k.{ref.name})" if self.per_tensor else f"k.{ref.name}"
        if ref.kind in (Kind.BEFORE, Kind.SLOT):
            slot = f"slots.{ref.name}"
            if self.is_narrow(ref):
                return f"{slot}.astype(dtype)"
            return f"np.float64({slot})" if self.per_tensor and self.rate(ref).is_per_tensor else slot
        if ref.kind is Kind.SUM:
            return f"k.sums.{ref.name}"
        if ref.kind is Kind.LET and self.rate(ref).is_of_all:
            return f"k.{ref.name}" if self.per_tensor else f"dtype(k.{ref.name})"
        if not self.per_tensor and self.rate(ref).is_per_tensor:
            return f"dtype({ref.name})"
        return f"{ref.name}.astype(dtype)" if self.is_narrow(ref) else ref.name

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn is Fn.WHERE and not self.per_tensor and all(isinstance(branch, Literal) for branch in arguments[1:]):
            chosen, other = (f"dtype({self.print(branch)})" for branch in arguments[1:])
            return self.calls[fn].format(self.print(arguments[0]), chosen, other), Precedence.ATOM
        if fn is Fn.STORED:
            return f"{self.at(arguments[0], Precedence.ATOM)}.astype(parameter.dtype)", Precedence.ATOM
        return super().operation(fn, arguments)

    def is_narrow(self, ref: Ref) -> bool:
        """Whether `ref` is an array of the parameter's dtype: a slot that is kept in it, or the new value of one."""
        if ref.kind in (Kind.BEFORE, Kind.SLOT):
            return self.program.slot(ref.name).storage == "parameter"
        return ref.kind is Kind.LET and ref.name in self.stored

    def reduction(self, node: Reduce) -> str:
        if node.to == "largest":
            return f"np.max({self.print(node.argument)}, axis={node.axis}, keepdims=True)"
        argument = self.accumulated(node.argument)
        return f"_total({argument})" if node.over == "tensor" else f"_total_along({argument}, {node.axis}, dtype)"

    def accumulated(self, node: Expression) -> str:
        """What a sum adds up: products are formed in the accumulator's dtype, so that a norm does not overflow."""
        elements = TensorPrinter(self.program, self.rate)
        match node:
            case Op(Fn.SQUARE, (x,)):
                return f"np.square({elements.print(x)}, dtype=np.float64)"
            case Op(Fn.MUL, (a, b)):
                return f"np.multiply({elements.print(a)}, {elements.print(b)}, dtype=np.float64)"
        return elements.print(node)

    def length(self, node: Length) -> str:
        argument = TensorPrinter(self.program, self.rate).at(node.argument, Precedence.ATOM)
        return f"{argument}.size" if node.over == "tensor" else f"{argument}.shape[{node.axis}]"


class ScalarPrinter(NumpyGuards):
    """A step's scalars, as pairs. Comparisons of pairs are comparisons of tuples."""

    infix = {fn: INFIX[fn] for fn in (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL)}
    calls = FUNCTIONS | {
        Fn.MAXIMUM: "max({0}, {1})", Fn.MINIMUM: "min({0}, {1})", Fn.WHERE: "({1} if {0} else {2})",
        Fn.BOTH: "({0} and {1})",
    }  # fmt: skip

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in (Fn.POWER, Fn.ONE_MINUS_POWER):
            return self.calls[fn].format(self.print(arguments[0]), self._whole(arguments[1])), Precedence.ATOM
        if fn is Fn.ROUNDING_KEY:
            return f"rounding_key({self._whole(arguments[0])})", Precedence.ATOM
        if fn is Fn.REMAINDER:
            return f"pair({self._whole(arguments[0])} % {self._whole(arguments[1])}, dtype)", Precedence.ATOM
        return super().operation(fn, arguments)

    def _whole(self, node: Expression) -> str:
        """A whole number, as Python's integer."""
        match node:
            case Ref(Kind.STEP):
                return "t"
            case Ref(Kind.HYPER, name) if self.program.hyper(name).integer:
                return f"self.{name}"
        raise UnsupportedOperation("an exponent or remainder that is no whole number", self.target)

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.STEP:
            return "pair(t, dtype)"
        if ref.kind in (Kind.BEFORE, Kind.SLOT):
            return f"pair(slots.{ref.name}, dtype)"
        return f"pair(inputs[{ref.name!r}], dtype)" if ref.kind is Kind.INPUT else ref.name

    def literal(self, value: Fraction) -> str:
        return f"pair({super().literal(value)}, dtype)"


def is_pair(node: Expression) -> bool:
    """Whether a step's scalar is a number, no condition and no word of bits."""
    others = (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.BOTH, Fn.ROUNDING_KEY)
    return not (isinstance(node, Op) and node.fn in others)
