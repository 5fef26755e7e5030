"""The functions of the language, beside + - * / ** and abs.

Each is handed to the interpreter that made its arguments: the tracer turns it into a SymPy Function of that name
(never evaluated, never reordered), the oracle computes it.
"""

from __future__ import annotations

from typing import Any, Literal

from .declarations import OptionView, Value
from .errors import SpecError, author_location
from .guards import Always, And, Flag, Given, Guard, HasAxes, Is, Narrow, Not

Scope = Literal["tensor", "tensors"]


def _call(function: str, *arguments: Any, **settings: Any) -> Any:
    for argument in arguments:
        handler = getattr(argument, "__rule_function__", None)
        if handler is not None:
            return handler(function, arguments, settings)
    raise SpecError(f"{function} needs a value of the rule among its arguments", author_location())


def sqrt(x: Value) -> Value:
    """The square root; NaN below zero."""
    return _call("sqrt", x)  # type: ignore[no-any-return]


def maximum(a: Value | float, b: Value | float) -> Value:
    """The greater of two; NaN if either is."""
    return _call("maximum", a, b)  # type: ignore[no-any-return]


def minimum(a: Value | float, b: Value | float) -> Value:
    """The smaller of two; NaN if either is."""
    return _call("minimum", a, b)  # type: ignore[no-any-return]


def sign(x: Value) -> Value:
    """-1, 0 or 1; NaN of NaN."""
    return _call("sign", x)  # type: ignore[no-any-return]


def exp(x: Value) -> Value:
    return _call("exp", x)  # type: ignore[no-any-return]


def log(x: Value) -> Value:
    return _call("log", x)  # type: ignore[no-any-return]


def tanh(x: Value) -> Value:
    return _call("tanh", x)  # type: ignore[no-any-return]


def equal(a: Value | float, b: Value | float) -> Value:
    """A condition on values, for `where`."""
    return _call("equal", a, b)  # type: ignore[no-any-return]


def both(a: Value, b: Value) -> Value:
    """Both conditions hold."""
    return _call("both", a, b)  # type: ignore[no-any-return]


def remainder(t: Value, k: Value | float) -> Value:
    """The remainder of the step's number divided by an integer."""
    return _call("remainder", t, k)  # type: ignore[no-any-return]


def stochastically_rounded(x: Value, t: Value) -> Value:
    """`x` rounded to the parameter's dtype: to one of the two numbers beside it, by a chance that makes the mean `x`.

    The chance is drawn from a counter: update `t`, a whole number, and the element's row-major index in its tensor. Of
    float32 and float64 parameters, whose arithmetic is their own dtype, it is `x` itself.
    """
    return _call("stochastically_rounded", x, t)  # type: ignore[no-any-return]


def bfloat16(x: Value) -> Value:
    """`x` rounded to bfloat16's 8 digits, ties to even; a number of the compute dtype again."""
    return _call("bfloat16", x)  # type: ignore[no-any-return]


def where(condition: Guard | OptionView | Value, a: Value | float, b: Value | float) -> Value:
    """`a` where `condition` holds, else `b`.

    A guard (an option, `.is_`, `.given`, `self.factored`) is decided before the step runs, and only the branch
    chosen is ever computed; a condition on values is decided element by element.
    """
    if isinstance(condition, OptionView):
        condition = condition.guard
    if isinstance(condition, (Always, Flag, Is, Given, HasAxes, Narrow, Not, And)):
        return _call("choose", a, b, guard=condition)  # type: ignore[no-any-return]
    return _call("where", condition, a, b)  # type: ignore[no-any-return]


def total(x: Value, over: Scope = "tensor", axis: int | None = None) -> Value:
    """The sum over one tensor, over all tensors of the optimizer, or along an axis (kept with length 1)."""
    return _call("total", x, over=over, axis=axis)  # type: ignore[no-any-return]


def mean(x: Value, over: Scope = "tensor", axis: int | None = None) -> Value:
    """As `total`, divided by the number of elements."""
    return _call("mean", x, over=over, axis=axis)  # type: ignore[no-any-return]


def norm(x: Value, over: Scope = "tensor") -> Value:
    """The square root of the sum of squares."""
    return _call("norm", x, over=over)  # type: ignore[no-any-return]


def largest(x: Value, axis: int) -> Value:
    """The greatest number along an axis (kept with length 1); NaN if any is."""
    return _call("largest", x, axis=axis)  # type: ignore[no-any-return]


def matmul(a: Value, b: Value) -> Value:
    """The product of two matrices (the last two axes)."""
    return _call("matmul", a, b)  # type: ignore[no-any-return]


def transpose(a: Value) -> Value:
    """The last two axes swapped."""
    return _call("transpose", a)  # type: ignore[no-any-return]


def length(x: Value, axis: int) -> Value:
    """The length of an axis of `x`, a whole number."""
    return _call("length", x, axis=axis)  # type: ignore[no-any-return]


def old(slot: Value) -> Value:
    """The value that a slot had before this step assigned it."""
    return _call("old", slot)  # type: ignore[no-any-return]
