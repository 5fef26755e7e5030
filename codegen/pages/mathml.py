# ruff: noqa: RUF001 (mathematics is written with its own letters)
"""The formula of a rule as MathML, which browsers draw by themselves. Order and grouping are the rule's."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from html import escape

from optloom.spec.guards import ALWAYS, Guard, describe

from ..ir.nodes import Choose, Expression, Fn, Length, Let, Program, Reduce, Ref, Statement
from ..ir.text import FormulaPrinter
from ..mathematics import GREEK, unicode_name
from ..printing import INFIX, Precedence

SIGNS = {
    Fn.ADD: "+", Fn.SUB: "−", Fn.LESS: "&lt;", Fn.LESS_EQUAL: "≤", Fn.EQUAL: "=", Fn.BOTH: "∧",
}  # fmt: skip
NAMED = {
    Fn.SIGN: "sign", Fn.EXP: "exp", Fn.LOG: "ln", Fn.TANH: "tanh", Fn.MAXIMUM: "max", Fn.MINIMUM: "min",
    Fn.REMAINDER: "mod", Fn.STOCHASTICALLY_ROUNDED: "round", Fn.ROUNDING_KEY: "key",
    Fn.BFLOAT16: "bfloat16",
}  # fmt: skip
SCOPES = {"tensor": "tensor", "tensors": "all tensors"}


class MathmlPrinter(FormulaPrinter):
    """Mathematics as elements of MathML Core."""

    infix = {**INFIX, Fn.BOTH: ("∧", Precedence.COMPARISON)}

    def at(self, node: Expression, least: Precedence) -> str:
        text, precedence = self.render(node)
        return text if precedence >= least else fenced(text)

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        match fn, arguments:
            case Fn.DIV, (a, b):
                return f"<mfrac>{row(self.print(a))}{row(self.print(b))}</mfrac>", Precedence.ATOM
            case ((Fn.MUL | Fn.MATMUL), (a, b)):
                return f"{self.at(a, Precedence.PRODUCT)}<mo>·</mo>{self.at(b, Precedence.UNARY)}", Precedence.PRODUCT
            case Fn.NEG, (a,):
                return f"<mo>−</mo>{self.at(a, Precedence.UNARY)}", Precedence.UNARY
            case Fn.SQRT, (a,):
                return f"<msqrt>{self.print(a)}</msqrt>", Precedence.ATOM
            case Fn.ABS, (a,):
                return fenced(self.print(a), "|", "|"), Precedence.ATOM
            case Fn.TRANSPOSE, (a,):
                return self.raised(a, "<mi>⊤</mi>"), Precedence.ATOM
            case Fn.SQUARE, (a,):
                return self.raised(a, "<mn>2</mn>"), Precedence.ATOM
            case ((Fn.POW | Fn.POWER), (a, b)):
                return self.raised(a, self.print(b)), Precedence.ATOM
            case Fn.ONE_MINUS_POWER, (a, b):
                return f"<mn>1</mn><mo>−</mo>{self.raised(a, self.print(b))}", Precedence.SUM
            case Fn.WHERE, (condition, a, b):
                return cases(self.print(a), self.print(condition), self.print(b)), Precedence.ATOM
            case ((Fn.EXACT | Fn.STORED), (a,)):
                return self.render(a)
        if fn in SIGNS:
            precedence = self.infix[fn][1]
            left, right = self.at(arguments[0], precedence), self.at(arguments[1], Precedence(precedence + 1))
            return f"{left}<mo>{SIGNS[fn]}</mo>{right}", precedence
        if fn in NAMED:
            inside = "<mo>,</mo>".join(self.print(argument) for argument in arguments)
            return f"<mi>{NAMED[fn]}</mi>{fenced(inside)}", Precedence.ATOM
        return super().operation(fn, arguments)

    def raised(self, base: Expression, exponent: str) -> str:
        text = self.at(base, Precedence.ATOM)
        if isinstance(base, Ref) and text.startswith("<msub>"):
            return f"<msubsup>{text.removeprefix('<msub>').removesuffix('</msub>')}{row(exponent)}</msubsup>"
        return f"<msup>{row(text)}{row(exponent)}</msup>"

    def literal(self, value: Fraction) -> str:
        mantissa, e, exponent = super().literal(value).partition("e")
        number = "".join(f"<mo>{part}</mo>" if part == "/" else f"<mn>{part}</mn>" for part in _split(mantissa))
        power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>" if e else ""
        return row(f"{number}<mo>·</mo>{power}") if e else row(number) if "/" in mantissa else number

    def reference(self, ref: Ref) -> str:
        return name(ref.name)

    def choice(self, guard: Guard, chosen: Expression, other: Expression) -> str:
        return cases(self.print(chosen), f"<mtext>{escape(describe(guard))}</mtext>", self.print(other))

    def render(self, node: Expression) -> tuple[str, Precedence]:
        text, precedence = super().render(node)
        return (text, Precedence.ATOM) if isinstance(node, Choose) else (text, precedence)

    def reduction(self, node: Reduce) -> str:
        inside = self.at(node.argument, Precedence.PRODUCT)
        sign = "∑" if node.to == "sum" else "max"
        return row(f"<munder><mo>{sign}</mo><mtext>{_over(node)}</mtext></munder>{inside}")

    def length(self, node: Length) -> str:
        return row(f"<msub><mi>size</mi><mtext>{_over(node)}</mtext></msub>{fenced(self.print(node.argument))}")


def block(program: Program) -> str:
    """The rule's own statements as one `math` element, a row each, equals signs below each other."""
    printer = MathmlPrinter()
    rows = []
    for statement in _own(program):
        when = "" if statement.guard == ALWAYS else f"<mtext>if {escape(describe(statement.guard))}</mtext>"
        cells = name(_name(statement)), f"<mo>=</mo>{printer.print(statement.value)}", when
        rows.append("<mtr>" + "".join(f"<mtd>{cell}</mtd>" for cell in cells) + "</mtr>")
    return f'<math display="block"><mtable class="formula">{"".join(rows)}</mtable></math>'


def name(text: str) -> str:
    """`beta_1` is β with an index, `v_hat` a v with a hat; a name of several words is one word."""
    stem, _, tail = text.rpartition("_")
    if stem and "_" not in stem and tail == "hat":
        return f'<mover accent="true">{name(stem)}<mo>^</mo></mover>'
    if stem and "_" not in stem and tail.isdigit():
        return f"<msub>{name(stem)}<mn>{tail}</mn></msub>"
    return f"<mi>{escape(unicode_name(text) if text in GREEK else text)}</mi>"


def row(text: str) -> str:
    return f"<mrow>{text}</mrow>"


def fenced(text: str, left: str = "(", right: str = ")") -> str:
    """Brackets as tall as what they hold where that is a fraction or a choice, else as tall as the line."""
    tall = "true" if "<mfrac" in text or "<mtable" in text else "false"
    return row(f'<mo fence="true" stretchy="{tall}">{left}</mo>{text}<mo fence="true" stretchy="{tall}">{right}</mo>')


def cases(value: str, condition: str, other: str) -> str:
    lines = (value, f"<mtext>if&#160;</mtext>{condition}"), (other, "<mtext>otherwise</mtext>")
    cells = "".join(f"<mtr><mtd>{row(a)}</mtd><mtd>{row(b)}</mtd></mtr>" for a, b in lines)
    return row(f'<mo fence="true" stretchy="true">{{</mo><mtable class="cases">{cells}</mtable>')


def _own(program: Program) -> Iterator[Statement]:
    owned = {slot.name for slot in program.slots if slot.stage}
    for region in program.regions:
        for statement in region.statements:
            if _name(statement) not in owned and not (isinstance(statement, Let) and statement.rebinds):
                yield statement


def _name(statement: Statement) -> str:
    return statement.name if isinstance(statement, Let) else statement.slot


def _over(node: Reduce | Length) -> str:
    return SCOPES.get(node.over, f"axis {node.axis}")


def _split(number: str) -> list[str]:
    before, slash, after = number.partition("/")
    return [before, slash, after] if slash else [before]
