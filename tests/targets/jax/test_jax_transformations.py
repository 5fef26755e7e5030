"""Under JAX's transformations: jit, scan, cond, vmap, grad, donation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax_doors import Doors, assert_same, avals, gradients, tree


def test_scan_and_cond_and_a_loop_agree(doors: Doors) -> None:
    params = tree()
    init, step = doors.step(weight_decay=0.01, gradient_accumulation_steps=2)
    state = init(params)
    sequence = [gradients(params, seed) for seed in range(4)]
    stacked = jax.tree.map(lambda *gs: jnp.stack(gs), *sequence)
    (scanned, last), _ = jax.lax.scan(lambda c, g: (step(c[0], g, c[1]), None), (params, state), stacked)
    looped, kept = params, state
    for grads in sequence:
        looped, kept = step(looped, grads, kept)
    assert_same((scanned, last), (looped, kept), ulps=8)
    assert avals(last) == avals(state)

    def either(is_on: Any, params: Any, state: Any) -> Any:
        return jax.lax.cond(is_on, lambda p, s: step(p, sequence[0], s), lambda p, s: (p, s), params, state)

    assert jax.tree.structure(jax.eval_shape(either, True, params, state)) == jax.tree.structure((params, state))


def test_vmap_is_many_optimizers(adam: Doors) -> None:
    rates = jnp.array([0.1, 0.01, 0.0])
    weights, grads = jnp.ones((3, 4)), gradients(jnp.ones((3, 4)))

    def one(rate: Any, w: Any, g: Any) -> Any:
        init, step = adam.step(rate)
        return step(w, g, init(w))[0]

    together = jax.vmap(one)(rates, weights, grads)
    alone = jnp.stack([one(*each) for each in zip(rates, weights, grads, strict=True)])
    assert_same(together, alone, ulps=4)
    assert_same(together[2], weights[2])


def test_state_and_parameters_can_be_donated(doors: Doors) -> None:
    params = tree()
    init, step = doors.step()
    donating = jax.jit(step, donate_argnums=(0, 2))
    expected = jax.jit(step)(params, gradients(params), init(params))
    assert_same(donating(jax.tree.map(jnp.copy, params), gradients(params), init(params)), expected)


def test_one_compilation_serves_all_steps_and_schedules(adam: Doors) -> None:
    init, step = adam.step(optax.cosine_decay_schedule(0.1, 100))
    traced = 0

    def count_traces(*arguments: Any) -> Any:
        nonlocal traced
        traced += 1
        return step(*arguments)

    jitted, params = jax.jit(count_traces), jnp.ones(3)
    state = init(params)
    for _ in range(4):
        params, state = jitted(params, jnp.ones(3), state)
    assert traced == 1


def test_derivatives_pass_through_a_step(adam: Doors) -> None:
    """The guards against XLA are the identity to differentiation, too."""

    def loss(rate: Any, b2: Any) -> Any:
        init, step = adam.step(rate, b2=b2)
        w, state = jnp.ones(3), init(jnp.ones(3))
        for g in (0.5, 0.1, -0.3):
            w, state = step(w, jnp.full(3, g), state)
        return w.sum()

    with jax.enable_x64(True):
        by_rate, by_b2 = jax.grad(loss, argnums=(0, 1))(0.1, 0.99)
        h = 1e-6
        np.testing.assert_allclose(by_rate, (loss(0.1 + h, 0.99) - loss(0.1 - h, 0.99)) / (2 * h), rtol=1e-5)
        np.testing.assert_allclose(by_b2, (loss(0.1, 0.99 + h) - loss(0.1, 0.99 - h)) / (2 * h), rtol=1e-5)


def test_states_can_be_made_of_shapes_alone(doors: Doors) -> None:
    params = tree()
    init, _ = doors.step()
    abstract = jax.eval_shape(init, jax.eval_shape(lambda: params))
    assert avals(init(params)) == jax.tree.map(lambda s: jax.typeof(jnp.zeros(s.shape, s.dtype)), abstract)


def test_without_any_jit(adam: Doors) -> None:
    init, step = adam.step()
    with jax.disable_jit():
        plain = step(jnp.ones(3), jnp.ones(3), init(jnp.ones(3)))
    assert_same(plain, step(jnp.ones(3), jnp.ones(3), init(jnp.ones(3))), ulps=2)
