"""The ways to run one formula: many tensors at once, capturable, differentiable, complex, against the gradient.

That a way was really taken is read off the profiler: which of PyTorch's operations ran.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch_training import (
    ACCUMULATING,
    EACH_KIND,
    assert_close,
    assert_same,
    decaying,
    give_gradients,
    parameters,
    skip_what_is_not_taken,
    slots_of,
    train,
)

WAYS: tuple[dict[str, Any], ...] = ({"foreach": True}, {"capturable": True}, {"foreach": True, "capturable": True})
OF_ALL: dict[str, Any] = {"adam": {"amsgrad": True}, "sgd": {"momentum": 0.9, "nesterov": True}}


def operations(step: Callable[[], Any]) -> list[str]:
    """The names of the operations that `step` runs."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    return [event.name for event in recorded.events()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("name", EACH_KIND)
def test_every_way_computes_the_same(name: str, dtype: torch.dtype, rendered: Callable[..., Any]) -> None:
    skip_what_is_not_taken(rendered(name), dtype)
    for options in ({}, decaying(rendered(name)), ACCUMULATING):
        options = options | OF_ALL.get(name, {})
        plain = parameters(dtype)
        reference = rendered(name)(plain, **options)
        train(reference, plain, range(4))
        for way in WAYS:
            ws = parameters(dtype)
            optimizer = rendered(name)(ws, **options, **way)
            train(optimizer, ws, range(4))
            (assert_same if way == {"foreach": True} else assert_close)(ws, plain)
            for a, b in zip(ws, plain, strict=True):
                assert optimizer.state[a].keys() == reference.state[b].keys()


@pytest.mark.parametrize("name", EACH_KIND)
def test_foreach_runs_multi_tensor_operations(name: str, rendered: Callable[..., Any]) -> None:
    for foreach in (True, False, None):
        ws = parameters()
        optimizer = rendered(name)(ws, foreach=foreach, **OF_ALL.get(name, {}))
        train(optimizer, ws, range(1))
        give_gradients(ws, 1)
        names = operations(optimizer.step)
        many = [event for event in names if event.startswith("aten::_foreach_")]
        assert bool(many) == bool(foreach), "None: a loop on the CPU, as the peers"
        if name == "lamb" and foreach:
            assert many.count("aten::_foreach_norm") == 2


def test_foreach_groups_by_dtype_and_by_count(adam: Any) -> None:
    ws, others = (parameters() + parameters(torch.float64) + parameters(torch.bfloat16) for _ in range(2))
    many, one = adam(ws, foreach=True), adam(others)
    for call in range(4):
        for index, (w, other) in enumerate(zip(ws, others, strict=True)):
            g = torch.randn(w.shape, generator=torch.Generator().manual_seed(index + 100 * call)).to(w.dtype)
            w.grad, other.grad = (None, None) if call == index % 4 else (g, g.clone())
        many.step()
        one.step()
    assert_same(ws, others)


@pytest.mark.parametrize("way", WAYS)
def test_capturable_reads_no_number_back(way: dict[str, Any], kind: Any) -> None:
    for lr in (0.01, torch.tensor(0.01)):
        ws = parameters()
        optimizer = kind(ws, lr=lr, **way)
        train(optimizer, ws, range(1))
        give_gradients(ws, 1)
        reads = operations(optimizer.step).count("aten::_local_scalar_dense")
        assert (reads == 0) == way.get("capturable", False)
    step = optimizer.state[ws[0]]["step"]
    train(optimizer, ws, range(1))
    assert optimizer.state[ws[0]]["step"] is step, "a CUDA graph finds it where it was"


def test_a_learning_rate_on_the_device_moves_a_capturable_step(kind: Any) -> None:
    ws, others = parameters(), parameters()
    lr = torch.tensor(0.1)
    captured, plain = kind(ws, lr=lr, capturable=True), kind(others, lr=0.1)
    for seed in range(4):
        lr.fill_(0.1 / (seed + 1))
        plain.param_groups[0]["lr"] = float(lr)
        train(captured, ws, [seed])
        train(plain, others, [seed])
    assert_close(ws, others)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", EACH_KIND)
def test_autograd_goes_through_steps(name: str, foreach: bool, rendered: Callable[..., Any]) -> None:
    start = torch.tensor([0.5, -1.25, 2.0], dtype=torch.float64)
    seen: list[torch.Tensor] = []

    def trained(lr: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        w = start.clone().requires_grad_().clone()
        options = {**OF_ALL.get(name, {}), **decaying(rendered(name), 0.1), "foreach": foreach}
        optimizer = rendered(name)([w], lr=lr, differentiable=True, **options)
        for factor in (1.0, -0.5, 2.0):
            w.grad = factor * first
            optimizer.step()
        seen.extend(slots_of(optimizer, w))
        return w

    arguments = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.1, [1.0, -2.0, 0.5])]
    assert torch.autograd.gradcheck(trained, arguments)
    assert all(slot.requires_grad for slot in seen)
    w = torch.nn.Parameter(start.clone())
    optimizer = rendered(name)([w], lr=0.1, **decaying(rendered(name), 0.1), **OF_ALL.get(name, {}))
    for factor in (1.0, -0.5, 2.0):
        w.grad = factor * arguments[1].detach()
        optimizer.step()
    assert_close([trained(*arguments)], [w])


def test_maximize_goes_up_the_gradient(kind: Any) -> None:
    for foreach in (False, True):
        ws, others = parameters(), parameters()
        up, down = kind(ws, maximize=True, foreach=foreach), kind(others)
        for seed in range(3):
            give_gradients(ws, seed)
            for w, other in zip(ws, others, strict=True):
                other.grad = -w.grad
            up.step()
            down.step()
        assert_same(ws, others)


def test_complex_parameters_of_formulas_with_axes_are_refused(kind: Any) -> None:
    if not kind._asks_for_axes:
        pytest.skip("the formula does not depend on axes")
    ws = parameters(torch.complex64)
    optimizer = kind(ws)
    before = [w.detach().clone() for w in ws]
    with pytest.raises(NotImplementedError, match="depends on a parameter's axes takes no complex ones yet"):
        train(optimizer, ws, range(1))
    assert_same(ws, before)


@pytest.mark.parametrize("foreach", [False, True])
def test_complex_parameters_are_two_real_ones(kind: Any, foreach: bool) -> None:
    for dtype in (torch.complex64, torch.complex128):
        skip_what_is_not_taken(kind, dtype)
        ws = parameters(dtype)
        others = [torch.nn.Parameter(torch.view_as_real(w.detach()).clone()) for w in ws]
        optimizer, plain = kind(ws, foreach=foreach), kind(others, foreach=foreach)
        for seed in range(3):
            give_gradients(ws, seed)
            ws[0].grad = ws[0].grad.conj()
            for w, other in zip(ws, others, strict=True):
                other.grad = torch.view_as_real(w.grad.resolve_conj()).clone()
            optimizer.step()
            plain.step()
        assert_same([torch.view_as_real(w.detach()) for w in ws], [other.detach() for other in others])
        assert all(slot.dtype == dtype for w in ws for slot in slots_of(optimizer, w))
