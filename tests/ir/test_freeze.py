"""What the author wrote is what the IR holds: order, grouping, and exact literals."""

from __future__ import annotations

import inspect
from fractions import Fraction

import pytest
from optloom.codegen.ir.freeze import freeze
from optloom.codegen.ir.nodes import Literal, Program, walk
from optloom.codegen.ir.text import statement_text
from optloom.spec import Composition, Hyper, Rule, Slot, Value, sqrt
from optloom.spec.tracing import trace


def frozen(rule: type[Rule]) -> Program:
    return freeze(trace(Composition(rule)))


def text_of(step: object, **declared: object) -> str:
    """The last statement of a rule with this `step`, as the IR holds it."""
    rule = type("Example", (Rule,), {"step": step, "a": Hyper(0.5, ge=0), "b": Hyper(0.25, ge=0), **declared})
    return statement_text(frozen(rule).update.statements[-1])


EXPRESSIONS = [
    "w - g",
    "g + w",
    "w + g",
    "w - self.b * g * self.a",
    "w - self.b * (g * self.a)",
    "w - (g - g)",
    "g - w + w",
    "w / self.a / self.b",
    "w / (self.a * self.b)",
    "w / (self.a / self.b)",
    "w * (1 / self.a)",
    "w * self.a / self.b * g",
    "sqrt(w / (1 - self.b**t))",
    "sqrt(w) * sqrt(w)",
    "2 * (g - w)",
    "w - 0.1 * g",
    "-w * g",
    "-(w * g)",
    "w * 1 + 0",
    "w**2 * w**3",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_kept_as_written(expression: str) -> None:
    namespace: dict[str, object] = {"sqrt": sqrt}
    exec(f"def step(self, w, g, t):\n    return {expression}", namespace)
    assert text_of(namespace["step"]) == f"w <- {expression.replace('self.', '')}"


def test_literals_are_exact_decimals() -> None:
    def step(self: Rule, w: Value, g: Value, t: Value) -> Value:
        return w - 0.1 * g

    program = frozen(type("Tenth", (Rule,), {"step": step}))
    numbers = [node.value for node in walk(program.update.statements[-1].value) if isinstance(node, Literal)]
    assert numbers == [Fraction(1, 10)]


class Moving(Rule):
    """Two slots and an intermediate."""

    a = Hyper(0.5, ge=0)
    first = Slot("first")
    second = Slot("second")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.first = self.a * self.first + g
        self.second = self.second + self.first
        self.middle = self.first + self.second
        return w - self.middle


def test_statements_keep_their_order_names_and_lines() -> None:
    statements = frozen(Moving).update.statements
    start = inspect.getsourcelines(Moving)[1]
    assert [statement_text(statement) for statement in statements] == [
        "first <- a * old(first) + g",
        "second <- old(second) + first",
        "middle = first + second",
        "w <- w - middle",
    ]
    assert [statement.location.line - start for statement in statements[:3] if statement.location] == [8, 9, 10]
