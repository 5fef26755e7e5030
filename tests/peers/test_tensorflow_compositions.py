"""A rule with stages computes what Keras's optimizer does with the arguments of Keras's own base class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf
from compositions import AVERAGE, NUMBERS, RATE, cases, ours
from parity import Meeting, State, check, gradients, start


@pytest.fixture(autouse=True)
def numbers_of_float64() -> Iterator[None]:
    """Keras rounds Python's numbers to its default dtype: here to that of the parameters."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def theirs(meeting: Meeting, stages: Mapping[str, Any]) -> Iterator[State]:
    parameters = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(start())]
    optimizer = meeting.theirs()(learning_rate=RATE, **NUMBERS[meeting.name], **stages)
    optimizer.build(parameters)
    for tensors in gradients():
        optimizer.apply([tf.constant(g) for g in tensors], parameters)
        state: State = {"w": [w.numpy() for w in parameters]}
        if "use_ema" in stages:
            state[AVERAGE] = [average.numpy() for average in optimizer._model_variables_moving_average]
        yield state


def why_not(meeting: Meeting, stages: Mapping[str, Any]) -> str:
    """The documentation says once per update."""
    moves = {"use_ema", "gradient_accumulation_steps"} <= stages.keys()
    return "Keras moves the average at every call, also while gradients accumulate" if moves else ""


@pytest.mark.parametrize(("meeting", "stages"), cases("keras", why_not))
def test_stages_are_the_arguments_of_the_base_class(meeting: Meeting, stages: Mapping[str, Any]) -> None:
    check(ours(meeting, stages), theirs(meeting, stages))
