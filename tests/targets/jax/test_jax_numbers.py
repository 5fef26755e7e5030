"""Hyperparameters: floats, arrays, schedules, injected ones, accumulation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import Doors, assert_same, gradients, tree


def test_a_rate_may_be_a_float_an_array_or_a_schedule(doors: Doors) -> None:
    params, grads = tree(), gradients(tree())
    results = []
    schedules = (lambda count: 0.25, lambda count: jnp.float32(0.25))
    if doors.rate_starts_a_slot:
        with pytest.raises(TypeError, match="learning_rate must be a number, not"):
            doors.step(schedules[0])
        schedules = ()
    for rate in (0.25, np.float32(0.25), jnp.float32(0.25), *schedules):
        init, step = doors.step(rate)
        results.append(step(params, grads, init(params)))
    for other in results[1:]:
        assert_same(other, results[0])


def test_schedules_see_the_updates_made_before(adam: Doors) -> None:
    seen = []
    init, step = adam.step(lambda count: seen.append(int(count)) or 0.1, gradient_accumulation_steps=2)
    params = jnp.ones(2)
    state = init(params)
    for _ in range(5):
        params, state = step(params, jnp.ones(2), state)
    assert seen == [0, 0, 1, 1, 2]


def test_inject_hyperparams_gives_the_same_as_plain_numbers(doors: Doors) -> None:
    params, grads = tree(), gradients(tree())
    injected = optax.inject_hyperparams(doors.factory, static_args=doors.integers)(learning_rate=0.1)
    updates, state = jax.jit(injected.update)(grads, injected.init(params), params)
    plain = doors.factory(jnp.float32(0.1))
    expected, _ = plain.update(grads, plain.init(params), params)
    for x, y in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3)  # b2 arrives rounded to float32, as in optax
    assert float(state.hyperparams["learning_rate"]) == np.float32(0.1)


def test_a_steps_numbers_are_computed_once_for_all_leaves(adam: Doors) -> None:
    def guards(leaves: int) -> int:
        """The integer ORs of `exact` in the compiled program: fast code has them in a step's numbers alone."""
        init, step = adam.step(0.1)
        params = {f"leaf{length}": jnp.ones(length) for length in range(8, 8 + leaves)}
        return jax.jit(step).lower(params, params, init(params)).compile().as_text().count(" or(")

    assert guards(4) == guards(1) > 0


def test_a_beta_of_zero_and_the_last_count(adam: Doors) -> None:
    params = jnp.ones(3)
    init, step = adam.step(0.5, 0.0, 0.0, 0.0)
    own, extras = init(params)
    own = own._replace(count=jnp.int32(2**31 - 1))
    new, state = jax.jit(step)(params, jnp.full(3, 3.0), (own, extras))
    np.testing.assert_array_equal(new, 0.5)
    assert int(state[0].count) == 2**31 - 1


def test_accumulation_updates_once_by_the_mean(doors: Doors) -> None:
    params = tree()
    sequence = [gradients(params, seed) for seed in range(4)]
    init, step = doors.step(gradient_accumulation_steps=4)
    whole, now, state = doors.step(), params, init(params)
    for call, grads in enumerate(sequence, start=1):
        before = now
        now, state = step(now, grads, state)
        assert (int(state[1].iterations), int(state[0].count)) == (call, call // 4)
        if call < 4:
            assert_same(now, before)
    mean = jax.tree.map(lambda *gs: (gs[0] + gs[1] + gs[2] + gs[3]) * 0.25, *sequence)
    assert_same(now, whole.step(params, mean, whole.init(params))[0], ulps=8)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(state[1].accumulated_gradient))


def test_an_injected_number_changes_without_a_new_trace(doors: Doors) -> None:
    optimizer = optax.inject_hyperparams(doors.factory, static_args=doors.integers)(
        learning_rate=0.1, weight_decay=0.01
    )
    params, traced = jnp.ones(3), 0

    def count_traces(*arguments: Any) -> Any:
        nonlocal traced
        traced += 1
        return optimizer.update(*arguments)

    update, state = jax.jit(count_traces), optimizer.init(params)
    first, _ = update(jnp.ones(3), state, params)
    state.hyperparams["learning_rate"] = jnp.float32(0.2)
    second, _ = update(jnp.ones(3), state, params)
    assert traced == 1
    plain = doors.factory(jnp.float32(0.2), weight_decay=jnp.float32(0.01))
    expected, _ = plain.update(jnp.ones(3), state.inner_state, params)
    np.testing.assert_allclose(second, expected, rtol=1e-3)  # other numbers arrive rounded to float32
    assert doors.rate_starts_a_slot or not np.allclose(second, first, rtol=0.1)


def test_a_number_may_arrive_traced_and_an_integer_that_decides_structure_may_not(adam: Doors) -> None:
    params, traced = jnp.ones(3), 0

    @jax.jit
    def train(rate: Any, b1: Any) -> Any:
        nonlocal traced
        traced += 1
        init, step = adam.step(rate, b1)
        return step(params, params, init(params))[0]

    for rate in (0.1, 0.2, 0.3):
        init, step = adam.step(jnp.float32(rate), jnp.float32(0.9))
        assert_same(train(rate, 0.9), step(params, params, init(params))[0], ulps=4)
    assert traced == 1
    injected = optax.inject_hyperparams(adam.factory)
    with pytest.raises(TypeError, match=r"gradient_accumulation_steps must be known .* in `static_args`"):
        injected(learning_rate=0.1, gradient_accumulation_steps=2).init(params)
    allowed = optax.inject_hyperparams(adam.factory, static_args=("gradient_accumulation_steps",))
    state = allowed(learning_rate=0.1, gradient_accumulation_steps=2).init(params)
    assert int(state.inner_state[1].iterations) == 0
