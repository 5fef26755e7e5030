"""Hyperparameters that move: numbers, variables, schedules and callables, in every place that takes a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tensorflow_cases import MODES, PROGRAMS, RULES, is_legal, keras, make, stepper, tf, variable


def test_learning_rate_may_be_a_schedule_a_callable_or_be_set() -> None:
    def run(optimizer: Any, set_to: float | None = None) -> list[float]:
        v = variable([0.0])
        step = stepper(optimizer, [v], "function")
        seen = []
        for _ in range(2):
            step(np.ones(1, "float32"))
            seen.append(float(v.numpy()[0]))
            if set_to is not None:
                optimizer.learning_rate = set_to
        return seen

    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 2.0])
    assert run(make("sgd", learning_rate=schedule)) == [-1.0, -3.0]
    assert run(make("sgd", learning_rate=lambda: 0.5)) == [-0.5, -1.0]
    assert run(make("sgd", learning_rate=1.0), set_to=0.5) == [-1.0, -1.5]


MOVING = [
    (rule, hyper.name) for rule in RULES for hyper in PROGRAMS[rule].hypers if not hyper.integer and hyper.name not in
    ("learning_rate", *(slot.init.name for slot in PROGRAMS[rule].slots if hasattr(slot.init, "name")))
]  # fmt: skip
"""Hyperparameters that a step reads, by rule."""

KINDS: dict[str, Callable[[list[float]], tuple[Any, Callable[[int], object]]]] = {}


def kind(function: Callable[[list[float]], tuple[Any, Callable[[int], object]]]) -> object:
    KINDS[function.__name__] = function
    return function


@kind
def keras_variable(values: list[float]) -> tuple[Any, Callable[[int], object]]:
    moving = keras.Variable(values[0], dtype="float64")
    return moving, lambda step: moving.assign(values[step])


@kind
def tf_variable(values: list[float]) -> tuple[Any, Callable[[int], object]]:
    moving = tf.Variable(values[0], dtype="float64")
    return moving, lambda step: moving.assign(values[step])


@kind
def function(values: list[float]) -> tuple[Any, Callable[[int], object]]:
    moving = tf.Variable(values[0], dtype="float64")
    return (lambda: moving), lambda step: moving.assign(values[step])


@kind
def schedule(values: list[float]) -> tuple[Any, Callable[[int], object]]:
    return keras.optimizers.schedules.PiecewiseConstantDecay([0], values), lambda step: None


@pytest.mark.parametrize(("rule", "name"), MOVING)
def test_a_number_may_move(rule: str, name: str) -> None:
    """In a traced function, without another trace: as if the optimizer had been set to each value between steps."""
    (hyper,) = (hyper for hyper in PROGRAMS[rule].hypers if hyper.name == name)
    values = [0.5, 0.75] if is_legal(hyper, 0.5) else [-0.5, -0.75]
    give = list(KINDS.values())[MOVING.index((rule, name)) % len(KINDS)]
    moving, move = give(values)
    v, expected = variable([1.0, 2.0], "float64"), variable([1.0, 2.0], "float64")
    optimizer, plain = make(rule, **{name: moving}), make(rule, **{name: values[0]})
    optimizer.build([v])
    step = tf.function(lambda g: optimizer.apply([g], [v]))
    for number, value in enumerate(values):
        move(number)
        step(tf.constant([0.25, 3.0], "float64"))
        setattr(plain, name, value)
        plain.apply([tf.constant([0.25, 3.0], "float64")], [expected])
    np.testing.assert_allclose(v.numpy(), expected.numpy(), rtol=1e-14)
    assert step.experimental_get_tracing_count() == 1
    assert len(optimizer.variables) == len(plain.variables)  # a user's variable stays the user's


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("give", KINDS.values(), ids=KINDS)
def test_every_kind_moves_in_every_mode(give: Any, mode: str) -> None:
    """The learning rate of SGD, whose step is the number itself, and its momentum."""
    rate, move_rate = give([1.0, 2.0])
    momentum, move_momentum = give([0.5, 0.25])
    v = variable([0.0])
    optimizer = make("sgd", learning_rate=rate, momentum=momentum)
    step = stepper(optimizer, [v], mode)
    seen = []
    for number in range(2):
        move_rate(number)
        move_momentum(number)
        step(np.ones(1, "float32"))
        seen.append(float(v.numpy()[0]))
    assert seen == [-1.0, -1.0 + (0.25 * -1.0 - 2.0)]


def test_a_callable_is_called_once_per_step() -> None:
    calls = []
    optimizer = make("adam", beta_1=lambda: calls.append(0) or 0.5)
    optimizer.apply([tf.ones(1), tf.ones(1)], [variable([1.0]), variable([1.0])])
    assert len(calls) == 1


def test_setting_a_number_takes_effect_eagerly() -> None:
    v = variable([0.0])
    optimizer = make("sgd", learning_rate=1.0, momentum=0.5)
    optimizer.apply([tf.ones(1)], [v])
    optimizer.momentum = 0.25
    optimizer.apply([tf.ones(1)], [v])
    assert v.numpy()[0] == -1 + (0.25 * -1 - 1)


def test_setting_a_number_where_there_is_a_variable_assigns() -> None:
    moving = keras.Variable(0.5, dtype="float64")
    optimizer = make("adam", beta_1=moving)
    optimizer.beta_1 = 0.25
    assert (optimizer.beta_1 is moving, float(moving.numpy())) == (True, 0.25)


@pytest.mark.parametrize("jit", [False, True])
def test_setting_what_a_graph_holds_raises(jit: bool) -> None:
    v = variable([0.0])
    optimizer = make("sgd", momentum=0.5, weight_decay=0.5, nesterov=True)
    stepper(optimizer, [v], "xla" if jit else "function")(np.ones(1, "float32"))
    settings: list[tuple[str, Any]] = [("momentum", 0.25), ("momentum", lambda: 0.25), ("nesterov", False)]
    for name, value in [*settings, ("weight_decay", 0.25), ("weight_decay", None), ("sparse", "dense")]:
        with pytest.raises(RuntimeError, match=f"setting `{name}` has no effect: a graph that was traced holds its"):
            setattr(optimizer, name, value)
    with pytest.raises(RuntimeError, match="setting `learning_rate` has no effect"):
        optimizer.learning_rate = lambda: 0.5
    with pytest.raises(RuntimeError, match="`exclude_from_weight_decay` has no effect"):
        optimizer.exclude_from_weight_decay(var_names=["w"])
    optimizer.momentum = 0.5  # what it is
    optimizer.learning_rate = 0.5
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.5, True, 0.5)


@pytest.mark.parametrize(
    ("rule", "name", "value"),
    [("adam", "amsgrad", True), ("adam", "gradient_accumulation_steps", 2), ("sgd", "momentum", 0.5)],
)
def test_setting_what_decides_slots_raises_once_they_are_there(rule: str, name: str, value: object) -> None:
    optimizer = make(rule)
    setattr(optimizer, name, value)
    optimizer = make(rule)
    optimizer.build([variable([0.0])])
    with pytest.raises(RuntimeError, match=f"`{name}` decides which slots there are, and optimizer .* has them"):
        setattr(optimizer, name, value)


def test_a_learning_rate_that_is_no_variable_cannot_be_set_to_a_number() -> None:
    for rate in (lambda: 0.5, keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)):
        optimizer = make("sgd", learning_rate=rate)
        with pytest.raises(TypeError, match="schedule or a callable and cannot be set to a number"):
            optimizer.learning_rate = 0.5


def test_a_schedule_takes_the_place_of_the_learning_rate() -> None:
    optimizer = make("sgd")
    assert len(optimizer.variables) == 2
    optimizer.learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 2.0])
    assert len(optimizer.variables) == 1
    assert float(optimizer.learning_rate) == 1.0
