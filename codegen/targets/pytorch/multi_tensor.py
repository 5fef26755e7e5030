"""The methods of `Tensors`, the multi-tensor operand of formulas: what the printers' tables say that formulas call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.nodes import Fn
from .idioms import BINARY, UNARY
from .printer import EXTREMES, METHODS

WITH_SIGN = (Fn.ADD, Fn.SUB)
"""Their multi-tensor operations do not take every operand, so the template spells them out."""


def vocabulary() -> Mapping[str, Any]:
    """`taking_one`, `taking_none`: methods and the `torch._foreach_` operations that they are; `alone`: those that
    PyTorch has for one tensor only, and whether they take an operand."""
    in_place = {name.removesuffix("_"): name.removesuffix("_") for fn, name in BINARY.items() if fn not in WITH_SIGN}
    unary = [name for fn, name in UNARY.items() if fn is not Fn.SQUARE]
    named = {*UNARY.values(), "square"}
    alone = {name: fn in (*EXTREMES, Fn.POW) for fn, name in METHODS.items() if name not in named}
    extremes = list(EXTREMES.values())
    taking_one = in_place | {name: name for name in extremes}
    return {"taking_one": taking_one, "extremes": extremes, "taking_none": unary, "alone": alone}
