"""The IR as text: for `optloom explain`, for docstrings, and for tests."""

from __future__ import annotations

from fractions import Fraction

from optloom.spec.guards import ALWAYS, Guard, describe

from ..printing import Precedence, Printer
from .nodes import Expression, Fn, Kind, Length, Let, Op, Program, Reduce, Ref, Statement


class TextPrinter(Printer):
    """Mathematics on one line, as the rule's author wrote it."""

    calls = {
        Fn.SQRT: "sqrt({0})", Fn.MAXIMUM: "maximum({0}, {1})", Fn.MINIMUM: "minimum({0}, {1})", Fn.SIGN: "sign({0})",
        Fn.EXP: "exp({0})", Fn.LOG: "log({0})", Fn.TANH: "tanh({0})", Fn.WHERE: "where({0}, {1}, {2})",
        Fn.BOTH: "both({0}, {1})", Fn.REMAINDER: "remainder({0}, {1})", Fn.ABS: "|{0}|", Fn.EXACT: "exact({0})",
        Fn.TRANSPOSE: "transpose({0})", Fn.MATMUL: "matmul({0}, {1})", Fn.STORED: "stored({0})",
        Fn.STOCHASTICALLY_ROUNDED: "stochastically_rounded({0}, {1})", Fn.ROUNDING_KEY: "rounding_key({0})",
        Fn.BFLOAT16: "bfloat16({0})",
    }  # fmt: skip
    rounded_if = "bfloat16({0}, if {1})"

    def operation(self, fn: Fn, arguments: tuple) -> tuple[str, Precedence]:  # type: ignore[type-arg]
        if fn is Fn.SQUARE:
            return f"{self.at(arguments[0], Precedence.ATOM)}**2", Precedence.UNARY
        if fn in (Fn.POW, Fn.POWER):
            base, exponent = (self.at(argument, Precedence.ATOM) for argument in arguments)
            return f"{base}**{exponent}", Precedence.UNARY
        if fn is Fn.ONE_MINUS_POWER:
            return f"1 - {self.operation(Fn.POWER, arguments)[0]}", Precedence.SUM
        return super().operation(fn, arguments)

    def literal(self, value: Fraction) -> str:
        decimal = repr(float(value))
        return super().literal(value) if Fraction(decimal) == value else f"{value.numerator}/{value.denominator}"

    def reference(self, ref: Ref) -> str:
        return (
            f"old({ref.name})" if ref.kind is Kind.BEFORE else f"[{ref.name}]" if ref.kind is Kind.SCALAR else ref.name
        )

    def guard(self, guard: Guard) -> str:
        return describe(guard)

    def reduction(self, node: Reduce) -> str:
        name = "total" if node.to == "sum" else node.to
        return f"{name}({self.print(node.argument)}, over={node.over}{f' {node.axis}' if node.over == 'axis' else ''})"

    def length(self, node: Length) -> str:
        return f"length({self.print(node.argument)}, over={node.over}{f' {node.axis}' if node.over == 'axis' else ''})"


class FormulaPrinter(TextPrinter):
    """For docstrings: a slot's value before its assignment carries no mark, as in the papers' pseudocode, nor does a
    rounding."""

    def render(self, node: Expression) -> tuple[str, Precedence]:
        match node:
            case Op(Fn.STORED, (value,)):
                return self.render(value)
        return super().render(node)

    def reference(self, ref: Ref) -> str:
        return ref.name


def statement_text(statement: Statement, printer: Printer | None = None) -> str:
    printer = printer or TextPrinter()
    name = statement.name if isinstance(statement, Let) else statement.slot
    condition = "" if statement.guard == ALWAYS else f"    if {describe(statement.guard)}"
    mark = "=" if isinstance(statement, Let) else "<-"
    return f"{name} {mark} {printer.print(statement.value)}{condition}"


def formula(program: Program) -> tuple[str, ...]:
    """The rule's own statements, in order, without the stages'."""
    printer = FormulaPrinter()
    owned = {slot.name for slot in program.slots if slot.stage}
    lines = []
    for statement in program.update.statements:
        name = statement.name if isinstance(statement, Let) else statement.slot
        if name not in owned and not (isinstance(statement, Let) and statement.rebinds):
            lines.append(f"{name} = {printer.print(statement.value)}")
    return tuple(lines)


def program_text(program: Program) -> str:
    """The whole program, a line per statement."""
    lines = [f"program {program.name}"]
    for slot in program.slots:
        when = "" if slot.when == ALWAYS else f" if {describe(slot.when)}"
        lines.append(
            f"  slot {slot.name}: {slot.shape}, {slot.storage}, starts as {TextPrinter().print(slot.init)}{when}"
        )
    if program.gate:
        when = f" if {describe(program.gate.guard)}"
        lines.append(f"  gate {program.gate.predicate.name}{when}; else skipped <- skipped + 1")
    for region in program.regions:
        every = f"when {region.predicate.name}" if region.predicate else "every call"
        lines.append(f"  region: {every}")
        lines += [f"    scalar {statement_text(scalar)}" for scalar in region.scalars]
        lines += [f"    {statement_text(statement)}" for statement in region.statements]
    return "\n".join(lines)
