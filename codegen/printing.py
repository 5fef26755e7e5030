"""The base of all printers: tables of operations over one precedence.

A target's printer is a subclass that fills the tables; it overrides methods only for what a table cannot say. What is
in no table is not printed: `UnsupportedOperation` names the operation and the target, before any file is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from fractions import Fraction
from typing import ClassVar

from optloom.spec.errors import Location
from optloom.spec.guards import Guard

from .ir.nodes import Choose, Expression, Fn, Length, Literal, Op, Reduce, Ref


class UnsupportedOperation(Exception):
    """A target does not print an operation (yet)."""

    def __init__(self, what: str, target: str, location: Location | None = None) -> None:
        self.what, self.target, self.location = what, target, location
        super().__init__(f"{f'{location}: ' if location else ''}target {target} does not print {what}")


class Precedence(IntEnum):
    CHOICE = 0
    COMPARISON = 1
    SUM = 2
    PRODUCT = 3
    UNARY = 4
    ATOM = 5


INFIX: Mapping[Fn, tuple[str, Precedence]] = {
    Fn.ADD: ("+", Precedence.SUM),
    Fn.SUB: ("-", Precedence.SUM),
    Fn.MUL: ("*", Precedence.PRODUCT),
    Fn.DIV: ("/", Precedence.PRODUCT),
    Fn.LESS: ("<", Precedence.COMPARISON),
    Fn.LESS_EQUAL: ("<=", Precedence.COMPARISON),
    Fn.EQUAL: ("==", Precedence.COMPARISON),
}


class Printer:
    """Prints expressions. `infix`: symbol and precedence; `calls`: a format string over the printed arguments;
    `rounded_if`: one over a value that is rounded to bfloat16, and the guard under which it is."""

    target: ClassVar[str] = "text"
    infix: ClassVar[Mapping[Fn, tuple[str, Precedence]]] = INFIX
    calls: ClassVar[Mapping[Fn, str]] = {}
    rounded_if: ClassVar[str] = ""

    @classmethod
    def operations(cls) -> frozenset[Fn]:
        """What this printer prints."""
        return frozenset(cls.infix) | frozenset(cls.calls) | {Fn.NEG}

    def print(self, node: Expression) -> str:
        return self.render(node)[0]

    def at(self, node: Expression, least: Precedence) -> str:
        """`node`, in parentheses where it binds more loosely than `least`."""
        text, precedence = self.render(node)
        return text if precedence >= least else f"({text})"

    def render(self, node: Expression) -> tuple[str, Precedence]:
        match node:
            case Literal(value):
                return self.literal(value), Precedence.ATOM if value >= 0 else Precedence.UNARY
            case Ref():
                return self.reference(node), Precedence.ATOM
            case Choose(guard, _, other) if node.only_rounds and self.rounded_if:
                return self.rounded_if.format(self.print(other), self.guard(guard)), Precedence.ATOM
            case Choose(guard, chosen, other):
                return self.choice(guard, chosen, other), Precedence.CHOICE
            case Reduce():
                return self.reduction(node), Precedence.ATOM
            case Length():
                return self.length(node), Precedence.ATOM
            case Op(fn, arguments):
                return self.operation(fn, arguments)

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if fn in self.calls:
            return self.calls[fn].format(*(self.print(argument) for argument in arguments)), Precedence.ATOM
        if fn is Fn.NEG:
            return f"-{self.at(arguments[0], Precedence.UNARY)}", Precedence.UNARY
        if fn in self.infix:
            symbol, precedence = self.infix[fn]
            left = self.at(arguments[0], precedence)
            right = self.at(arguments[1], Precedence(precedence + 1))
            return f"{left} {symbol} {right}", precedence
        what = "slots of the parameter's dtype" if fn is Fn.STORED else f"the operation '{fn}'"
        raise UnsupportedOperation(what, self.target)

    def literal(self, value: Fraction) -> str:
        return str(value.numerator) if value.denominator == 1 else repr(float(value))

    def reference(self, ref: Ref) -> str:
        return ref.name

    def guard(self, guard: Guard) -> str:
        """`guard` as a condition of the target's language."""
        raise UnsupportedOperation("guards", self.target)

    def choice(self, guard: Guard, chosen: Expression, other: Expression) -> str:
        left, right = (self.at(branch, Precedence.COMPARISON) for branch in (chosen, other))
        return f"{left} if {self.guard(guard)} else {right}"

    def reduction(self, node: Reduce) -> str:
        raise UnsupportedOperation(f"a reduction over {node.over}", self.target)

    def length(self, node: Length) -> str:
        raise UnsupportedOperation(f"a length over {node.over}", self.target)
