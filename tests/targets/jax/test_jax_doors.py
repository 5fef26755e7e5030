"""One optimizer, two doors: the factory and the step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax_doors import Doors, assert_same, avals, gradients, tree
from optloom.codegen.compiler import discover


def test_both_doors_agree(doors: Doors) -> None:
    params = tree()
    optimizer, (init, step) = doors.factory(0.1), doors.step(0.1)
    theirs, ours = optimizer.init(params), init(params)
    assert avals(theirs) == avals(ours)
    added, moved = params, params
    for seed in range(5):
        grads = gradients(params, seed)
        updates, theirs = optimizer.update(grads, theirs, added)
        added = optax.apply_updates(added, updates)
        moved, ours = step(moved, grads, ours)
    assert_same(added, moved, ulps=64)
    assert int(ours[0].count) == int(theirs[0].count) == 5


def test_both_doors_are_equal_in_strict_code_where_the_parameter_is_written_once(
    rendered: Callable[..., Doors],
) -> None:
    doors = rendered("adamax", "strict")
    params, grads = tree(), gradients(tree())
    optimizer, (init, step) = doors.factory(0.1), doors.step(0.1)
    updates, theirs = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    moved, ours = jax.jit(step)(params, grads, init(params))
    assert_same(optax.apply_updates(params, updates), moved)
    assert_same(theirs, ours)


OWN_RULE = """
from optloom.spec import Hyper, Rule, Slot, Value, where

class Own(Rule):
    "A rule of one's own, whose names are taken in generated code."

    learning_rate = Hyper(0.5, ge=0)
    shrink = Hyper(0.125, ge=0, le=1)
    epsilon = Hyper(1e-3, ge=0)
    count = Slot("a sum", init=2)
    first = Slot("where it began", init="parameter")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.count = self.count + self.epsilon * g
        self.k = self.count * self.learning_rate
        return (1 - self.shrink) * (w - self.k) + self.shrink * self.first
"""


def test_a_rule_of_ones_own_that_does_not_only_add(rendered: Callable[..., Doors], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_RULE)
    doors = rendered("own", rule=discover(tmp_path / "own.py")["own"])
    w, g = jnp.arange(4.0), jnp.ones(4)
    init, step = doors.step(weight_decay=0.5)
    state = init(w)
    assert state[0].count_[0] == 2 and state[0].count.dtype == jnp.int32
    moved, after = step(w, g, state)
    k = (2 + 0.001) * 0.5
    np.testing.assert_allclose(moved, (1 - 0.125) * (0.75 * w - k) + 0.125 * w, rtol=1e-6)
    updates, _ = doors.factory(weight_decay=0.5).update(g, state, w)
    np.testing.assert_allclose(w + updates, moved, rtol=1e-6)
    np.testing.assert_array_equal(after[0].first, w)
    same = jnp.arange(4.0)
    donated = jax.jit(step, donate_argnums=(0, 2))(same, g, init(same))
    assert_same(donated, (moved, after), ulps=4)
