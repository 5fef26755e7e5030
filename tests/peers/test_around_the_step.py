"""What `docs/contracts.md` says of torch and optax in clipping, accumulation, skipping and averages is so; ours is not.

Ours is NumPy's SGD with stages at a rate of 1, which is what every target computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from optloom.codegen.compiler import render
from optloom.codegen.conformance.protocol import Array, load_module
from optloom.codegen.discovery import discover

Run = Callable[..., list[Array]]
HUGE = 1e30
"""Its square is infinite in float32."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """ours(gradients, **stages): the parameter, which starts as zeros, after each call."""
    file = tmp_path_factory.mktemp("ours") / "sgd.py"
    file.write_text(render(discover()["sgd"], "numpy")["numpy/sgd.py"])
    factory = load_module(str(file)).SGD

    def run(gradients: list[list[float]], **stages: Any) -> list[Array]:
        w = np.zeros(len(gradients[0]), np.float32)
        optimizer, found = factory([w], learning_rate=1.0, **stages), []
        for g in gradients:
            optimizer.step([np.array(g, np.float32)])
            found.append(w.copy())
        return found

    return run


def by_optax(transformation: Any, gradients: list[list[float]]) -> list[Array]:
    """The same by optax's SGD within or after `transformation`."""
    w = jnp.zeros(len(gradients[0]))
    state, found = transformation.init(w), []
    for g in gradients:
        updates, state = transformation.update(jnp.array(g), state, w)
        w = optax.apply_updates(w, updates)
        found.append(np.array(w))
    return found


def clipped_by_torch(g: list[float], limit: float) -> Array:
    w = torch.nn.Parameter(torch.zeros(len(g)))
    w.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_([w], limit)
    return w.grad.numpy()


def test_torch_shortens_a_gradient_of_the_limits_own_length(ours: Run) -> None:
    """By 1e-6, which is added to the norm before it divides."""
    g = [3.0, 4.0]
    assert clipped_by_torch(g, 5.0).tolist() != g
    assert ours([g], global_clipnorm=5.0)[0].tolist() == [-3, -4]


def test_a_norm_that_overflows_in_float32_is_no_gradient_to_peers(ours: Run) -> None:
    assert not clipped_by_torch([HUGE] * 4, 2.0).any()
    optax_moves = by_optax(optax.chain(optax.clip_by_global_norm(2.0), optax.sgd(1.0)), [[HUGE] * 4])
    assert not optax_moves[0].any()
    assert ours([[HUGE] * 4], global_clipnorm=2.0)[0] == pytest.approx([-1] * 4, rel=1e-6)


def test_a_block_is_clipped_by_its_root_mean_square_in_optax(ours: Run) -> None:
    """Four elements of 1 have a norm of 2, and a root mean square of 1."""
    block = by_optax(optax.chain(optax.clip_by_block_rms(0.5), optax.sgd(1.0)), [[1.0] * 4])
    assert block[0].tolist() == [-0.5] * 4
    assert ours([[1.0] * 4], clipnorm=0.5)[0].tolist() == [-0.25] * 4
    assert ours([[1.0] * 4], clipnorm=0.5 * 4**0.5)[0].tolist() == [-0.5] * 4


def test_optax_gives_up_skipping(ours: Run) -> None:
    """`apply_if_finite` lets through what comes after so many bad calls in a row."""
    gradients = [[np.nan]] * 3
    theirs = by_optax(optax.apply_if_finite(optax.sgd(1.0), 2), gradients)
    assert [bool(np.isnan(w[0])) for w in theirs] == [False, False, True]
    assert [w.tolist() for w in ours(gradients, skip_nonfinite=True)] == [[0], [0], [0]]


def test_optax_rounds_the_mean_of_accumulated_gradients_to_their_dtype() -> None:
    """1 and 1 + 2^-7 are neighbours in bfloat16; their mean lies between them."""
    low = jnp.bfloat16
    seen: list[Any] = []
    inner = optax.stateless(lambda updates, _: seen.append(updates.dtype) or updates)
    steps = optax.MultiSteps(inner, 2)
    w = jnp.zeros(1, low)
    state = steps.init(w)
    for value in (1.0, 1 + 2**-7):
        updates, state = steps.update(jnp.full(1, value, low), state, w)
    assert state.acc_grads.dtype == jnp.float32 and set(seen) == {jnp.dtype(low)}
    assert float(updates[0]) != 1 + 2**-8


def test_accumulated_gradients_are_added_up_and_divided_once(ours: Run) -> None:
    """`optax.MultiSteps` moves a mean along instead, which rounds at every call: by a third in the third."""
    gradients = [[13.0], [2.0], [35.0], [10.0]]
    means = by_optax(optax.MultiSteps(optax.sgd(1.0), 4).gradient_transformation(), gradients)[-1]
    assert ours(gradients, gradient_accumulation_steps=4)[-1].tolist() == [-15.0]
    assert float(means[0]) != -15.0


def test_optax_averages_updates_and_not_weights(ours: Run) -> None:
    """`optax.ema` is a moment of what comes in, which starts as zero, and is divided by what it has of it."""
    gradients = [[1.0], [3.0]]
    theirs = by_optax(optax.chain(optax.ema(0.5), optax.sgd(1.0)), gradients)
    assert theirs[1][0] == pytest.approx(-1 - (0.25 * 1 + 0.5 * 3) / 0.75)
    overwritten = ours(gradients, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    assert [w.tolist() for w in overwritten] == [[-1], [(-1 - 4) / 2]]


def test_a_gradient_that_is_clipped_before_it_is_unscaled_is_clipped_to_less(ours: Run) -> None:
    """GradScaler unscales within its step, after whoever clips: unless `unscale_` has been called by hand."""
    w = torch.nn.Parameter(torch.zeros(2))
    w.grad = torch.tensor([24.0, 32.0])
    optimizer, scaler = torch.optim.SGD([w], lr=1.0), torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.zeros(()))
    torch.nn.utils.clip_grad_norm_([w], 5.0)
    scaler.step(optimizer)
    assert w.detach().tolist() == pytest.approx([-3 / 8, -4 / 8], rel=1e-5)
    assert ours([[24.0, 32.0]], loss_scale_factor=8.0, global_clipnorm=5.0)[0].tolist() == [-3, -4]
