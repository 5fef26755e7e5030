"""What `docs/peers.md` says of weak peers is so, and ours are not: a few lines for each."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from optloom.codegen.compiler import render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.discovery import discover

Folder = Any


def ours(name: str, folder: Folder) -> Any:
    """The factory of a rule for JAX."""
    for path, text in render(discover()[name], "jax").items():
        (folder / path.rpartition("/")[2]).write_text(text)
    return getattr(load_module(str(folder / f"{name}.py")), name)


def updates(transformation: Any, gradients: list[float], dtype: Any = jnp.float32) -> list[float]:
    """What is added to a parameter of 1 by each gradient in turn, as if it stayed where it is."""
    w = [jnp.ones(1, dtype)]
    state = transformation.init(w)
    made = []
    for g in gradients:
        update, state = transformation.update([jnp.full(1, g, dtype)], state, w)
        made.append(float(update[0][0]))
    return made


def test_radam_takes_the_branch_of_the_exact_length(tmp_path: Folder) -> None:
    beta = Fraction(0.9999)
    lengths = [2 / (1 - beta) - 1 - 2 * t * beta**t / (1 - beta**t) for t in range(1, 6)]
    assert all(length < 5 for length in lengths), "none of these steps is rectified"
    gradients = [1.0] * 5
    np.testing.assert_allclose(updates(ours("radam", tmp_path)(1.0, b2=0.9999), gradients), -1, rtol=1e-5)
    assert sum(abs(u + 1) > 0.5 for u in updates(optax.radam(1.0, b2=0.9999), gradients)) == 4


def test_prodigy_survives_gradients_of_zero(tmp_path: Folder) -> None:
    assert updates(ours("prodigy", tmp_path)(), [0.0, 0.0]) == [0, 0]
    assert np.isnan(updates(optax.contrib.prodigy(), [0.0])).all()


def test_float16_survives_gradients_of_zero(tmp_path: Folder) -> None:
    assert updates(ours("adam", tmp_path)(0.1), [0.0], jnp.float16) == [0]
    assert np.isnan(updates(optax.adam(0.1), [0.0], jnp.float16)).all()
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    w.grad = torch.zeros_like(w)
    torch.optim.Adam([w]).step()
    assert w.isnan().all()


def test_counters_go_on_past_24_bits() -> None:
    w = torch.nn.Parameter(torch.ones(1))
    w.grad = torch.ones_like(w)
    peer = torch.optim.Adam([w])
    peer.step()
    peer.state[w]["step"].fill_(2**24)
    peer.step()
    assert int(peer.state[w]["step"]) == 2**24


def test_adan_weighs_differences_as_the_paper_does(tmp_path: Folder) -> None:
    m, v, n = 0.98 * 0.02 + 0.02 * 2, 0.08, 0.99 * 0.01 + 0.01 * (2 + 0.92) ** 2
    second = (m / (1 - 0.98**2) + 0.92 * v / (1 - 0.92**2)) / (n / (1 - 0.99**2)) ** 0.5
    assert updates(ours("adan", tmp_path)(1.0, eps=0.0), [1.0, 2.0])[1] == pytest.approx(-second, rel=1e-5)
    assert abs(updates(optax.scale_by_adan(eps=0.0), [1.0, 2.0])[1] / second - 1) > 0.04


def test_rprop_moves_by_the_gradient_at_hand(tmp_path: Folder) -> None:
    assert updates(ours("rprop", tmp_path)(0.125), [1.0]) == [-0.125]
    assert updates(optax.rprop(0.125), [1.0, 1.0]) == [0, -0.125]
