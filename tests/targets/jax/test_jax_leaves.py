"""Leaves of all kinds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_doors import DTYPES, Doors, assert_same, avals, gradients, tree


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: str, doors: Doors) -> None:
    with jax.enable_x64(dtype == "float64"):
        params = tree(dtype)
        grads = gradients(params)
        init, step = doors.step(weight_decay=0.01)
        state = init(params)
        new, after = step(params, grads, state)
        assert avals(new) == avals(params) and avals(after) == avals(state)
        slots = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != jnp.int32]
        assert {str(leaf.dtype) for leaf in slots} <= {"float64" if dtype == "float64" else "float32"}
        other = jax.tree.map(lambda g: g.astype("float16"), grads)
        updates, after = doors.factory().update(other, doors.factory().init(params), params)
        assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float16")}
        assert avals(after) == avals(doors.factory().init(params))


def test_one_tree_of_several_dtypes(doors: Doors) -> None:
    with jax.enable_x64(True):
        params = {dtype: jnp.ones(4, dtype) for dtype in DTYPES}
        init, step = doors.step()
        new, _ = step(params, params, init(params))
        for dtype in DTYPES:
            alone, _ = step(params[dtype], params[dtype], init(params[dtype]))
            assert_same(new[dtype], alone)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_compute_in_float32_and_survive_zero_gradients(dtype: str, doors: Doors) -> None:
    init, step = doors.step(1.0)
    w, wide = jnp.ones(4, dtype), jnp.ones(4)
    state, wide_state = init(w), init(wide)
    for number in range(20):
        g = w if number else jnp.zeros(4, dtype)
        w, state = step(w, g, state)
        wide, wide_state = step(wide, g.astype("float32"), wide_state)
        wide = wide.astype(dtype).astype("float32")
        assert np.all(np.isfinite(np.asarray(w, float)))
        assert_same((w.astype("float32"), state), (wide, wide_state))


def test_a_missing_gradient_leaves_its_leaf_alone(doors: Doors) -> None:
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    grads = {"a": jnp.ones(3), "b": None}
    init, step = doors.step()
    state = init(params)
    new, after = step(params, grads, state)
    assert new["b"] is params["b"]
    assert avals(after) == avals(state)
    updates, after = doors.factory().update(grads, state, params)
    assert updates["b"] is None and avals(after) == avals(state)
    assert np.all(np.asarray(updates["a"]) < 0)


def test_nothing_to_optimize(doors: Doors) -> None:
    init, step = doors.step()
    for params in ({}, {"a": None}, (), None):
        new, state = step(params, params, init(params)) if params is not None else (None, init(None))
        assert new == params and jax.tree.leaves(state)[0].dtype == jnp.int32


def test_numpy_arrays_and_python_floats_are_leaves(doors: Doors) -> None:
    params = {"a": np.ones(3, np.float32), "b": 1.0}
    init, step = doors.step()
    new, _ = step(params, jax.tree.map(lambda w: 0.5 * w, params), init(params))
    assert new["a"].dtype == jnp.float32 and new["b"].shape == ()


def test_a_complex_leaf_is_its_two_parts(doors: Doors) -> None:
    rng = np.random.default_rng(0)
    w, g = (jnp.asarray(rng.normal(size=(4, 2)), jnp.float32) for _ in range(2))
    init, step = doors.step(0.1, weight_decay=0.01)
    whole, parts = jax.lax.complex(w[:, 0], w[:, 1]), jax.lax.complex(g[:, 0], g[:, 1])
    if doors.asks_for_axes:
        with pytest.raises(NotImplementedError, match="depends on a leaf's axes takes no complex leaves yet"):
            init(whole)
        return
    new, state = step(whole, parts, init(whole))
    expected, kept = step(w, g, init(w))
    assert avals(state) == avals(init(whole)) and new.dtype == jnp.complex64
    np.testing.assert_allclose(jnp.stack([new.real, new.imag], -1), expected, rtol=1e-6)
    for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(jnp.stack([x.real, x.imag], -1) if jnp.iscomplexobj(x) else x, y, rtol=1e-6)
    with pytest.raises(ValueError, match="a leaf of dtype float32 has a complex gradient"):
        step(w[:, 0], parts, init(w[:, 0]))
