"""The step scalars of strict code: double words.

Strict code computes a step's scalars as pairs of numbers of the compute dtype (Dekker 1971; Joldes, Muller & Popescu
2017), with one sequence of basic operations in every target, and rounds once at the end: no library's `pow` or `expm1`
decides the bits. Targets spell these functions in their own language, and emit those that a program needs.
"""

from __future__ import annotations

from collections.abc import Iterable

from .ir.nodes import Fn, Op, Statement, walk

FUNCTIONS = {
    Fn.ADD: "add({0}, {1})",
    Fn.SUB: "subtract({0}, {1})",
    Fn.MUL: "multiply({0}, {1})",
    Fn.DIV: "divide({0}, {1})",
    Fn.NEG: "negate({0})",
    Fn.SQUARE: "square({0})",
    Fn.SQRT: "root({0})",
    Fn.POW: "real_power({0}, {1})",
    Fn.POWER: "power({0}, {1})",
    Fn.ONE_MINUS_POWER: "one_minus_power({0}, {1})",
}
"""How every target's strict scalar printer spells an operation on pairs."""

NEEDS = {
    "add": ("two_sum", "quick_two_sum"),
    "subtract": ("add", "negate"),
    "two_product": ("split",),
    "multiply": ("two_product", "quick_two_sum"),
    "square": ("multiply",),
    "divide": ("two_product", "quick_two_sum"),
    "root": ("two_product", "quick_two_sum"),
    "power": ("multiply",),
    "one_minus_power": ("subtract", "power"),
}


def functions_for(scalars: Iterable[Statement]) -> frozenset[str]:
    """The names of the functions that `scalars` call, directly and through each other."""
    pending = [
        FUNCTIONS[node.fn].partition("(")[0]
        for scalar in scalars for node in walk(scalar.value) if isinstance(node, Op) and node.fn in FUNCTIONS
    ]  # fmt: skip
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += NEEDS.get(name, ())
    return frozenset(found)
