"""What is refused, and with what words."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
import pytest
from jax_doors import Doors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"b1": 1.0}, ValueError, "b1 must be >= 0 and < 1, got 1.0"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be >= 0, got -0.1"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate must be >= 0, got inf"),
        ({"eps": float("nan")}, ValueError, "eps must be >= 0, got nan"),
        ({"b2": jnp.float32(2)}, ValueError, "b2 must be >= 0 and < 1, got 2.0"),
        ({"b2": jnp.ones(2)}, ValueError, r"b2 must be .*, not an array of shape \(2,\)"),
        ({"b2": "0.9"}, TypeError, "b2 must be a number or a schedule, not '0.9'"),
        ({"b2": None}, TypeError, "b2 must be a number or a schedule, not None"),
        ({"amsgrad": 1}, ValueError, "amsgrad must be one of False, True, not 1"),
        ({"skip_nonfinite": "yes"}, ValueError, "skip_nonfinite must be one of False, True, not 'yes'"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be >= 0, got -1"),
        ({"gradient_accumulation_steps": 1}, ValueError, "gradient_accumulation_steps must be an integer >= 2, got 1"),
        (
            {"gradient_accumulation_steps": 2.5},
            ValueError,
            "gradient_accumulation_steps must be an integer >= 2, got 2.5",
        ),
        ({"gradient_accumulation_steps": lambda count: 2}, TypeError, "must be a number, not"),
        ({"gradient_accumulation_steps": jnp.int32(2)}, TypeError, "static_args"),
        ({"mu_dtype": "bfloat16"}, TypeError, "mu_dtype"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str, adam: Doors) -> None:
    for door in (adam.factory, adam.step):
        with pytest.raises(error, match=message):
            door(**arguments)


def test_wrong_trees_and_states(adam: Doors) -> None:
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    init, step = adam.step()
    state = init(params)
    with pytest.raises(ValueError, match="params does not have the structure of the gradients"):
        step(params, {"a": jnp.ones(3)}, state)
    with pytest.raises(ValueError, match=r"params has a leaf of shape \(3,\), whose gradient has \(4,\)"):
        step(params, {"a": jnp.ones(4), "b": jnp.ones(2)}, state)
    with pytest.raises(ValueError, match=r"state\.mu has a leaf of shape \(4,\)"):
        step(params, params, init({"a": jnp.ones(4), "b": jnp.ones(2)}))
    with pytest.raises(ValueError, match="params does not have the structure"):
        step({"a": None, "b": jnp.ones(2)}, params, state)
    with pytest.raises(TypeError, match="the state must be a tuple with a AdamState, as `init` returns it"):
        step(params, params, optax.adagrad(0.1).init(params))
    with pytest.raises(ValueError, match=r"state\.nu_max: the state was made without it"):
        adam.step(amsgrad=True).step(params, params, state)
    with pytest.raises(ValueError, match=r"state\.nu_max: the state was made with it"):
        step(params, params, adam.step(amsgrad=True).init(params))


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_dtypes_that_are_not_there_yet(dtype: str, adam: Doors) -> None:
    with pytest.raises(NotImplementedError, match=f"leaves of dtype {dtype} are not implemented yet"):
        adam.step().init(jnp.ones(3, dtype))
    with pytest.raises(NotImplementedError, match=f"leaves of dtype {dtype} are not implemented yet"):
        adam.step().step(jnp.ones(3), jnp.ones(3, dtype), adam.step().init(jnp.ones(3)))
