"""What code around an optimizer relies on: hooks, schedulers, scalers, the first step of a distributed checkpoint."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch_training import (
    DTYPES,
    assert_close,
    assert_same,
    give_gradients,
    parameters,
    rate_is_a_factor,
    skip_what_is_not_taken,
    stages,
    train,
)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.complex64])
@pytest.mark.parametrize("foreach", [False, True])
def test_a_first_step_without_a_rate_makes_all_state_and_moves_nothing(
    kind: Any, dtype: torch.dtype, foreach: bool
) -> None:
    """Distributed checkpointing makes the state that it then loads into by such a step: it sets the group's rate."""
    skip_what_is_not_taken(kind, dtype)
    for options in ({}, stages(kind), {"capturable": True}):
        for rate in (0.0, torch.tensor(0.0)):
            ws = parameters(dtype)
            ws[1].data[0] = -0.0
            optimizer = kind(ws, lr=0.1, foreach=foreach, **options)
            bits = [bits_of(w) for w in ws]
            for w in ws:
                w.grad = torch.zeros_like(w)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            first = {w: sorted(optimizer.state[w]) for w in ws}
            assert [bits_of(w) for w in ws] == bits
            give_gradients(ws, 0)
            optimizer.param_groups[0]["lr"] = 0.1
            for _ in range(2):
                optimizer.step()
            assert {w: sorted(optimizer.state[w]) for w in ws} == first
            assert [bits_of(w) for w in ws] != bits


def bits_of(w: torch.Tensor) -> list[int]:
    return w.detach().reshape(-1, 1).view(torch.uint8).tolist()


def test_steps_without_a_rate_move_nothing_where_it_is_a_factor(kind: Any) -> None:
    ws = parameters()
    optimizer = kind(ws, lr=0.1, **stages(kind))
    if not rate_is_a_factor(optimizer):
        pytest.skip("the rate is not a factor of the step")
    before = copy.deepcopy(ws)
    optimizer.param_groups[0]["lr"] = 0.0
    train(optimizer, ws, range(4))
    assert_same(ws, before)


def test_hooks_run_around_each_step(kind: Any) -> None:
    ws = parameters()
    optimizer, heard = kind(ws), []
    handles = [
        optimizer.register_step_pre_hook(lambda *_: heard.append("before")),
        optimizer.register_step_post_hook(lambda *_: heard.append("after")),
        register_optimizer_step_pre_hook(lambda *_: heard.append("before all")),
        register_optimizer_step_post_hook(lambda *_: heard.append("after all")),
    ]
    train(optimizer, ws, range(1))
    for handle in handles:
        handle.remove()
    train(optimizer, ws, range(1))
    assert heard == ["before all", "before", "after", "after all"]


def schedulers(optimizer: Any) -> dict[str, Any]:
    """Every scheduler of torch.optim that needs no other one, with arguments that it needs."""
    cycles = {"cycle_momentum": optimizer is not None and not {"betas", "momentum"}.isdisjoint(optimizer.defaults)}
    given: dict[str, dict[str, Any]] = {
        "LambdaLR": {"lr_lambda": lambda count: 0.5**count}, "MultiplicativeLR": {"lr_lambda": lambda count: 0.9},
        "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [1, 3]}, "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 5}, "CosineAnnealingWarmRestarts": {"T_0": 3}, "PolynomialLR": {},
        "LinearLR": {}, "ConstantLR": {"total_iters": 2}, "ReduceLROnPlateau": {"patience": 0},
        "OneCycleLR": {"max_lr": 0.2, "total_steps": 10, **cycles},
        "CyclicLR": {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 2, **cycles},
    }  # fmt: skip
    made = {}
    for name, kind in inspect.getmembers(lr_scheduler, inspect.isclass):
        if name in given:
            made[name] = lambda kind=kind, name=name: kind(optimizer, **given[name])
    left = {name for name, kind in inspect.getmembers(lr_scheduler, inspect.isclass) if name.endswith("LR")} - set(made)
    assert len(made) == len(given) and left <= {"SequentialLR", "ChainedScheduler", "SWALR"}
    return made


@pytest.mark.parametrize("tensor", [False, True])
def test_every_scheduler_moves_the_next_step(kind: Any, tensor: bool) -> None:
    names = schedulers(None)
    for name in names:
        ws, others = parameters(), parameters()
        scheduled = kind(ws, lr=torch.tensor(0.1) if tensor else 0.1)
        plain = kind(others, lr=0.1)
        scheduler = schedulers(scheduled)[name]()
        rates = set()
        for seed in range(5):
            moved = {
                key: scheduled.param_groups[0][key] for key in ("lr", "betas", "momentum") if key in plain.defaults
            }
            plain.param_groups[0].update({key: float(x) if key == "lr" else x for key, x in moved.items()})
            rates.add(round(float(moved["lr"]), 6))
            train(scheduled, ws, [seed])
            train(plain, others, [seed])
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
        assert len(rates) > 1, name
        assert isinstance(scheduled.param_groups[0]["lr"], torch.Tensor) == tensor
        assert_close(ws, others)


def test_a_scheduler_and_its_optimizer_resume(adam: Any) -> None:
    ws = parameters()
    optimizer = adam(ws, lr=0.1)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for seed in range(3):
        train(optimizer, ws, [seed])
        scheduler.step()
    others = [torch.nn.Parameter(w.detach().clone()) for w in ws]
    resumed = adam(others)
    again = lr_scheduler.CosineAnnealingLR(resumed, 8)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(scheduler.state_dict())
    for seed in range(3, 6):
        for each, moved, parts in ((optimizer, scheduler, ws), (resumed, again, others)):
            train(each, parts, [seed])
            moved.step()
    assert_same(ws, others)


@pytest.mark.parametrize("way", [{}, {"capturable": True}, {"capturable": True, "foreach": True}], ids=str)
@pytest.mark.parametrize("clip", [None, "clipvalue", "clipnorm", "global_clipnorm"])
def test_tensors_as_any_hyperparameter(kind: Any, way: dict[str, Any], clip: str | None) -> None:
    """All that is a float may be a tensor, whose value may change from step to step."""
    options = stages(kind) | {"use_ema": True, "loss_scale_factor": 2.0} | ({clip: 0.5} if clip else {})
    numbers = {name: x for name, x in given(kind, options).items() if isinstance(x, float | tuple)}
    tensors = {name: _tensors(x) for name, x in numbers.items()}
    ws, others = parameters(torch.float64), parameters(torch.float64)
    moving, plain = kind(ws, **options | tensors | way), kind(others, **options | numbers | way)
    for seed in range(6):
        for name, x in numbers.items():
            plain.param_groups[0][name] = _moved(x, seed)
            for tensor, value in zip(_parts(tensors[name]), _parts(_moved(x, seed)), strict=True):
                tensor.fill_(value)
        train(moving, ws, [seed])
        train(plain, others, [seed])
    (assert_close if way else assert_same)(ws, others)  # powers of tensors round otherwise than those of floats


def given(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `kind` and their values: those off by default on, at the first number that it takes."""
    values = dict(kind(parameters(), **options).defaults)
    for argument, _ in kind._hypers.values():
        if argument in options or values[argument] not in (None, 0.0) or "clip" in argument:
            continue
        for value in (0.5, 1.5, -0.5):
            try:
                kind(parameters(), **options | {argument: value})
            except ValueError:
                continue
            values[argument] = value
            break
    return values


def _parts(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _moved(x: Any, seed: int) -> Any:
    """A number at a later step: nearer to 1, so that it stays within its bounds."""
    return tuple(_moved(part, seed) for part in x) if isinstance(x, tuple) else x + (1 - x) * seed / 100


def _tensors(x: Any) -> Any:
    return tuple(map(_tensors, x)) if isinstance(x, tuple) else torch.tensor(x, dtype=torch.float64)


def test_a_gradient_scaler_unscales_and_skips(kind: Any) -> None:
    ws, others = parameters(), parameters()
    optimizer, plain = kind(ws), kind(others)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=100)
    for seed in range(4):
        give_gradients(ws, seed)
        give_gradients(others, seed)
        for w in ws:
            w.grad = w.grad * scaler.get_scale()
        overflows = seed == 2
        if overflows:
            ws[0].grad[0, 0] = math.inf
        scaler.scale(torch.ones(()))  # the scaler wakes up at its first loss
        scaler.step(optimizer)
        scaler.update()
        if not overflows:
            plain.step()
    assert scaler.get_scale() == 2.0**9
    assert_close(ws, others)
    assert int(optimizer.state[ws[0]]["step"]) == 3


def test_averages_and_clipping_around_a_step(adam: Any) -> None:
    model = torch.nn.Linear(3, 2)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
    assert all(torch.isfinite(w).all() for w in average.parameters())
    optimizer.zero_grad(set_to_none=False)
    assert all((w.grad == 0).all() for w in model.parameters())


def test_public_attributes_survive_a_copy(adam: Any) -> None:
    optimizer = adam(parameters())
    optimizer.note = "mine"
    assert copy.deepcopy(optimizer).param_groups[0].keys() == optimizer.param_groups[0].keys()
    assert "Adam (" in repr(copy.deepcopy(optimizer)) and "lr: 0.001" in repr(optimizer)


def test_an_older_pickle_gets_the_arguments_that_it_lacks(adam: Any) -> None:
    ws = parameters()
    optimizer = adam(ws)
    train(optimizer, ws, range(1))
    state = optimizer.__getstate__()
    del state["param_groups"][0]["sparse"]
    again = adam.__new__(adam)
    again.__setstate__(state)
    train(again, ws, range(1))
    assert again.param_groups[0]["sparse"] == "lazy"


def test_weight_decay_of_which_nobody_said_what_it_means(kind: Any, rendered: Callable[..., Any]) -> None:
    if "decoupled_weight_decay" not in inspect.signature(kind).parameters:
        pytest.skip("the peer means the same, or there is none")
    message = (
        r"weight_decay=0\.1 needs decoupled_weight_decay=True or decoupled_weight_decay=False; torch\.optim\.\w+ has"
    )
    with pytest.raises(ValueError, match=message):
        kind(parameters(), weight_decay=0.1)
    kind(parameters(), weight_decay=0.0)
    optimizer = kind(parameters())
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": parameters(), "weight_decay": 0.1})
