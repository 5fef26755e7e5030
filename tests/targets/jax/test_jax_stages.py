"""The whole training step: averages, clipping, scaling, exclusion from decay, memory, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_doors import Doors, assert_same, field, gradients, tree
from optloom.codegen.compiler import Settings, discover, render
from optloom.codegen.conformance.protocol import load_module

ALL = {
    "loss_scale_factor": 4.0, "gradient_accumulation_steps": 2, "weight_decay": 0.01, "use_ema": True,
    "ema_momentum": 0.9, "ema_overwrite_frequency": 3,
}  # fmt: skip
CLIPS: tuple[dict[str, Any], ...] = ({"clipvalue": 0.5}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0})
ONE_OF_EACH = (
    "adafactor",
    "adam",
    "dog",
    "lamb",
    "lookahead",
    "muon",
    "prodigy",
    "rprop",
    "schedule_free_adamw",
    "sgd",
)


@pytest.fixture
def sgd(rendered: Callable[..., Doors]) -> Doors:
    return rendered("sgd")


def run(doors: Doors, calls: int, w: Any = 0.0, g: Any = 1.0, **arguments: Any) -> tuple[list[float], list[Any]]:
    """The weight, and the state, after each call with the same gradient."""
    init, step = doors.step(1.0, **arguments)
    params, found, states = jnp.full(1, w), [], []
    state = init(params)
    for _ in range(calls):
        params, state = step(params, jnp.full(1, g), state)
        found.append(float(params[0]))
        states.append(state)
    return found, states


def test_the_average_starts_as_the_weights_and_moves_once_per_update(sgd: Doors) -> None:
    """Rate 1, gradient 1, momentum 1/2, two calls per update: the weights -1, -2, -3, their averages by hand."""
    _, states = run(sgd, 6, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2)
    assert [float(field(state, "weight_average")[0]) for state in states] == [0, -1, -1, -1.5, -1.5, -2.25]
    assert float(sgd.module.averaged_params(states[-1])[0]) == -2.25
    params = jnp.ones(1, "bfloat16")
    assert sgd.module.averaged_params(states[-1], params).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="there are no averages: pass use_ema=True, and make an update"):
        sgd.module.averaged_params(run(sgd, 1)[1][0])
    with pytest.raises(ValueError, match="there are no averages"):
        sgd.module.averaged_params(sgd.step(use_ema=True).init(params))


def test_weights_are_overwritten_every_so_many_updates(sgd: Doors) -> None:
    assert run(sgd, 4, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)[0] == [-1, -1.5, -2.5, -2.75]


@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_below_its_threshold_a_clip_changes_no_bit(sgd: Doors, clip: str) -> None:
    params, grads = jnp.zeros(1000), gradients(jnp.zeros(1000))
    for door in (sgd.step(1.0, **{clip: 49.0}), sgd.step(1.0)):
        np.testing.assert_array_equal(door.step(params, grads, door.init(params))[0], -grads)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_a_norm_that_overflows_still_scales(sgd: Doors, clip: str) -> None:
    """Finite gradients whose squares are infinite in float32."""
    init, step = sgd.step(1.0, **{clip: 2.0})
    w = jnp.zeros(4)
    np.testing.assert_allclose(jax.jit(step)(w, jnp.full(4, 1e30), init(w))[0], -1, rtol=1e-6)


def test_the_global_norm_is_of_all_leaves_after_accumulation(sgd: Doors) -> None:
    init, step = sgd.step(1.0, global_clipnorm=1.0, gradient_accumulation_steps=2)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    state = init(params)
    for a, b in ((2.0, 1.0), (4.0, 7.0)):
        params, state = step(params, {"a": jnp.full(1, a), "b": jnp.full(1, b)}, state)
    np.testing.assert_allclose([params["a"][0], params["b"][0]], [-0.6, -0.8], rtol=1e-6)


def test_a_number_may_be_passed_anew_to_a_step(sgd: Doors) -> None:
    """Dynamic loss scaling: the scale comes with the gradients, through both doors, without a new trace."""
    init, step = sgd.step(1.0, loss_scale_factor=2.0)
    traced, w = 0, jnp.zeros(1)

    @jax.jit
    def scaled(scale: Any) -> Any:
        nonlocal traced
        traced += 1
        updates, _ = sgd.factory(1.0, loss_scale_factor=2.0).update(w + scale, init(w), w, loss_scale_factor=scale)
        return step(w, w + scale, init(w), loss_scale_factor=scale)[0], updates

    for scale in (8.0, 1024.0):
        assert scaled(scale) == (-1.0, -1.0)
    assert traced == 1
    with pytest.raises(ValueError, match="clipvalue is off"):
        step(w, w, init(w), clipvalue=1.0)
    with pytest.raises(ValueError, match="loss_scale_factor must be > 0, got 0"):
        step(w, w, init(w), loss_scale_factor=0)
    with pytest.raises(TypeError, match="gradient_accumulation_steps cannot change from step to step"):
        step(w, w, init(w), gradient_accumulation_steps=2)


def test_exclusion_from_decay_by_pattern(sgd: Doors) -> None:
    params = {"first": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "norms": [jnp.ones(2), jnp.ones(2)]}
    init, step = sgd.step(1.0, weight_decay=0.5, exclude_from_weight_decay=["bias$", "^norms/0"])
    decayed = step(params, jax.tree.map(jnp.zeros_like, params), init(params))[0]
    assert jax.tree.map(lambda w: float(w[0]), decayed) == {"first": {"kernel": 0.5, "bias": 1.0}, "norms": [1.0, 0.5]}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_both_doors_agree_with_all_stages(name: str, rendered: Callable[..., Doors]) -> None:
    doors, params = rendered(name), tree()
    arguments = ALL | CLIPS[2] | ({} if doors.rate_starts_a_slot else {"learning_rate": 0.01})
    (init, step), optimizer = doors.step(**arguments), doors.factory(**arguments)

    @jax.jit
    def both(moved: Any, added: Any, ours: Any, theirs: Any, grads: Any) -> Any:
        updates, theirs = optimizer.update(grads, theirs, added)
        return step(moved, grads, ours)[0], jax.tree.map(jnp.add, added, updates), step(moved, grads, ours)[1], theirs

    carry = params, params, init(params), optimizer.init(params)
    for seed in range(7):
        carry = both(*carry, gradients(params, seed))
    for x, y in zip(jax.tree.leaves(carry[0]), jax.tree.leaves(carry[1]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert int(carry[2][0].count) == 3 and int(carry[2][1].iterations) == 7


@pytest.mark.parametrize(
    ("clip", "dtype"),
    [*((clip, "float32") for clip in CLIPS), (CLIPS[0], "float64")],
)
@pytest.mark.parametrize("mode", ["jit", "op by op"])
def test_strict_code_has_numpys_bits(
    clip: dict[str, Any], dtype: str, mode: str, rendered: Callable[..., Doors], tmp_path: Path
) -> None:
    """Norms are sums, which JAX takes in an order of its own, in float64: their bits are those of float32."""
    (path, text), *_ = render(discover()["adam"], "numpy").items()
    (tmp_path / Path(path).name).write_text(text)
    expected = np.random.default_rng(3).normal(size=300).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        init, step = rendered("adam", "strict").step(0.01, **ALL, **clip)
        params = jnp.asarray(expected)
        state = init(params)
        numpys = load_module(str(tmp_path / Path(path).name)).Adam([expected], learning_rate=0.01, **ALL, **clip)
        step = jax.jit(step) if mode == "jit" else step
        for seed in range(60 if mode == "jit" else 7):
            rng = np.random.default_rng(seed)
            g = (rng.normal(size=300) * np.exp(2 * rng.normal(size=300))).astype(dtype)
            numpys.step([g])
            params, state = step(params, jnp.asarray(g), state)
            np.testing.assert_array_equal(np.asarray(params), expected)
    np.testing.assert_array_equal(field(state, "weight_average"), numpys.slots[0].weight_average)


def test_a_step_has_no_temporary_of_a_parameters_size(adam: Doors) -> None:
    """Unscaling, the global norm, decay, Adam and the average: one pass over each leaf, and one for its norm."""
    init, step = adam.step(loss_scale_factor=8.0, global_clipnorm=1.0, weight_decay=0.01, use_ema=True)
    params = {name: jax.ShapeDtypeStruct((256, 256), jnp.float32) for name in ("a", "b")}
    compiled = jax.jit(step, donate_argnums=(0, 2)).lower(params, params, jax.eval_shape(init, params)).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None and analysis.temp_size_in_bytes <= 2040


def test_what_is_off_leaves_no_trace(adam: Doors, tmp_path: Path) -> None:
    for path, text in render(discover()["adam"], "jax", "fast", Settings(stages=())).items():
        (tmp_path / Path(path).name).write_text(text)
    without, params = load_module(str(tmp_path / "adam.py")), tree()
    programs = []
    for init, step in (without.adam_step(), adam.step()):
        programs.append(str(jax.make_jaxpr(step)(params, gradients(params), init(params))))
    assert programs[0] == programs[1] and "f64" not in programs[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"clipvalue": 1.0, "clipnorm": 2.0}, ValueError,
         "only one of clipvalue, clipnorm and global_clipnorm may be set, got clipvalue=1.0, clipnorm=2.0"),
        ({"clipnorm": 0.0}, ValueError, "clipnorm must be > 0, got 0.0"),
        ({"global_clipnorm": -1.0}, ValueError, "global_clipnorm must be > 0, got -1.0"),
        ({"ema_momentum": 1.5, "use_ema": True}, ValueError, "ema_momentum must be >= 0 and <= 1, got 1.5"),
        ({"ema_overwrite_frequency": 0, "use_ema": True}, ValueError,
         "ema_overwrite_frequency must be an integer >= 1, got 0"),
        ({"ema_overwrite_frequency": 2}, ValueError, "ema_overwrite_frequency means nothing without use_ema=True"),
        ({"loss_scale_factor": 0.0}, ValueError, "loss_scale_factor must be > 0, got 0.0"),
        ({"exclude_from_weight_decay": "bias", "weight_decay": 0.1}, TypeError, "must be a sequence of regular"),
        ({"exclude_from_weight_decay": ["("], "weight_decay": 0.1}, ValueError, "must be regular expressions, got"),
        ({"exclude_from_weight_decay": ["bias"]}, ValueError, "means nothing without weight_decay"),
    ],
)  # fmt: skip
def test_what_is_refused(adam: Doors, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        adam.step(**arguments)


def test_average_and_accumulation_are_of_all_rows(adam: Doors) -> None:
    w = jnp.zeros((3, 2))
    rows = adam.module.SparseRows(jnp.array([1]), jnp.ones((1, 2)))
    init, step = adam.step(use_ema=True)
    with pytest.raises(ValueError, match="sparse='lazy' has no meaning with use_ema: pass sparse='dense'"):
        step(w, rows, init(w))
    init, step = adam.step(use_ema=True, sparse="dense", clipnorm=0.5)
    moved, state = step(w, rows, init(w))
    assert_same(adam.module.averaged_params(state), moved)


def test_one_gradient_that_is_not_finite_stops_all_leaves_and_is_counted(sgd: Doors) -> None:
    """Rows of a sparse gradient are looked at too, their indices not; the factory's updates are zero."""
    rows = sgd.module.SparseRows
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones(2)}
    init, step = sgd.step(1.0, momentum=0.5, skip_nonfinite=True)
    state, w = init(params), params
    for row, value in ((1.0, 1.0), (np.inf, 1.0), (1.0, np.nan)):
        grads = {"a": rows(jnp.array([1]), jnp.full((1, 2), row)), "b": jnp.full(2, value)}
        w, state = jax.jit(step)(w, grads, state)
        updates, _ = sgd.factory(1.0, momentum=0.5, skip_nonfinite=True).update(grads, state, w)
    assert_same(w, {"a": jnp.ones((3, 2)).at[1].set(0.0), "b": jnp.zeros(2)})
    assert_same(updates, jax.tree.map(jnp.zeros_like, params))
    assert (int(state[0].count), int(state[1].skipped)) == (1, 2)
    moved = sgd.module.import_state(init(params), sgd.module.export_state(state))
    assert_same(moved, state)
    with pytest.raises(ValueError, match="'skipped' is missing"):
        plain = sgd.step(1.0, momentum=0.5).init(params)
        sgd.module.import_state(init(params), sgd.module.export_state(plain))


def test_a_scale_that_is_passed_anew_shrinks_after_a_call_that_is_skipped(sgd: Doors) -> None:
    """Dynamic loss scaling: the scale is a number of each step, and what it becomes follows from the state."""
    init, step = sgd.step(1.0, skip_nonfinite=True, loss_scale_factor=1.0)

    @jax.jit
    def trained(carry: Any, value: Any) -> Any:
        w, state, scale = carry
        new_w, new = step(w, jnp.full(1, value) * scale, state, loss_scale_factor=scale)
        return (new_w, new, jnp.where(new[1].skipped > state[1].skipped, scale / 2, scale * 2)), None

    w = jnp.zeros(1)
    (w, state, scale), _ = jax.lax.scan(trained, (w, init(w), jnp.float32(2.0**99)), jnp.array([1.0, 2.0**30, 1.0]))
    assert (float(w[0]), int(state[0].count), int(state[1].skipped)) == (-2.0, 2, 1) and scale == 2.0**100
