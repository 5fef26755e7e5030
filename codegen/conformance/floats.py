"""A program of the IR, carried out in floating point, as strict code does: for judging programs that are wrong.

What is known before tensors are read is computed in the widest format and rounded once where it meets a tensor;
every other operation is rounded to float32. Fn.EXACT, which no program holds that is not bound for XLA, stands for an
operation in too narrow a format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from optloom.spec.declarations import Slot

from ..ir.evaluate import Run, State
from ..ir.nodes import Expression, Fn, Length, Literal, Op, Program
from .inputs import Question
from .protocol import Array, Snapshot

NARROW = ml_dtypes.bfloat16

OPERATIONS: Mapping[Fn, Callable[..., Any]] = {
    Fn.ADD: np.add, Fn.SUB: np.subtract, Fn.MUL: np.multiply, Fn.DIV: np.divide, Fn.NEG: np.negative,
    Fn.SQUARE: np.square, Fn.ABS: np.abs, Fn.SQRT: np.sqrt, Fn.MAXIMUM: np.maximum, Fn.MINIMUM: np.minimum,
    Fn.SIGN: np.sign, Fn.EXP: np.exp, Fn.LOG: np.log, Fn.TANH: np.tanh, Fn.POW: np.power, Fn.POWER: np.power,
    Fn.ONE_MINUS_POWER: lambda b, t: 1 - b**t, Fn.LESS: np.less, Fn.LESS_EQUAL: np.less_equal, Fn.EQUAL: np.equal,
    Fn.BOTH: np.logical_and, Fn.REMAINDER: np.mod, Fn.WHERE: np.where, Fn.MATMUL: np.matmul,
    Fn.STOCHASTICALLY_ROUNDED: lambda x, key: x, Fn.ROUNDING_KEY: lambda t: t,  # float32 numbers are rounded already
    Fn.TRANSPOSE: lambda a: np.swapaxes(a, -1, -2), Fn.EXACT: lambda a: a.astype(NARROW).astype(a.dtype),
    Fn.BFLOAT16: lambda a: a.astype(NARROW).astype(a.dtype),
}  # fmt: skip


class FloatRun(Run):
    """Known numbers are of the widest format, all others float32."""

    def _value(self, node: Expression, alive: Sequence[int]) -> list[Any]:
        match node:
            case Literal(value):
                return [np.longdouble(value.numerator) / np.longdouble(value.denominator)] * len(alive)
            case Op(fn, arguments):
                columns = [self._value(argument, alive) for argument in arguments]
                return [_applied(fn, values) for values in zip(*columns, strict=True)]
            case Length():
                return [np.longdouble(length) for length in super()._value(node, alive)]
            case _:
                return super()._value(node, alive)


def _applied(fn: Fn, values: Sequence[Any]) -> Any:
    numbers = [np.asarray(value) for value in values]
    if any(number.dtype == np.float32 for number in numbers):
        numbers = [n.astype(np.float32) if n.dtype == np.longdouble else n for n in numbers]
    return OPERATIONS[fn](*numbers)


def answer(program: Program, question: Question, step: int) -> Snapshot:
    """What `program` makes of one step of a float32 question."""
    with np.errstate(all="ignore"):
        return _answer(program, question, step)


def _answer(program: Program, question: Question, index: int) -> Snapshot:
    batch, given = question.batch, question.given
    slots = {slot.name: slot for slot in given.composition.of_kind(Slot)}
    single = {name for name in batch.slots if slots[name].shape == "scalar"}
    tensors: list[dict[str, Any]] = [
        {"w": w[0], "g": g[0]} | {name: arrays[i][0] for name, arrays in batch.slots.items() if name not in single}
        for i, (w, g) in enumerate(zip(batch.parameters, batch.gradients, strict=True))
    ]
    state = State(
        tensors, np.longdouble(batch.updates[index] + 1),
        {name: None if value is None else np.longdouble(value) for name, value in given.hypers.items()},
        given.options, {name: np.longdouble(batch.slots[name][0][0]) for name in single},
    )  # fmt: skip
    running = FloatRun(program, state)
    if program.gate and running.holds(program.gate.guard, 0) and not all(np.isfinite(x["g"]).all() for x in tensors):
        return Snapshot(
            [tensor["w"] for tensor in tensors], {name: [x[0] for x in arrays] for name, arrays in batch.slots.items()},
            int(batch.updates[index]), skipped=1,
        )  # fmt: skip
    for region in program.regions:
        stored = running.carry_out(region)
        for tensor, new in zip(tensors, stored, strict=True):
            tensor |= {name: _kept(value, tensor.get(name)) for name, value in new.items() if name not in single}
        state.scalars.update({name: np.longdouble(np.float32(stored[0][name])) for name in single if name in stored[0]})
    kept = {name: [tensor[name] for tensor in tensors] for name in batch.slots if name not in single}
    kept |= {name: [np.asarray(state.scalars[name], np.float32)] for name in single}
    return Snapshot([tensor["w"] for tensor in tensors], kept, int(batch.updates[index]) + 1)


def _kept(value: Any, before: Array | None) -> Array:
    array = np.asarray(value, np.float32)
    made: Array = array if before is None else np.broadcast_to(array, before.shape)
    return made
