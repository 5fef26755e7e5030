"""Bad input is refused, with a message that names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, discover, render
from optloom.codegen.conformance.protocol import load_module
from tensorflow_cases import PROGRAMS, RULES, is_legal, load, make, tf, variable

BOUNDS = [
    (rule, hyper.name, bad)
    for rule in RULES
    for hyper in PROGRAMS[rule].hypers
    for bad in (-1.0, 1.0, float("nan"), float("inf"))
    if not (np.isfinite(bad) and is_legal(hyper, bad))
]


@pytest.mark.parametrize(("rule", "name", "value"), BOUNDS)
def test_out_of_bounds_is_refused(rule: str, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        make(rule, **{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta_1": 1.0}, "beta_1 must be >= 0 and < 1, got 1.0"),
        ({"beta_1": "0.9"}, "`beta_1` must be a number >= 0 and < 1. Received: beta_1='0.9'"),
        ({"amsgrad": "no"}, r"`amsgrad` must be one of \(False, True\). Received: amsgrad='no'"),
        ({"gradient_accumulation_steps": 2.5}, "gradient_accumulation_steps must be an integer >= 2, got 2.5"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be an integer >= 2, got 1"),
        ({"beta_1": True}, "`beta_1` must be a number >= 0 and < 1. Received: beta_1=True"),
        ({"beta_1": lambda step: 0.5}, "`beta_1` must be a number .*, or a callable without arguments"),
        ({"learning_rate": lambda step: 0.5}, "`learning_rate` must be a number .*, or a callable without arguments"),
        ({"amsgrad": 1}, r"`amsgrad` must be one of \(False, True\). Received: amsgrad=1"),
        ({"gradient_accumulation_steps": lambda: 2}, "must be an integer >= 2 or None"),
        ({"learning_rate": 1}, "Argument `learning_rate` should be float"),
        ({"lr": 0.1}, "not recognized: {'lr': 0.1}"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("adam", **arguments)


def test_a_stage_left_out_says_so(tmp_path: Path) -> None:
    for path, text in render(discover()["sgd"], "tensorflow", "fast", Settings(stages=())).items():
        (tmp_path / Path(path).name).write_text(text)
    module = load_module(str(tmp_path / "sgd.py"))
    stages = {
        "weight_decay": 0.1, "gradient_accumulation_steps": 2, "clipnorm": 1.0, "clipvalue": 1.0,
        "global_clipnorm": 1.0, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2,
        "loss_scale_factor": 8.0,
    }  # fmt: skip
    for argument in ({name: value} for name, value in stages.items()):
        with pytest.raises(NotImplementedError, match="is not supported yet"):
            module.SGD(**argument)
    v = variable([1.0])
    module.SGD(learning_rate=0.5).apply([tf.ones(1)], [v])
    assert v.numpy()[0] == 0.5


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([None], "No gradients provided for any variable"),
        ([], "received 0 for 1 variables"),
        ([np.ones(2), np.ones(2)], "received 2 for 1 variables"),
        ([np.ones(1, "float32")], r"the gradient of w must have its shape \(2,\), not \(1,\)"),
        ([np.ones((2, 2), "float32")], r"the gradient of w must have its shape \(2,\), not \(2, 2\)"),
        ([np.ones(2, "int32")], "the gradient of w must be of a floating dtype, not int32"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(gradients: list[Any], message: str) -> None:
    v = variable([1.0, 2.0])
    optimizer = make("adam")
    with pytest.raises(ValueError, match=message):
        optimizer.apply(gradients, [v])
    np.testing.assert_array_equal(v.numpy(), [1, 2])
    assert int(optimizer.iterations) == 0


def test_variables_must_be_known() -> None:
    optimizer = make("adam")
    with pytest.raises(ValueError, match="the first call of `apply` needs the variables"):
        optimizer.apply([tf.ones(1)])
    optimizer.build([variable([1.0])])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([tf.ones(1)], [variable([1.0])])


def test_another_backend_is_named() -> None:
    file = load("sgd").__file__
    assert file is not None
    program = f"from optloom.codegen.conformance.protocol import load_module; load_module({file!r})"
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: these optimizers are for Keras on tensorflow, and its backend here is numpy" in done.stderr


@pytest.mark.parametrize(
    "pairs",
    [[1.0], [np.ones(1, "float32")], [(np.ones(1), "w")], [(1, 2, 3)], np.ones((2, 2)), 5, [("w", np.ones(1))]],
    ids=str,
)
def test_what_are_no_pairs_is_a_type_error(pairs: Any) -> None:
    with pytest.raises(TypeError, match=r"`grads_and_vars` must be pairs of a gradient and a variable. Received"):
        make("adam").apply_gradients(pairs)


def test_no_pairs_are_no_gradients() -> None:
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        make("adam").apply_gradients([])


def test_variables_of_other_dtypes_are_refused() -> None:
    for dtype in ("int32", "complex64"):
        with pytest.raises(ValueError, match=f"variable v must be of a floating dtype, not .*{dtype}"):
            make("adam").build([tf.Variable([1], dtype=dtype, name="v")])


def test_variables_that_their_gradient_overwrites_are_refused() -> None:
    v = variable([1.0])
    v.overwrite_with_gradient = True
    with pytest.raises(NotImplementedError, match="overwrite_with_gradient are not supported yet: w"):
        make("adam").build([v])


def test_building_for_other_variables_is_refused() -> None:
    v = variable([1.0])
    optimizer = make("adam")
    optimizer.build([v])
    optimizer.build([v])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.build([v, variable([1.0])])


def test_a_learning_rate_out_of_its_bounds_cannot_be_set() -> None:
    optimizer = make("adam", learning_rate=0.5)
    for bad in (-1.0, float("nan"), "0.1", True):
        with pytest.raises(ValueError, match=r"learning_rate.* must be .*>= 0"):
            optimizer.learning_rate = bad
    assert float(optimizer.learning_rate.numpy()) == 0.5
    optimizer.learning_rate = np.float32(0.25)  # as callbacks do
    assert float(optimizer.learning_rate.numpy()) == 0.25


def test_stateless_apply_is_refused_as_in_keras() -> None:
    with pytest.raises(ValueError, match="stateless_apply is not supported with the TensorFlow backend"):
        make("adam").stateless_apply([], [], [])
