"""Printing for C++ and CUDA: elements in the compute dtype `C`, values per tensor in float64, step scalars in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from optloom.spec.guards import Guard

from ..ir.nodes import Choose, Expression, Fn, Kind, Length, Op, Ref
from ..printing import Precedence, Printer, UnsupportedOperation

COMPARISONS = (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.BOTH)
CONDITION = "{0} ? {1} : {2}"


GIVEN_FOR = {Kind.HYPER: "row", Kind.SCALAR: "k"}


class CPrinter(Printer):
    """`guard`: prints a guard where the expression stands. `helpers`: the functions that the file must define."""

    target = "c"
    calls = {
        Fn.SQRT: "sqrt({0})", Fn.ABS: "abs({0})", Fn.SQUARE: "square({0})", Fn.SIGN: "sign({0})",
        Fn.MAXIMUM: "maximum({0}, {1})", Fn.MINIMUM: "minimum({0}, {1})", Fn.POW: "pow({0}, {1})",
        Fn.STOCHASTICALLY_ROUNDED: "stochastically_rounded({0}, at, {1})", Fn.STORED: "stored<T>({0})",
        Fn.BFLOAT16: "nearest_bfloat16({0})",
    }  # fmt: skip
    rounded_if = "nearest_bfloat16({0}, {1})"

    def __init__(self, guard: Callable[[Guard], str], helpers: set[str]) -> None:
        self.guard_text, self.helpers = guard, helpers

    def guard(self, guard: Guard) -> str:
        return self.guard_text(guard)

    def choice(self, guard: Guard, chosen: Expression, other: Expression) -> str:
        branches = (self.at(branch, Precedence.COMPARISON) for branch in (chosen, other))
        return CONDITION.format(self.guard(guard), *branches)

    def render(self, node: Expression) -> tuple[str, Precedence]:
        if isinstance(node, Choose) and node.only_rounds:
            self.helpers.add(Fn.BFLOAT16.value)
        return super().render(node)

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        self.helpers.add(fn.value)
        if fn in (Fn.BOTH, Fn.WHERE):
            parts = [self.at(argument, Precedence.COMPARISON) for argument in arguments]
            return " && ".join(parts) if fn is Fn.BOTH else CONDITION.format(*parts), Precedence.CHOICE
        return super().operation(fn, arguments)


class ElementPrinter(CPrinter):
    """Values of one element. `shared`: how it reads what it shares with others of its row or tensor."""

    def __init__(self, guard: Callable[[Guard], str], helpers: set[str], shared: Mapping[Ref, str]) -> None:
        super().__init__(guard, helpers)
        self.shared = shared

    def literal(self, value: Fraction) -> str:
        return f"C({super().literal(value)})"

    def reference(self, ref: Ref) -> str:
        return f"k.{ref.name}" if ref.kind is Kind.SCALAR else self.shared.get(ref, local(ref.name))

    def given(self, ref: Ref) -> str:
        """The struct that holds the value; empty for the element's own."""
        if ref.kind in GIVEN_FOR:
            return GIVEN_FOR[ref.kind]
        return self.shared[ref].partition(".")[0] if ref in self.shared else ""

    def term(self, node: Expression, number: str) -> str:
        """What a sum adds up, in the accumulator's type `number`: a product is taken in it, and so cannot overflow."""
        match node:
            case Op(Fn.SQUARE, (x,)):
                self.helpers.add(Fn.SQUARE.value)
                return f"square({number}({self.print(x)}))"
            case Op(Fn.MUL, (a, b)):
                return f"{number}({self.print(a)}) * {number}({self.print(b)})"
        return f"{number}({self.print(node)})"


class TensorPrinter(CPrinter):
    """Values of one tensor or row, known between two passes over the elements. `number`: the type that holds them;
    `literal_format`: how it is made of a literal. `totals`: the sums over all tensors. `shapes`: of slots."""

    def __init__(
        self, guard: Callable[[Guard], str], helpers: set[str], number: str, literal_format: str,
        totals: frozenset[str], shapes: Mapping[str, str],
    ) -> None:  # fmt: skip
        super().__init__(guard, helpers)
        self.number, self.literal_format, self.totals, self.shapes = number, literal_format, totals, shapes

    def literal(self, value: Fraction) -> str:
        return self.literal_format.format(repr(float(value)))

    def reference(self, ref: Ref) -> str:
        match ref.kind:
            case Kind.SCALAR:
                return f"{self.number}(k.{ref.name})"
            case Kind.SUM:
                return f"{'total' if ref.name in self.totals else 'sum'}[{ref.name}]"
            case Kind.LET:
                return local(ref.name)
            case Kind.SLOT | Kind.BEFORE if self.shapes[ref.name] == "scalar":
                return f"{self.number}(row.{ref.name})"
            case Kind.SLOT | Kind.BEFORE:
                return f"{self.number}(*{local(ref.name)})"
        raise UnsupportedOperation(f"'{ref.name}' in a value per tensor", self.target)

    def length(self, node: Length) -> str:
        names = {"tensor": "size", "axis": "columns" if node.axis == -1 else "rows"}
        return f"{self.number}({names[node.over]})" if node.over in names else super().length(node)


class ScalarPrinter(CPrinter):
    """A step's scalars: pairs of `C`, by operators on pairs. `integers`: the hyperparameters that are whole numbers."""

    calls = {
        Fn.SQRT: "sqrt({0})", Fn.SQUARE: "square({0})", Fn.POW: "real_power({0}, {1})",
        Fn.POWER: "power({0}, {1})",
        Fn.ONE_MINUS_POWER: "one_minus_power({0}, {1})",
        Fn.MAXIMUM: "greater({0}, {1})", Fn.MINIMUM: "lesser({0}, {1})",
    }  # fmt: skip

    def __init__(self, guard: Callable[[Guard], str], helpers: set[str], integers: frozenset[str]) -> None:
        super().__init__(guard, helpers)
        self.integers = integers

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in (Fn.POWER, Fn.ONE_MINUS_POWER):
            if arguments[1] != Ref(Kind.STEP, "t"):
                raise UnsupportedOperation("a power of other than the step's number", self.target)
            return self.calls[fn].format(self.print(arguments[0]), "row.t"), Precedence.ATOM
        if fn is Fn.ROUNDING_KEY:
            return f"rounding_key({self._whole(arguments[0])})", Precedence.ATOM
        if fn is Fn.REMAINDER:
            return f"pair<C>(double({' % '.join(self._whole(argument) for argument in arguments)}))", Precedence.ATOM
        return super().operation(fn, arguments)

    def _whole(self, node: Expression) -> str:
        """A whole number, as a member of the row."""
        match node:
            case Ref(Kind.STEP, name):
                return f"row.{name}"
            case Ref(Kind.HYPER, name) if name in self.integers:
                return f"row.{name}"
        raise UnsupportedOperation("a remainder of other than whole numbers", self.target)

    def literal(self, value: Fraction) -> str:
        return f"pair<C>({super().literal(value)})"

    def reference(self, ref: Ref) -> str:
        if ref.kind is Kind.STEP:
            return "pair<C>(double(row.t))"
        if ref.kind in (Kind.HYPER, Kind.LET):
            return local(ref.name)
        if ref.kind in (Kind.BEFORE, Kind.SLOT, Kind.INPUT):
            return f"pair<C>(row.{ref.name})"
        raise UnsupportedOperation(f"'{ref.name}' in a step's scalar", self.target)


def is_condition(node: Expression) -> bool:
    return isinstance(node, Op) and node.fn in COMPARISONS


def is_word(node: Expression) -> bool:
    """Whether a step's scalar is a word of bits, no number."""
    return isinstance(node, Op) and node.fn is Fn.ROUNDING_KEY


KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr const_cast
    continue decltype default delete do double dynamic_cast else enum explicit export extern false float for friend
    goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast return short signed sizeof static static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor
    xor_eq"""
OWN_NAMES = """
    C T abs at block columns every_call greater i j k kept lane lesser load matrices maximum minimum n one_minus_power
    options pair pow power product real_power rounded rounding_key row rows
    scale scratch sign size sqrt square start step stochastically_rounded store sum
    sums term tile total update working x"""
RESERVED = frozenset((KEYWORDS + OWN_NAMES).split())
"""What a variable of a rule may not be called: C++'s words, and those of the templates."""


def local(name: str) -> str:
    """`name` as a variable of C++."""
    return f"the_{name}" if name in RESERVED else name
