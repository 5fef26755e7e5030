"""Names for values that a pass takes out of an expression: they say what the value is."""

from __future__ import annotations

from fractions import Fraction

from optloom.spec.guards import describe

from .nodes import Choose, Expression, Fn, Length, Literal, Op, Reduce, Ref

JOINED = {
    Fn.ADD: "plus", Fn.SUB: "minus", Fn.MUL: "times", Fn.DIV: "over", Fn.MAXIMUM: "or_greater", Fn.MINIMUM: "or_less",
    Fn.LESS: "below", Fn.LESS_EQUAL: "at_most", Fn.EQUAL: "equals", Fn.BOTH: "and", Fn.REMAINDER: "modulo",
    Fn.POW: "to_the", Fn.POWER: "to_the", Fn.MATMUL: "by",
}  # fmt: skip
PREFIXED = {
    Fn.NEG: "minus", Fn.SQUARE: "squared", Fn.SQRT: "root_of", Fn.ABS: "size_of", Fn.SIGN: "sign_of", Fn.EXP: "exp_of",
    Fn.LOG: "log_of", Fn.TANH: "tanh_of", Fn.EXACT: "exact", Fn.TRANSPOSE: "transposed", Fn.WHERE: "chosen",
    Fn.STORED: "stored", Fn.ONE_MINUS_POWER: "one_minus_power_of", Fn.STOCHASTICALLY_ROUNDED: "rounded",
    Fn.BFLOAT16: "bfloat16_of",
}  # fmt: skip
NUMBERS = {0: "zero", 1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def descriptive_name(node: Expression) -> str:
    """A Python and C identifier for the value of `node`: `one_minus_beta_1`, `weight_decay_times_learning_rate`."""
    match node:
        case Ref(_, name):
            return name
        case Literal(value):
            return _number(value)
        case Op(Fn.ROUNDING_KEY):
            return str(Fn.ROUNDING_KEY)
        case Op(Fn.DIV, (Literal(one), denominator)) if one == 1:
            return f"inverse_{descriptive_name(denominator)}"
        case Op(fn, arguments) if fn in JOINED:
            return f"_{JOINED[fn]}_".join(descriptive_name(argument) for argument in arguments)
        case Op(fn, arguments):
            return f"{PREFIXED[fn]}_{descriptive_name(arguments[0])}"
        case Choose(guard, chosen, _):
            condition = "".join(c if c.isalnum() else "_" for c in describe(guard))
            return f"{descriptive_name(chosen)}_if_{condition}"
        case Reduce(argument):
            return f"{node.to}_of_{descriptive_name(argument)}"
        case Length(argument):
            return f"length_of_{descriptive_name(argument)}"


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name_2`, `name_3`, ... if it is taken; adds it to `taken`."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _number(value: Fraction) -> str:
    if value.denominator == 1 and int(value) in NUMBERS:
        return NUMBERS[int(value)]
    exact = value == Fraction(repr(float(value)))
    digits = repr(float(value)) if exact else f"{value.numerator}_over_{value.denominator}"
    return "number_" + "".join(c if c.isalnum() else "_" for c in digits.replace("-", "minus_"))
