# ruff: noqa: RUF001, RUF002 (mathematics is written with its own letters)
"""The formula of a rule as mathematics: Unicode for a terminal, LaTeX for a page. Order and grouping are the rule's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from optloom.spec.guards import ALWAYS, Guard, describe

from .ir.nodes import Choose, Expression, Fn, Length, Let, Literal, Program, Reduce, Ref, Statement
from .ir.text import FormulaPrinter, statement_text
from .printing import INFIX, Precedence

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "psi": "ψ", "omega": "ω",
}  # fmt: skip
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SUPERSCRIPTS = dict(zip("0123456789t-", "⁰¹²³⁴⁵⁶⁷⁸⁹ᵗ⁻", strict=True))
HAT = "\N{COMBINING CIRCUMFLEX ACCENT}"


class UnicodePrinter(FormulaPrinter):
    """Mathematics on one line: `α·m / (√v + ε)`."""

    calls = {**FormulaPrinter.calls, Fn.MAXIMUM: "max({0}, {1})", Fn.MINIMUM: "min({0}, {1})"}
    infix = {
        **INFIX, Fn.SUB: ("−", Precedence.SUM), Fn.LESS_EQUAL: ("≤", Precedence.COMPARISON),
        Fn.EQUAL: ("=", Precedence.COMPARISON), Fn.BOTH: ("∧", Precedence.COMPARISON),
    }  # fmt: skip

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        match fn, arguments:
            case Fn.MUL, (a, b):
                return f"{self.at(a, Precedence.PRODUCT)}·{self.at(b, Precedence.UNARY)}", Precedence.PRODUCT
            case Fn.MATMUL, (a, b):
                return f"{self.at(a, Precedence.PRODUCT)} {self.at(b, Precedence.UNARY)}", Precedence.PRODUCT
            case Fn.BOTH, (a, b):
                sides = (self.at(side, Precedence.SUM) for side in (a, b))
                return " ∧ ".join(sides), Precedence.COMPARISON
            case Fn.TRANSPOSE, (a,):
                return f"{self.at(a, Precedence.ATOM)}ᵀ", Precedence.ATOM
            case Fn.NEG, (a,):
                return f"−{self.at(a, Precedence.UNARY)}", Precedence.UNARY
            case Fn.SQRT, (a,):
                return f"√{self.at(a, Precedence.ATOM)}", Precedence.ATOM
            case Fn.SQUARE, (a,):
                return f"{self.at(a, Precedence.ATOM)}²", Precedence.ATOM
            case ((Fn.POW | Fn.POWER), (a, b)):
                return f"{self.at(a, Precedence.ATOM)}{self.raised(b)}", Precedence.ATOM
            case Fn.ONE_MINUS_POWER, _:
                return f"1 − {self.operation(Fn.POWER, arguments)[0]}", Precedence.SUM
            case Fn.WHERE, (condition, a, b):
                return f"{self.at(a, Precedence.SUM)} if {self.print(condition)} else {self.print(b)}", (
                    Precedence.CHOICE
                )
        return super().operation(fn, arguments)

    def raised(self, exponent: Expression) -> str:
        text = self.print(exponent).replace("−", "-")
        raised = "".join(SUPERSCRIPTS.get(letter, "") for letter in text)
        return raised if len(raised) == len(text) else f"^{self.at(exponent, Precedence.ATOM)}"

    def reference(self, ref: Ref) -> str:
        return unicode_name(ref.name)

    def reduction(self, node: Reduce) -> str:
        return f"{'sum' if node.to == 'sum' else 'max'}({self.print(node.argument)}{_scope(node)})"

    def length(self, node: Length) -> str:
        return f"size({self.print(node.argument)}{_scope(node)})"


class LatexPrinter(FormulaPrinter):
    """Mathematics for TeX and its kin."""

    calls = {
        Fn.SQRT: r"\sqrt{{{0}}}", Fn.MAXIMUM: r"\max\left({0}, {1}\right)", Fn.MINIMUM: r"\min\left({0}, {1}\right)",
        Fn.SIGN: r"\operatorname{{sign}}\left({0}\right)", Fn.EXP: r"\exp\left({0}\right)",
        Fn.LOG: r"\ln\left({0}\right)", Fn.TANH: r"\tanh\left({0}\right)", Fn.ABS: r"\left|{0}\right|",
        Fn.WHERE: r"\begin{{cases}} {1} & \text{{if }} {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
        Fn.REMAINDER: r"{0} \bmod {1}", Fn.EXACT: "{0}", Fn.ROUNDING_KEY: r"\operatorname{{key}}\left({0}\right)",
        Fn.STOCHASTICALLY_ROUNDED: r"\operatorname{{round}}\left({0}, {1}\right)", Fn.STORED: "{0}",
        Fn.BFLOAT16: r"\operatorname{{bfloat16}}\left({0}\right)",
    }  # fmt: skip
    infix = {
        **INFIX, Fn.MUL: ("", Precedence.PRODUCT), Fn.LESS_EQUAL: (r"\le", Precedence.COMPARISON),
        Fn.EQUAL: ("=", Precedence.COMPARISON),
    }  # fmt: skip

    def at(self, node: Expression, least: Precedence) -> str:
        text, precedence = self.render(node)
        return text if precedence >= least else rf"\left({text}\right)"

    def operation(self, fn: Fn, arguments: tuple[Expression, ...]) -> tuple[str, Precedence]:
        match fn, arguments:
            case Fn.DIV, (a, b):
                return rf"\frac{{{self.print(a)}}}{{{self.print(b)}}}", Precedence.UNARY
            case Fn.MUL, (a, b):
                both_numbers = isinstance(b, Literal)
                sign = r" \cdot " if both_numbers else r" \, "
                return f"{self.at(a, Precedence.PRODUCT)}{sign}{self.at(b, Precedence.UNARY)}", Precedence.PRODUCT
            case Fn.MATMUL, (a, b):
                return rf"{self.at(a, Precedence.PRODUCT)} \, {self.at(b, Precedence.UNARY)}", Precedence.PRODUCT
            case Fn.TRANSPOSE, (a,):
                return rf"{self.at(a, Precedence.ATOM)}^\top", Precedence.UNARY
            case Fn.BOTH, (a, b):
                sides = (self.at(side, Precedence.SUM) for side in (a, b))
                return r" \wedge ".join(sides), Precedence.COMPARISON
            case Fn.SQUARE, (a,):
                return f"{self.at(a, Precedence.ATOM)}^{{2}}", Precedence.UNARY
            case ((Fn.POW | Fn.POWER), (a, b)):
                return f"{self.at(a, Precedence.ATOM)}^{{{self.print(b)}}}", Precedence.UNARY
            case Fn.ONE_MINUS_POWER, _:
                return f"1 - {self.operation(Fn.POWER, arguments)[0]}", Precedence.SUM
        return super().operation(fn, arguments)

    def reference(self, ref: Ref) -> str:
        return latex_name(ref.name)

    def choice(self, guard: Guard, chosen: Expression, other: Expression) -> str:
        condition = _escaped(describe(guard))
        rows = rf"{self.print(chosen)} & \text{{if {condition}}} \\ {self.print(other)} & \text{{otherwise}}"
        return rf"\begin{{cases}} {rows} \end{{cases}}"

    def render(self, node: Expression) -> tuple[str, Precedence]:
        text, precedence = super().render(node)
        return (text, Precedence.ATOM) if isinstance(node, Choose) else (text, precedence)

    def literal(self, value: Fraction) -> str:
        text = super().literal(value)
        mantissa, e, exponent = text.partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else text

    def reduction(self, node: Reduce) -> str:
        sign = r"\sum" if node.to == "sum" else r"\max"
        return rf"{sign}_{{\text{{{_escaped(_over(node))}}}}} {self.at(node.argument, Precedence.UNARY)}"

    def length(self, node: Length) -> str:
        return rf"\operatorname{{size}}_{{\text{{{_escaped(_over(node))}}}}}\left({self.print(node.argument)}\right)"


def unicode_lines(program: Program) -> tuple[str, ...]:
    """The rule's own statements, in order, equals signs below each other."""
    printer = UnicodePrinter()
    pairs = [(unicode_name(_name(s)), printer.print(s.value), _condition(s)) for s in _statements(program)]
    width = max((_width(name) for name, _, _ in pairs), default=0)
    return tuple(f"{' ' * (width - _width(name))}{name} = {value}{condition}" for name, value, condition in pairs)


def latex(program: Program) -> str:
    """The rule's own statements as one `aligned` environment, to be put between `$$`."""
    printer, lines = LatexPrinter(), []
    for s in _statements(program):
        condition = "" if s.guard == ALWAYS else rf" && \text{{if {_escaped(describe(s.guard))}}}"
        lines.append(f"{latex_name(_name(s))} &= {printer.print(s.value)}{condition}")
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(lines), r"\end{aligned}"])


def plain_lines(program: Program) -> tuple[str, ...]:
    """The rule's own statements in ASCII, as docstrings have them, and the guards under which each runs."""
    return tuple(statement_text(s, FormulaPrinter()).replace(" <- ", " = ", 1) for s in _statements(program))


def unicode_name(name: str) -> str:
    """`beta_1` is β₁, `v_hat` is v̂; a name of several words stays as it is."""
    stem, _, tail = name.rpartition("_")
    if stem and tail == "hat" and "_" not in stem:
        return f"{GREEK.get(stem, stem)}{HAT}" if len(GREEK.get(stem, stem)) == 1 else name
    if stem and tail.isdigit() and "_" not in stem:
        return f"{GREEK.get(stem, stem)}{tail.translate(SUBSCRIPTS)}"
    return GREEK.get(name, name)


def latex_name(name: str) -> str:
    r"""`beta_1` is `\beta_{1}`, `v_hat` is `\hat{v}`; a name of several letters is upright."""
    stem, _, tail = name.rpartition("_")
    if stem and tail == "hat" and "_" not in stem:
        return rf"\hat{{{latex_name(stem)}}}"
    if stem and tail.isdigit() and "_" not in stem:
        return f"{latex_name(stem)}_{{{tail}}}"
    if name in GREEK:
        return rf"\{name}"
    return name if len(name) == 1 else rf"\mathrm{{{_escaped(name)}}}"


def _statements(program: Program) -> Iterator[Statement]:
    owned = {slot.name for slot in program.slots if slot.stage}
    for region in program.regions:
        for statement in region.statements:
            if _name(statement) not in owned and not (isinstance(statement, Let) and statement.rebinds):
                yield statement


def _name(statement: Statement) -> str:
    return statement.name if isinstance(statement, Let) else statement.slot


def _condition(statement: Statement) -> str:
    return "" if statement.guard == ALWAYS else f"    if {describe(statement.guard)}"


def _over(node: Reduce | Length) -> str:
    return {"tensor": "tensor", "tensors": "all tensors", "axis": f"axis {node.axis}"}[node.over]


def _scope(node: Reduce | Length) -> str:
    return "" if node.over == "tensor" else f" over {_over(node)}"


def _escaped(text: str) -> str:
    return re.sub(r"([_%&#$])", r"\\\1", text)


def _width(text: str) -> int:
    return len(text) - text.count(HAT)
