"""Gradients of some rows: what lazy and dense updates change, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import RULES, Doors, assert_same, avals
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.passes.locality import locality

LOCAL = tuple(name for name in RULES if not locality(program_for(discover()[name], "jax")))
INDICES = np.array([4, 1, -2, 1], np.int32)  # 1 twice, and 4 by two names
TOUCHED, OTHERS = [1, 4], [0, 2, 3, 5]


def parameter() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)


def rows(module: Any, indices: Any = INDICES) -> Any:
    values = np.random.default_rng(1).normal(size=(len(indices), 3))
    return module.SparseRows(jnp.asarray(indices), jnp.asarray(values, jnp.float32))


def whole(g: Any) -> jax.Array:
    made = np.zeros((6, 3), np.float32)
    for index, row in zip(np.asarray(g.indices), np.asarray(g.rows), strict=True):
        made[index] += row
    return jnp.asarray(made)


@pytest.mark.parametrize("name", LOCAL)
def test_lazy_is_the_dense_update_of_the_touched_rows_alone(name: str, rendered: Callable[..., Doors]) -> None:
    doors = rendered(name)
    init, step = doors.step(0.1, weight_decay=0.01)
    w = parameter()
    shapes = {source: jnp.shape(w) if shape == "parameter" else () for source, shape in doors.inputs.items()}
    extra = {source: jnp.asarray(np.random.default_rng(2).normal(size=shape) + 2) for source, shape in shapes.items()}
    state = step(w, jnp.ones_like(w), init(w), **extra)[1]  # slots that would decay
    g = rows(doors.module)
    new, after = jax.jit(step)(w, g, state, **extra)
    by_rows, beside = jax.tree.map(lambda x: x[jnp.array(TOUCHED)] if x.ndim else x, ((w, state), extra))
    expected, expected_after = jax.jit(step)(by_rows[0], whole(g)[jnp.array(TOUCHED)], by_rows[1], **beside)
    assert avals(after) == avals(state)
    trees = (new, after), (w, state), (expected, expected_after)
    for made, kept, wanted in zip(*map(jax.tree.leaves, trees), strict=True):
        if made.ndim:
            np.testing.assert_allclose(made[jnp.array(TOUCHED)], wanted, rtol=1e-6)
            assert_same(made[jnp.array(OTHERS)], kept[jnp.array(OTHERS)])
    assert int(after[0].count) == 2

    updates, theirs = doors.factory(0.1, weight_decay=0.01).update(g, state, w, **extra)
    np.testing.assert_allclose(optax.apply_updates(w, updates), new, rtol=1e-6)
    assert not np.any(np.asarray(updates)[OTHERS])
    assert_same(theirs, after, ulps=8)


def test_dense_is_the_update_of_the_whole_gradient(doors: Doors) -> None:
    init, step = doors.step(0.1, weight_decay=0.01, sparse="dense")
    w = parameter()
    g = rows(doors.module)
    assert_same(step(w, g, init(w)), step(w, whole(g), init(w)), ulps=4)


def test_in_a_tree_and_under_transformations(adam: Doors) -> None:
    params = {"table": parameter(), "bias": jnp.ones(3), "none": None}
    grads = {"table": rows(adam.module), "bias": jnp.ones(3), "none": None}
    init, step = adam.step(lambda count: 0.1)
    scanned, _ = jax.lax.scan(lambda c, _: (step(c[0], grads, c[1]), None), (params, init(params)), None, length=3)
    looped = params, init(params)
    for _ in range(3):
        looped = step(looped[0], grads, looped[1])
    assert_same(scanned, looped, ulps=4)
    assert jax.tree.structure(looped[0]) == jax.tree.structure(params)


def test_rows_outside_are_left_out_and_none_at_all_change_nothing(adam: Doors) -> None:
    w = parameter()
    for options in ({}, {"sparse": "dense"}):
        init, step = adam.step(0.1, **options)
        inside = step(w, rows(adam.module, np.array([1, 2])), init(w))
        values = rows(adam.module, np.array([1, 2])).rows
        more = adam.module.SparseRows(jnp.array([1, 2, 6, 99, -7]), jnp.concatenate([values, jnp.ones((3, 3))]))
        assert_same(step(w, more, init(w)), inside, ulps=2)
        assert_same(step(w, rows(adam.module, np.zeros(0, np.int32)), init(w))[0], w)


def test_bfloat16_and_complex_tables(adam: Doors) -> None:
    for dtype in ("bfloat16", "complex64"):
        w = parameter().astype(dtype)
        g = adam.module.SparseRows(jnp.array([1, 1]), jnp.ones((2, 3), dtype))
        init, step = adam.step(0.1)
        new, after = step(w, g, init(w))
        assert avals((new, after)) == avals((w, init(w)))
        assert not np.array_equal(new[1], w[1]) and np.array_equal(new[2], w[2])


def test_what_is_refused(rendered: Callable[..., Doors]) -> None:
    adam, lamb = rendered("adam"), rendered("lamb")
    with pytest.raises(ValueError, match=r"sparse='lazy' has no meaning here, since .* is taken from the whole tensor"):
        lamb.step(sparse="lazy")
    with pytest.raises(ValueError, match="sparse must be 'lazy' or 'dense', not 'other'"):
        adam.factory(sparse="other")
    w = parameter()
    init, step = adam.step(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="sparse='lazy' has no meaning with gradient_accumulation_steps"):
        step(w, rows(adam.module), init(w))
    init, step = adam.step()
    sparse = adam.module.SparseRows
    with pytest.raises(ValueError, match=r"params has a leaf of shape \(6, 3\), whose gradient has rows \(2, 4\)"):
        step(w, sparse(jnp.array([0, 1]), jnp.ones((2, 4))), init(w))
    with pytest.raises(ValueError, match="indices must be whole numbers, not float32"):
        step(w, sparse(jnp.ones(2), jnp.ones((2, 3))), init(w))
    with pytest.raises(ValueError, match="sparse rows need the parameters"):
        adam.factory().update(rows(adam.module), init(w))
