"""Inside optax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import Doors, assert_same, avals


def test_optax_wrappers(doors: Doors) -> None:
    params, grads = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}, {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    chained = optax.chain(optax.clip_by_global_norm(1.0), doors.factory(0.1))
    masked = optax.masked(doors.factory(0.1), {"a": True, "b": False})
    several = optax.MultiSteps(doors.factory(0.1), 2).gradient_transformation()
    finite = optax.apply_if_finite(doors.factory(0.1), 2)
    labelled = optax.partition({"x": doors.factory(0.1), "y": optax.set_to_zero()}, {"a": "x", "b": "y"})
    for optimizer in (chained, masked, several, finite, labelled):
        state = optimizer.init(params)
        updates, after = optimizer.update(grads, state, params)
        assert avals(after) == avals(state)
        assert avals(updates) == avals(grads)
    plain, _ = doors.factory(0.1).update(grads, doors.factory(0.1).init(params), params)
    assert_same(labelled.update(grads, labelled.init(params), params)[0]["a"], plain["a"], ulps=4)


def test_extra_arguments_are_accepted_and_parameters_asked_for_where_needed(doors: Doors) -> None:
    params, grads = jnp.ones(3), jnp.ones(3)
    decaying = doors.factory(weight_decay=0.1)
    decaying.update(grads, decaying.init(params), params, value=1.0)
    with pytest.raises(ValueError, match="pass `params`"):
        decaying.update(grads, decaying.init(params))


def test_no_parameters_are_needed_without_decay(adam: Doors) -> None:
    updates, _ = adam.factory().update(jnp.ones(3), adam.factory().init(jnp.ones(3)))
    np.testing.assert_allclose(updates, -0.001, rtol=1e-5)
