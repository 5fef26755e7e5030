"""One step: what it writes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_training import (
    DTYPES,
    EACH_KIND,
    LOW,
    assert_same,
    decaying,
    give_gradients,
    parameters,
    slots_of,
    stages,
    train,
)


def test_without_gradients_nothing_happens(kind: Any) -> None:
    ws, untouched = parameters(), parameters()
    optimizer = kind(ws, **stages(kind))
    optimizer.step()
    assert_same(ws, untouched)
    assert not optimizer.state and optimizer.state_dict()["state"] == {}


def test_parameters_without_a_gradient_keep_their_value_and_their_count(kind: Any) -> None:
    first, second = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = kind([first, second])
    for _ in range(2):
        first.grad = torch.ones(3)
        optimizer.step()
    assert torch.equal(second, torch.ones(3)) and second not in optimizer.state
    second.grad = torch.ones(3)
    optimizer.step()
    assert int(optimizer.state[first]["step"]) == 3 and int(optimizer.state[second]["step"]) == 1
    alone = torch.nn.Parameter(torch.ones(3))
    alone.grad = torch.ones(3)
    kind([alone]).step()
    assert torch.equal(second, alone)


def test_gradients_are_never_written_to(kind: Any) -> None:
    ws, other = parameters(), parameters()
    optimizer = kind(ws, **stages(kind))
    for seed in range(4):
        give_gradients(ws, seed)
        give_gradients(other, seed)
        optimizer.step()
        assert all(torch.equal(w.grad, o.grad) for w, o in zip(ws, other, strict=True))


def test_closure_runs_with_gradients_and_its_loss_is_returned(kind: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([w])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert optimizer.step(closure).item() < 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_is_of_the_compute_dtype_and_the_parameter_of_its_own(kind: Any, dtype: torch.dtype) -> None:
    ws = parameters(dtype)
    optimizer = kind(ws, **stages(kind))
    train(optimizer, ws, range(4))
    for w in ws:
        state = optimizer.state[w]
        assert w.dtype == dtype
        assert state["step"].dtype == torch.float64 and int(state["step"]) == 2
        slots = slots_of(optimizer, w)
        assert slots and all(slot.shape == w.shape for slot in slots if not kind._shapes)
        assert {slot.dtype for slot in slots} == {torch.float64 if dtype == torch.float64 else torch.float32}


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_is_float32_arithmetic_rounded_once(adam: Any, dtype: torch.dtype) -> None:
    w, wide = torch.nn.Parameter(torch.randn(100).to(dtype)), torch.nn.Parameter(torch.empty(100))
    optimizer, reference = (adam([x], lr=0.01, **decaying(adam, 0.1)) for x in (w, wide))
    for _ in range(5):
        w.grad = torch.randn(100).to(dtype)
        with torch.no_grad():
            wide.copy_(w)
        wide.grad = w.grad.float()
        optimizer.step()
        reference.step()
        assert torch.equal(w, wide.to(dtype))
    assert torch.isfinite(w).all()


def test_zero_gradients_in_float16_give_no_nan(kind: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    w.grad = torch.zeros_like(w)
    kind([w]).step()
    assert torch.isfinite(w).all()


def test_strided_parameters(kind: Any) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    strided, plain = torch.nn.Parameter(base.clone().t()), torch.nn.Parameter(base.t().contiguous())
    for w in (strided, plain):
        optimizer = kind([w])
        for seed in range(3):
            w.grad = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
    torch.testing.assert_close(strided, plain)


@pytest.mark.parametrize("name", EACH_KIND)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_strict_code_has_the_bits_of_numpy(name: str, dtype: str, rendered: Callable[..., Any]) -> None:
    arrays = [np.random.default_rng(0).standard_normal(5000).astype(dtype)]
    there = rendered(name, "strict", "numpy")(arrays, weight_decay=0.01, gradient_accumulation_steps=2)
    w = torch.nn.Parameter(torch.from_numpy(arrays[0].copy()))
    optimizer = rendered(name, "strict")([w], **stages(rendered(name)))
    for seed in range(20):
        g = np.random.default_rng(seed).standard_normal(5000).astype(dtype)
        there.step([g])
        w.grad = torch.from_numpy(g)
        optimizer.step()
    np.testing.assert_array_equal(w.detach().numpy(), arrays[0])
