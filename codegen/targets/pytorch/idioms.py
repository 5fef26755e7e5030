"""PyTorch's in-place idioms, for fast code: `m.mul_(b).add_(g, alpha=a)` where strict code says `m = b * m + a * g`.

An operation writes into its left operand where nobody reads that afterwards: the slot or parameter that is being
stored, or a temporary tensor. A factor that is a step's scalar goes along as `alpha=` or `value=`.
"""

from __future__ import annotations

from ...ir.nodes import Expression, Fn, Kind, Op, Rate, Reduce, Ref, references
from ...printing import Precedence
from .printer import EXTREMES, Place, TensorPrinter

BINARY = {Fn.ADD: "add_", Fn.SUB: "sub_", Fn.MUL: "mul_", Fn.DIV: "div_"}
UNARY = {Fn.SQRT: "sqrt", Fn.ABS: "abs", Fn.NEG: "neg", Fn.SQUARE: "square"}
COMMUTING = {Fn.ADD, Fn.MUL, *EXTREMES}


class IdiomPrinter(TensorPrinter):
    calls = {fn: call for fn, call in TensorPrinter.calls.items() if fn is not Fn.SQRT}
    total = "_support.total({0})"

    def stored(self, place: Place, value: Expression) -> str:
        return self._chain(place, value) or super().stored(place, value)

    def _chain(self, place: Place, node: Expression) -> str | None:
        """`node` as calls that write into `place`, one after the other; None where some part needs its old value."""
        match node:
            case Ref() if node == place.ref:
                return place.variable
            case Op(fn, (argument,)) if fn in UNARY:
                base = self._chain(place, argument)
                return None if base is None else f"{base}.{UNARY[fn]}_()"
            case Op(fn, (left, right)) if fn in BINARY or fn in EXTREMES:
                if fn in COMMUTING and place.ref not in references(left):
                    left, right = right, left
                base = self._chain(place, left)
                if base is None or (place.ref in references(right) and base != place.variable):
                    return None
                if fn in EXTREMES:
                    return f"{base}.{EXTREMES[fn]}_({self.print(right)})"
                return base + self._applied(fn, right)
        return None

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        if self.per_tensor:
            match fn, arguments:
                case Fn.SQRT, (Reduce(Op(Fn.SQUARE, (vector,)), "tensor"),):
                    text = type(self)(self.program, self.names, self.rate).print(vector)
                    return f"_support.norm({text})", Precedence.ATOM
                case Fn.SQRT, _:
                    return f"{self.at(arguments[0], Precedence.ATOM)}.sqrt()", Precedence.ATOM
            return super().operation(fn, arguments)
        if fn in UNARY and fn is not Fn.NEG:
            fresh = "_" if self._is_temporary(arguments[0]) else ""
            return f"{self.at(arguments[0], Precedence.ATOM)}.{UNARY[fn]}{fresh}()", Precedence.ATOM
        if fn in BINARY:
            left, right = arguments
            if fn in COMMUTING and not self._holds(left, right):
                left, right = right, left
            if self._holds(left, right):
                return self.at(left, Precedence.ATOM) + self._applied(fn, right), Precedence.ATOM
        return super().operation(fn, arguments)

    def reduction(self, node: Reduce) -> str:
        if node.to == "sum" and node.over == "axis":
            elements = type(self)(self.program, self.names, self.rate)
            return f"{elements.at(node.argument, Precedence.ATOM)}.sum({node.axis}, keepdim=True)"
        return super().reduction(node)

    def _holds(self, left: Expression, right: Expression) -> bool:
        """Whether a result for both operands fits into the first, which nobody reads afterwards."""
        axes = Rate.ROW | Rate.COLUMN | Rate.ELEMENT
        covered = not self.rate(right) & axes & ~self.rate(left) or bool(self.rate(left) & Rate.ELEMENT)
        return self._is_temporary(left) and covered

    def _is_temporary(self, node: Expression) -> bool:
        return isinstance(node, Op) and self.rate(node) >= Rate.ROW

    def _applied(self, fn: Fn, right: Expression) -> str:
        """The call that applies `fn` in place, with `right` as its second operand."""
        if fn in (Fn.MUL, Fn.DIV):
            return f".{BINARY[fn]}({self.print(right)})"
        minus = "-" if fn is Fn.SUB else ""
        match right:
            case Op(Fn.DIV, (Op(Fn.MUL, (factor, x)), y)) if _is_factor(factor):
                return f".addcdiv_({self.print(x)}, {self.print(y)}, value={minus}{self.print(factor)})"
            case Op(Fn.MUL, (factor, Op(Fn.SQUARE, (x,)))) if _is_factor(factor):
                return f".addcmul_({self.print(x)}, {self.print(x)}, value={minus}{self.print(factor)})"
            case Op(Fn.MUL, (factor, x)) if _is_factor(factor):
                return f".add_({self.print(x)}, alpha={minus}{self.print(factor)})"
            case Op(Fn.SQUARE, (x,)) if isinstance(x, Ref) and not minus:
                return f".addcmul_({self.print(x)}, {self.print(x)})"
        return f".{BINARY[fn]}({self.print(right)})"


def _is_factor(node: Expression) -> bool:
    return isinstance(node, Ref) and node.kind is Kind.SCALAR
