"""The surface of a Keras optimizer."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest
from tensorflow_cases import (
    LAID_OUT_AS_THERE,
    PEERS,
    PROGRAMS,
    RULES,
    all_on,
    is_legal,
    keras,
    load,
    make,
    state_of,
    tf,
    variable,
)  # fmt: skip

NAMED_OTHERWISE = ("Muon",)
"""Peers whose own arguments are more, and called otherwise."""


@pytest.mark.parametrize("rule", LAID_OUT_AS_THERE)
def test_variables_are_keras_own(rule: str) -> None:
    """Names, shapes and order, so that a stock optimizer's state loads. What is no variable's has no name in Keras."""
    arguments = all_on(rule) | {"gradient_accumulation_steps": 2, "name": "same"}
    variables = [variable(np.ones((2, 3)), name="a"), variable(1.0, name="b")]

    def described(optimizer: Any) -> list[tuple[str, tuple[int, ...]]]:
        optimizer.build(variables)
        unnamed = [slot.name for slot in PROGRAMS[rule].slots if slot.shape == "scalar"] + ["variable"]
        return [
            (v.path if v.name.rstrip("_0123456789") not in unnamed else "", tuple(v.shape)) for v in optimizer.variables
        ]

    assert described(make(rule, **arguments)) == described(getattr(keras.optimizers, PEERS[rule])(**arguments))


@pytest.mark.parametrize("rule", [rule for rule in PEERS if PEERS[rule] not in NAMED_OTHERWISE])
def test_arguments_are_keras_own(rule: str) -> None:
    """And after them, by name only, those that Keras has not."""
    found = inspect.signature(type(make(rule))).parameters.values()
    expected = inspect.signature(getattr(keras.optimizers, PEERS[rule])).parameters.values()
    by_name = [p.name for p in found if p.kind is p.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in found if p.name not in by_name] == [(p.name, p.default) for p in expected]
    of_keras = {p.name for p in expected}
    declared = (*PROGRAMS[rule].hypers, *PROGRAMS[rule].options)
    others = [item.name for item in declared if item.convention or (item.stage and item.name not in of_keras)]
    assert by_name == ["sparse", "fused", *others]


@pytest.mark.parametrize("rule", RULES)
def test_config_round_trip(rule: str) -> None:
    program = PROGRAMS[rule]
    arguments: dict[str, Any] = {
        hyper.name: 0.25 if is_legal(hyper, 0.25) else -0.25 for hyper in program.hypers if not hyper.stage
    }
    arguments |= {option.name: True for option in program.options if not option.choices}
    arguments |= {"weight_decay": 0.1, "gradient_accumulation_steps": 3, "name": "mine", "sparse": "dense"}
    optimizer = make(rule, **arguments)
    config = json.loads(json.dumps(optimizer.get_config()))
    assert {name: config[name] for name in arguments} == arguments
    again = type(optimizer).from_config(config)
    assert again.get_config() == optimizer.get_config()


def test_schedule_round_trip() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = make("adam", learning_rate=schedule)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again._learning_rate.get_config() == schedule.get_config()


def test_weight_decay_is_decoupled_and_can_be_excluded() -> None:
    a, b = variable([1.0], name="kernel"), variable([1.0], name="bias")
    optimizer = make("sgd", learning_rate=0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([tf.zeros(1), tf.zeros(1)], [a, b])
    assert (a.numpy()[0], b.numpy()[0]) == (0.75, 1.0)


def test_missing_gradients_are_skipped() -> None:
    a, b = variable([1.0], name="a"), variable([1.0], name="b")
    optimizer = make("sgd", learning_rate=0.5)
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        optimizer.apply([None, tf.ones(1)], [a, b])
    assert (a.numpy()[0], b.numpy()[0]) == (1.0, 0.5)


def test_constraints_are_applied() -> None:
    v = variable([0.25])
    v.constraint = keras.constraints.NonNeg()
    make("sgd", learning_rate=1.0).apply([tf.ones(1)], [v])
    assert v.numpy()[0] == 0


def test_plain_tensorflow_variables_are_taken() -> None:
    v = tf.Variable([1.0])
    make("adam", learning_rate=0.5).apply_gradients([(tf.ones(1), v)])
    assert v.numpy()[0] == pytest.approx(0.5, rel=1e-5)


def test_a_subclass_may_override_update_step() -> None:
    class Doubled(load("sgd").SGD):  # type: ignore[name-defined,misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(2 * gradient, variable, learning_rate)

    v = variable([0.0])
    optimizer = Doubled(learning_rate=1.0)
    optimizer.apply([tf.ones(1)], [v])
    assert v.numpy()[0] == -2
    optimizer.update_step(tf.ones(1), v, 0.5)
    assert v.numpy()[0] == -3


def test_a_config_keeps_what_moves() -> None:
    """Schedules as they are, of a variable the number that it is now."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.9, 10, 0.5)
    optimizer = make("adam", beta_1=schedule, beta_2=keras.Variable(0.5), learning_rate=tf.Variable(0.25))
    config = json.loads(json.dumps(optimizer.get_config()))
    again = type(optimizer).from_config(config)
    assert again.beta_1.get_config() == schedule.get_config()
    assert (again.beta_2, float(again.learning_rate.numpy())) == (0.5, 0.25)


def test_a_registered_class_is_found_by_its_config() -> None:
    optimizer = make("adam", beta_1=0.25, name="mine")
    keras.saving.register_keras_serializable("optloom")(type(optimizer))  # other tests load Adams of other options
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


def test_pickling_keeps_config_and_class() -> None:
    from optloom.generated.tensorflow.adam import Adam

    again = pickle.loads(pickle.dumps(Adam(beta_1=0.25)))
    assert type(again).__name__ == "Adam"
    assert again.get_config()["beta_1"] == 0.25


def test_names_are_counted_as_in_keras() -> None:
    keras.backend.clear_session()
    assert [make("adam").name, make("adam").name, make("adamw").name] == ["adam", "adam_1", "adam_w"]
    assert make("adam", name="mine").name == "mine"


def test_slots_by_name() -> None:
    v, plain = variable([1.0, 2.0]), tf.Variable([1.0])
    optimizer = make("adam", amsgrad=True)
    assert optimizer.get_slot_names() == []
    optimizer.apply([tf.ones(2), tf.ones(1)], [v, plain])
    assert optimizer.get_slot_names() == ["m", "v", "v_hat"]
    np.testing.assert_allclose(optimizer.get_slot(v, "m"), [0.1, 0.1], rtol=1e-6)
    assert tuple(optimizer.get_slot(plain, "v").shape) == (1,)
    with pytest.raises(ValueError, match=r"has the slots \['m', 'v', 'v_hat'\]. Received: slot_name='u'"):
        optimizer.get_slot(v, "u")
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.get_slot(variable([1.0]), "m")


def test_iterations_count_calls_and_updates() -> None:
    v = variable([1.0])
    optimizer = make("sgd", gradient_accumulation_steps=2)
    assert [int(optimizer.apply_gradients([(tf.ones(1), v)])) for _ in range(3)] == [1, 2, 3]
    assert (int(optimizer._iterations), int(optimizer.iterations)) == (3, 1)


def test_apply_gradients_is_apply() -> None:
    a, b = variable([1.0]), variable([1.0])
    first, second = make("adam"), make("adam")
    for _ in range(2):
        first.apply([tf.ones(1)], [a])
        second.apply_gradients(zip([tf.ones(1)], [b], strict=True))
    assert (a.numpy(), state_of(first)) == (b.numpy(), state_of(second))


def test_gradients_alone_are_those_of_the_variables_it_was_built_with() -> None:
    v = variable([1.0])
    optimizer = make("sgd", learning_rate=0.5)
    optimizer.build([v])
    optimizer.apply([tf.ones(1)])
    assert v.numpy()[0] == 0.5


def test_a_function_may_make_the_first_call_and_is_traced_once_per_shape() -> None:
    a, b = variable([1.0]), variable([1.0, 2.0])
    optimizer = make("adam")
    traced = []

    @tf.function
    def step(gradient: Any, at: int) -> None:
        traced.append(at)
        optimizer.apply([gradient, tf.ones(2)], [a, b])

    for _ in range(3):
        step(tf.ones(1), 0)
        step(tf.ones(1) * 2, 0)
    assert traced[-1:] == [0]
    count = step.experimental_get_tracing_count()
    step(tf.ones(1) * 3, 0)
    assert step.experimental_get_tracing_count() == count <= 2  # the first trace makes variables, the second does not
    assert int(optimizer.iterations) == 7


@pytest.mark.parametrize("mode", ["function", "xla"])
def test_values_do_not_retrace(mode: str) -> None:
    optimizer, v = make("adam", beta_1=keras.Variable(0.5)), variable([1.0])
    optimizer.build([v])
    step = tf.function(lambda g: optimizer.apply([g], [v]), jit_compile=mode == "xla")
    for number in range(1, 4):
        optimizer.learning_rate = 0.1 / number
        optimizer.beta_1.assign(0.5 / number)
        step(tf.ones(1) * number)
    assert step.experimental_get_tracing_count() == 1


def test_excluding_twice_counts_the_last() -> None:
    kernel, bias = variable([1.0], name="kernel"), variable([1.0], name="bias")
    optimizer = make("sgd", learning_rate=0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.exclude_from_weight_decay(var_list=[kernel])
    optimizer.apply([tf.zeros(1), tf.zeros(1)], [kernel, bias])
    assert (kernel.numpy()[0], bias.numpy()[0]) == (1.0, 0.75)
