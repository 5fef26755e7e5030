"""The language that update rules are written in."""

from .declarations import Hyper, Input, Option, Peer, Slot, Takes, Value
from .errors import Location, SpecError
from .functions import (
    bfloat16,
    both,
    equal,
    exp,
    largest,
    length,
    log,
    matmul,
    maximum,
    mean,
    minimum,
    norm,
    old,
    remainder,
    sign,
    sqrt,
    stochastically_rounded,
    tanh,
    total,
    transpose,
    where,
)
from .guards import Narrow, has_axes, negation
from .rule import AllFinite, Composition, Every, Rule, Stage

__all__ = [
    "AllFinite", "Composition", "Every", "Hyper", "Input", "Location", "Narrow", "Option", "Peer", "Rule", "Slot",
    "SpecError", "Stage", "Takes", "Value", "bfloat16", "both", "equal", "exp", "has_axes", "largest", "length", "log",
    "matmul", "maximum", "mean", "minimum", "negation", "norm", "old", "remainder", "sign", "sqrt",
    "stochastically_rounded", "tanh", "total", "transpose", "where",
]  # fmt: skip
