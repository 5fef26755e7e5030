"""Each rule in the dialect of its Keras peer computes what the peer does."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import mpmath
import numpy as np
import pytest
import tensorflow as tf
from optloom.codegen.ir.nodes import Fn, Op, walk
from parity import SHAPES, Meeting, Numbers, State, cases, check, gradients, ours, rate, start, unit_of

COMMON = {"weight_decay"}
"""What Keras's optimizers take by way of their base class."""


def accepts(meeting: Meeting, name: str) -> bool:
    return meeting.peer.names.get(name, name) in {*meeting.signature(), *COMMON}


@pytest.fixture(autouse=True)
def numbers_of_float64() -> Iterator[None]:
    """Keras rounds Python's numbers to its default dtype: here to that of the parameters."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def theirs(meeting: Meeting, given: Numbers) -> Iterator[State]:
    parameters = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(start())]
    try:
        optimizer = meeting.theirs()(**{meeting.peer.names.get(name, name): value for name, value in given.items()})
    except ValueError as refused:
        pytest.skip(f"the peer does not take this: {refused}")
    optimizer.build(parameters)
    for step, tensors in enumerate(gradients()):
        if "learning_rate" in given:
            optimizer.learning_rate = rate(float(given["learning_rate"] or 0), step)
        optimizer.apply([tf.constant(g) for g in tensors], parameters)
        state = {"w": [np.array(w) for w in parameters]}
        for slot, name in meeting.slots.items():
            named = [variable for variable in optimizer.variables if variable.name.endswith(f"_{name}")]
            values = [np.array(v) for i in range(len(SHAPES)) for v in named if v.name == f"w{i}_{name}"]
            if len(values) == len(parameters):
                state[slot] = values
        yield state


POWERS_APART = 3
"""Units of roundoff between a power of a tensor in TensorFlow, off by two, and in NumPy, off by one. Ftrl sums up
differences of two neighbouring powers, over the learning rate: they enlarge it as they enlarge any rounding."""


@pytest.mark.parametrize(("meeting", "given"), cases("keras", accepts))
def test_a_rule_in_its_peers_dialect_is_the_peer(meeting: Meeting, given: Numbers) -> None:
    # Keras holds numbers of its formulas, as Nadam's 0.96, in float32.
    power = any(
        isinstance(node, Op) and node.fn is Fn.POW for s in meeting.program.update.statements for node in walk(s.value)
    )
    unit = unit_of(meeting.program, np.float32) * (POWERS_APART if power else 1)
    check(ours(meeting, given), theirs(meeting, given), unit)


def test_powers_are_as_far_apart_as_is_allowed_for() -> None:
    x = 10.0 ** np.random.default_rng(0).uniform(-4, 4, 1000)
    off: dict[str, float] = {"tensorflow": 0, "numpy": 0}
    with mpmath.workprec(200):
        for exponent in (0.5, 0.25, 0.125):
            found = {
                "tensorflow": tf.pow(tf.constant(x), tf.constant(exponent, tf.float64)).numpy(),
                "numpy": x**exponent,
            }
            for name, values in found.items():
                exact = [mpmath.mpf(base) ** exponent for base in x]
                errors = [abs(mpmath.mpf(y) - z) / z * 2**53 for y, z in zip(values, exact, strict=True)]
                off[name] = max(off[name], float(max(errors)))
    assert POWERS_APART - 1 < sum(off.values()) < POWERS_APART + 0.5, off
