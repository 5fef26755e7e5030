"""A second oracle, which shares nothing with the first: the traced SymPy expressions, evaluated by mpmath.

It gives no bounds, and knows ordinary numbers only. Where the two disagree, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import sympy
from mpmath import libmp
from numpy.typing import NDArray
from optloom.spec.declarations import Slot
from optloom.spec.tracing import Call, Kind, Statement, Trace, Variable, trace

from .oracle import Batch, Configuration

MP = mpmath.MPContext()
MP.dps = 60


def _each(function: Callable[..., Any], count: int = 1) -> Callable[..., Any]:
    elementwise: Callable[..., Any] = np.frompyfunc(function, count, 1)
    return elementwise


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": _each(MP.sqrt), "exp": _each(MP.exp), "log": _each(MP.log), "tanh": _each(MP.tanh), "abs": _each(abs),
    "sign": _each(MP.sign), "maximum": _each(max, 2), "minimum": _each(min, 2), "less": _each(lambda a, b: a < b, 2),
    "less_equal": _each(lambda a, b: a <= b, 2), "equal": _each(lambda a, b: a == b, 2),
    "both": _each(lambda a, b: a and b, 2), "where": _each(lambda c, a, b: a if c else b, 3),
    "remainder": _each(MP.fmod, 2), "matmul": np.matmul, "transpose": lambda a: np.swapaxes(a, -1, -2),
    "stochastically_rounded": lambda x, t: x,  # exact numbers are of every dtype
    "bfloat16": _each(lambda x: MP.make_mpf(libmp.mpf_pos(x._mpf_, 8, "n"))),
}  # fmt: skip


@dataclass
class _Tensor:
    """What is known of one tensor: names to arrays of mpmath numbers; slots as the region found them."""

    axes: int
    values: dict[tuple[Kind, str], Any] = field(default_factory=dict)


def _of(array: NDArray[Any], call: int) -> NDArray[Any]:
    """One call's array; the first axis has length 1 where all calls share it."""
    found: NDArray[Any] = array[call if len(array) > 1 else 0]
    return found


class _Evaluation:
    def __init__(self, configuration: Configuration, batch: Batch, call: int) -> None:
        self.configuration = configuration
        slots = {slot.name: slot for slot in configuration.composition.of_kind(Slot)}
        common: dict[tuple[Kind, str], Any] = {(Kind.STEP, "t"): MP.mpf(int(batch.updates[call]) + 1)}
        common |= {(Kind.HYPER, n): v if v is None else MP.mpf(v) for n, v in configuration.hypers.items()}
        self.tensors = []
        for index, (w, g) in enumerate(zip(batch.parameters, batch.gradients, strict=True)):
            tensor = _Tensor(w.ndim - 1, dict(common))
            tensor.values[Kind.PARAMETER, "w"] = exact(_of(w, call))
            tensor.values[Kind.GRADIENT, "g"] = exact(_of(g, call))
            for name, arrays in batch.slots.items():
                array = arrays[0 if slots[name].shape == "scalar" else index]
                tensor.values[Kind.SLOT_BEFORE, name] = exact(_of(array, call))
            for name, given in batch.inputs.items():
                array = given[index] if isinstance(given, list) else given
                tensor.values[Kind.INPUT, name] = exact(_of(array, call))
            self.tensors.append(tensor)

    def run(self, program: Trace) -> list[dict[str, Any]]:
        """The parameter ("w") and slots of each tensor after the step, which must be an update."""
        for region in program.regions:
            for statement in region.statements:
                self._carry_out(statement)
            for tensor in self.tensors:
                stored = {n: v for (kind, n), v in tensor.values.items() if kind is Kind.SLOT}
                tensor.values |= {(Kind.SLOT_BEFORE, name): value for name, value in stored.items()}
        slots = {name for tensor in self.tensors for kind, name in tensor.values if kind is Kind.SLOT}
        kept = [{name: tensor.values[Kind.SLOT, name] for name in slots if (Kind.SLOT, name) in tensor.values}
                for tensor in self.tensors]  # fmt: skip
        return [
            slots_ | {"w": tensor.values[Kind.SLOT, "w"]} for slots_, tensor in zip(kept, self.tensors, strict=True)
        ]

    def _carry_out(self, statement: Statement) -> None:
        alive = [i for i, tensor in enumerate(self.tensors) if self.configuration.holds(statement.guard, tensor.axes)]
        kind = Kind.SLOT if statement.is_store else Kind.NAMED
        for index, value in zip(alive, self.value(statement.value, alive), strict=True):
            self.tensors[index].values[kind, statement.name] = value

    def value(self, tree: sympy.Expr, alive: list[int]) -> list[Any]:
        """The value of an expression for each tensor in `alive`."""
        match tree:
            case Variable():
                return [self.tensors[i].values[tree.role, tree.reference] for i in alive]
            case sympy.Rational():
                return [MP.mpf(int(tree.p)) / int(tree.q)] * len(alive)
            case Call() if tree.function == "choose":
                holds = self.configuration.holds
                branches = [tree.args[0 if holds(tree.settings["guard"], self.tensors[i].axes) else 1] for i in alive]
                return [self.value(branch, [i])[0] for branch, i in zip(branches, alive, strict=True)]
        columns = [self.value(argument, alive) for argument in tree.args]
        match tree:
            case Call() if tree.function in ("total", "mean", "norm", "largest", "length"):
                return _reduced(tree, columns[0])
            case Call():
                return [FUNCTIONS[tree.function](*row) for row in zip(*columns, strict=True)]
            case sympy.Add():
                return [a + b for a, b in zip(*columns, strict=True)]
            case sympy.Mul():
                return [a * b for a, b in zip(*columns, strict=True)]
            case sympy.Pow():
                return [a**b for a, b in zip(*columns, strict=True)]
        raise NotImplementedError(str(tree))


def _reduced(call: Call, values: list[Any]) -> list[Any]:
    over, axis = call.settings.get("over", "tensor"), call.settings.get("axis")
    if call.function == "largest":
        return [np.max(value, axis=axis, keepdims=True) for value in values]
    if axis is not None:
        lengths = [np.shape(value)[axis] for value in values]
        sums = [np.sum(value, axis=axis, keepdims=True) for value in values]
    else:
        lengths = [np.size(value) for value in values]
        terms = [value * value for value in values] if call.function == "norm" else values
        sums = [np.sum(term) if np.size(term) else MP.mpf(0) for term in terms]
        if over == "tensors":
            lengths, sums = [sum(lengths)] * len(sums), [sum(sums)] * len(sums)
    match call.function:
        case "length":
            return lengths
        case "mean":
            return [total / length for total, length in zip(sums, lengths, strict=True)]
        case "norm":
            return [FUNCTIONS["sqrt"](total) for total in sums]
        case _:
            return sums


def exact(array: NDArray[Any]) -> NDArray[Any]:
    """mpmath numbers equal to finite floats."""
    return np.asarray(_each(lambda x: MP.mpf(float(x)))(np.asarray(array, np.float64)), object)


def step(configuration: Configuration, batch: Batch, call: int) -> list[dict[str, Any]]:
    """For each tensor its parameter ("w") and slots after one call of `batch`: arrays of mpmath numbers."""
    return _Evaluation(configuration, batch, call).run(trace(configuration.composition))
