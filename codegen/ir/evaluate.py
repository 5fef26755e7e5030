"""The meaning of a program: its statements carried out on numbers.

What a pass must leave as it was. Numbers may be of any kind that NumPy's object arrays hold (mpmath's, in tests), and
all tensors go through a statement together, so that a sum over all of them is just a sum.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
from optloom.spec.guards import Atom, Flag, Given, Guard, HasAxes, Is, Narrow, evaluate

from .nodes import Choose, Expression, Fn, Kind, Length, Let, Literal, Op, Program, Reduce, Ref, Region, Store


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = np.frompyfunc(function, function.__code__.co_argcount, 1)
    return made


OPERATIONS: Mapping[Fn, Callable[..., Any]] = {
    Fn.ADD: operator.add,
    Fn.SUB: operator.sub,
    Fn.MUL: operator.mul,
    Fn.DIV: operator.truediv,
    Fn.NEG: operator.neg,
    Fn.SQUARE: lambda x: x * x,
    Fn.ABS: abs,
    Fn.SQRT: _elementwise(lambda x: mpmath.sqrt(x) if x >= 0 else mpmath.nan),
    Fn.MAXIMUM: _elementwise(lambda a, b: a if a >= b else b),
    Fn.MINIMUM: _elementwise(lambda a, b: a if a <= b else b),
    Fn.SIGN: _elementwise(lambda x: mpmath.sign(x)),
    Fn.EXP: _elementwise(lambda x: mpmath.exp(x)),
    Fn.LOG: _elementwise(lambda x: mpmath.log(x)),
    Fn.TANH: _elementwise(lambda x: mpmath.tanh(x)),
    Fn.POW: operator.pow,
    Fn.POWER: operator.pow,
    Fn.ONE_MINUS_POWER: lambda b, t: 1 - b**t,
    Fn.LESS: _elementwise(lambda a, b: a < b),
    Fn.LESS_EQUAL: _elementwise(lambda a, b: a <= b),
    Fn.EQUAL: _elementwise(lambda a, b: a == b),
    Fn.BOTH: _elementwise(lambda a, b: bool(a) and bool(b)),
    Fn.REMAINDER: operator.mod,
    Fn.WHERE: _elementwise(lambda c, a, b: a if c else b),
    Fn.STOCHASTICALLY_ROUNDED: lambda x, key: x,  # exact numbers are of every dtype
    Fn.ROUNDING_KEY: lambda t: t,
    Fn.BFLOAT16: lambda x: x,
    Fn.MATMUL: lambda a, b: np.asarray(a) @ np.asarray(b),
    Fn.TRANSPOSE: lambda a: np.swapaxes(a, -1, -2),
    Fn.EXACT: lambda x: x,
    Fn.STORED: lambda x: x,  # numbers here have no dtype
}


@dataclass
class State:
    """What a region works on. `tensors`: for each tensor its parameter ("w"), gradient ("g") and slots by name."""

    tensors: Sequence[dict[str, Any]]
    t: Any
    hypers: Mapping[str, Any]
    options: Mapping[str, bool | str] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)


class Run:
    """A run under way: `carry_out` of one region after the other. `values`: for each tensor what is known so far, by
    kind and name."""

    def __init__(self, program: Program, state: State) -> None:
        self.program, self.state = program, state
        self.values: list[dict[tuple[Kind, str], Any]] = [{} for _ in state.tensors]

    def carry_out(self, region: Region) -> list[dict[str, Any]]:
        """For each tensor what `region` stores: "w" and slots (scalar slots are repeated)."""
        stored: list[dict[str, Any]] = [{} for _ in self.state.tensors]
        for statement in (*region.scalars, *region.statements):
            alive = [i for i in range(len(stored)) if self.holds(statement.guard, i)]
            for i, value in zip(alive, self._value(statement.value, alive), strict=True):
                if isinstance(statement, Let):
                    kinds = {"": Kind.LET, "w": Kind.PARAMETER, "g": Kind.GRADIENT}
                    kind = kinds.get(statement.rebinds, Kind.SLOT) if statement.rebinds == statement.name else Kind.LET
                    self.values[i][kind, statement.name] = value
                else:
                    stored[i][statement.slot] = self.values[i][Kind.SLOT, statement.slot] = self._shaped(
                        statement, value, i
                    )
                self.values[i][Kind.SCALAR, statement.defines] = value
        return stored

    def _shaped(self, store: Store, value: Any, tensor: int) -> Any:
        before = self.state.tensors[tensor].get(store.slot)
        return value if before is None else np.broadcast_to(value, np.shape(before))

    def holds(self, guard: Guard, tensor: int) -> bool:
        """Whether `guard` holds for one of the tensors."""

        def atom(guard: Atom) -> bool:
            match guard:
                case Flag(option):
                    return bool(self.state.options[option])
                case Is(option, form):
                    return self.state.options[option] == form
                case Given(hyper):
                    value = self.state.hypers.get(hyper)
                    return value is not None and value != self.program.hyper(hyper).off
                case HasAxes(count):
                    return np.ndim(self.state.tensors[tensor]["w"]) >= count
                case Narrow():
                    return False  # numbers here are of any kind, but of one

        return evaluate(guard, atom)

    def _value(self, node: Expression, alive: Sequence[int]) -> list[Any]:
        """The value of `node` for each tensor in `alive`."""
        match node:
            case Literal(value):
                return [mpmath.mpf(value.numerator) / value.denominator] * len(alive)
            case Ref():
                return [self._reference(node, i) for i in alive]
            case Choose(guard, chosen, other):
                return [self._value(chosen if self.holds(guard, i) else other, [i])[0] for i in alive]
            case Op(fn, arguments):
                columns = [self._value(argument, alive) for argument in arguments]
                return [OPERATIONS[fn](*values) for values in zip(*columns, strict=True)]
            case Reduce(argument, _, axis, "largest"):
                return [np.max(value, axis=axis, keepdims=True) for value in self._value(argument, alive)]
            case Reduce(argument, over, axis):
                values = self._value(argument, alive)
                if over == "tensors":
                    return [sum(np.sum(value) for value in values)] * len(alive)
                return [
                    np.sum(value) if over == "tensor" else np.sum(value, axis=axis, keepdims=True) for value in values
                ]
            case Length(argument, over, axis):
                shapes = [np.shape(value) for value in self._value(argument, alive)]
                if over == "tensors":
                    return [sum(int(np.prod(shape)) for shape in shapes)] * len(alive)
                return [int(np.prod(shape)) if over == "tensor" else shape[axis] for shape in shapes]

    def _reference(self, ref: Ref, tensor: int) -> Any:
        known = self.values[tensor].get((ref.kind, ref.name))
        if known is not None:
            return known
        match ref.kind:
            case Kind.HYPER:
                return self.state.hypers[ref.name]
            case Kind.STEP:
                return self.state.t
            case Kind.INPUT:
                return self.state.inputs[ref.name]
        own = self.state.tensors[tensor]
        return own[ref.name] if ref.name in own else self.state.scalars[ref.name]
