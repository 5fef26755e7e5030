"""Slots of the parameter's dtype in JAX: state that moves, and sparse gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optloom.codegen.compiler import Settings
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.conformance.rendering import rendered
from optloom.codegen.discovery import discover

ROWS = jnp.asarray([[0.3, -0.7], [1.1, 0.01]], jnp.bfloat16)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("narrow")
    file = rendered(discover()["adam"], "adam", "jax", "fast", folder, Settings(slot_dtype="parameter"))
    return load_module(str(file))


def stepped(module: Any, gradient: Any, calls: int = 3) -> tuple[Any, Any, Any]:
    """The step, and the parameters, of bfloat16, and the state after some."""
    params = {"w": jnp.ones((3, 2), jnp.bfloat16)}
    init, step = module.adam_step(0.1)
    step, state = jax.jit(step), init(params)
    for _ in range(calls):
        params, state = step(params, {"w": gradient}, state)
    return step, params, state


def test_exported_state_is_exact_and_goes_on(module: Any) -> None:
    gradient = jnp.linspace(-1, 1, 6, dtype=jnp.bfloat16).reshape(3, 2)
    step, params, state = stepped(module, gradient)
    exported = module.export_state(state)
    assert exported["slots/m/w"].dtype == np.float32
    np.testing.assert_array_equal(exported["slots/m/w"], np.asarray(state[0].mu["w"], np.float32))
    loaded = module.import_state(stepped(module, gradient, 0)[2], exported)
    assert loaded[0].mu["w"].dtype == loaded[0].nu["w"].dtype == jnp.bfloat16
    one, other = (step(params, {"w": gradient}, given) for given in (state, loaded))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_rows_of_sparse_gradients_are_as_dense_ones(module: Any) -> None:
    rows = jnp.asarray([0, 2])
    sparse = module._support.SparseRows(rows, ROWS)
    dense = jnp.zeros((3, 2), jnp.bfloat16).at[rows].set(ROWS)
    (_, *found), (_, *expected) = (stepped(module, g) for g in (sparse, dense))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
