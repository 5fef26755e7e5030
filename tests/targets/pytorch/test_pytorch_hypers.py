"""Hyperparameters: per group, as tensors, moved by schedulers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_training import (
    assert_same,
    decaying,
    give_gradients,
    parameters,
    rate_is_a_factor,
    skip_what_is_not_taken,
    train,
)


def test_groups_have_their_own_hyperparameters_and_options(adam: Any) -> None:
    a, b, alone = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    own = {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True, **decaying(adam, 0.3)}
    together, single = adam([{"params": [a]}, {"params": [b], **own}]), adam([alone], **own)
    for seed in range(3):
        for w in (a, b, alone):
            w.grad = torch.randn(3, generator=torch.Generator().manual_seed(seed))
        together.step()
        single.step()
    assert torch.equal(b, alone) and not torch.equal(a, b)
    assert "max_exp_avg_sq" in together.state[b] and "max_exp_avg_sq" not in together.state[a]


def test_a_tensor_as_learning_rate_is_its_own_value(kind: Any) -> None:
    ws, others = parameters(torch.float64), parameters(torch.float64)
    lr = torch.tensor([0.1], dtype=torch.float32)
    a, b = kind(ws, lr=lr), kind(others, lr=float(lr))
    for seed in range(3):
        give_gradients(ws, seed)
        give_gradients(others, seed)
        a.step()
        b.step()
    assert_same(ws, others)


def test_schedulers_change_the_learning_rate(kind: Any) -> None:
    for lr in (0.1, torch.tensor(0.1)):
        ws = parameters()
        skip_what_is_not_taken(kind, torch.float32, lr=0.0)
        optimizer = kind(ws, lr=lr)
        if not rate_is_a_factor(optimizer):
            pytest.skip("the rate is not a factor of the step")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 0.0 if count else 1.0)
        train(optimizer, ws, range(1))
        scheduler.step()
        before = copy.deepcopy(ws)
        train(optimizer, ws, range(1, 2))
        assert_same(ws, before)


def test_an_option_switched_on_after_the_first_step_is_an_error(adam: Any) -> None:
    ws = parameters()
    optimizer = adam(ws)
    train(optimizer, ws, range(1))
    optimizer.param_groups[0]["amsgrad"] = True
    with pytest.raises(ValueError, match="the state has no 'max_exp_avg_sq': an option was changed"):
        train(optimizer, ws, range(1))


@pytest.mark.parametrize("off", [0.0, None])
def test_no_weight_decay(rendered: Callable[..., Any], off: float | None) -> None:
    ws, others = parameters(), parameters()
    decoupled, plain = rendered("adamw")(ws, weight_decay=off), rendered("adam")(others)
    for seed in range(3):
        give_gradients(ws, seed)
        give_gradients(others, seed)
        decoupled.step()
        plain.step()
    assert_same(ws, others)


def test_accumulation_updates_by_the_mean_of_the_gradients(kind: Any) -> None:
    w, other = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    accumulating, plain = kind([w], gradient_accumulation_steps=4), kind([other])
    for round_ in range(3):
        gradients = [torch.randn(4, generator=torch.Generator().manual_seed(4 * round_ + i)) for i in range(4)]
        for i, g in enumerate(gradients):
            before = w.detach().clone()
            w.grad = g
            accumulating.step()
            assert torch.equal(before, w) == (i < 3)
        other.grad = (gradients[0] + gradients[1] + gradients[2] + gradients[3]) / 4
        plain.step()
        assert torch.equal(w, other)
    assert int(accumulating.state[w]["step"]) == 3 and accumulating.state[w]["iterations"] == 12


def test_a_gradient_that_only_an_earlier_call_had_takes_part_in_the_update(adam: Any) -> None:
    ws = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    others = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer, reference = adam(ws, gradient_accumulation_steps=2), adam(others, gradient_accumulation_steps=2)
    for missing in (True, False, True):
        for index, zero in enumerate((False, missing)):
            for w, other in zip(ws, others, strict=True):
                w.grad = other.grad = torch.full((3,), index + 1.0)
            if zero:
                ws[1].grad, others[1].grad = None, torch.zeros(3)
            optimizer.step()
            reference.step()
        assert_same(ws, others)
    ws[0].grad, ws[1].grad = torch.ones(3), None
    before = ws[1].detach().clone()
    for _ in range(2):  # a parameter without any gradient in the round is left alone
        optimizer.step()
    assert torch.equal(ws[1], before)
