"""torch.compile: the eager step's numbers, in few graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch_training import (
    EACH_KIND,
    assert_close,
    decaying,
    parameters,
    stages,
    through_a_file,
    train,
)


@pytest.fixture
def compiler() -> Callable[..., Any]:
    """Compiles a step. Without a backend it is only traced, and its kernels are PyTorch's own."""
    torch._dynamo.reset()
    counters.clear()
    return lambda optimizer, backend="aot_eager": torch.compile(optimizer.step, fullgraph=True, backend=backend)


@pytest.mark.parametrize(
    ("name", "dtype", "backend"),
    [
        ("adam", torch.bfloat16, "inductor"),
        *((name, torch.float64, "aot_eager") for name in EACH_KIND),
    ],
)
def test_compiled_steps_are_the_eager_ones(
    name: str, dtype: torch.dtype, backend: str, rendered: Callable[..., Any], compiler: Callable[..., Any]
) -> None:
    ws, others = parameters(dtype), parameters(dtype)
    options = decaying(rendered(name), 0.1) | ({"amsgrad": True} if name == "adam" else {})
    eager, compiled = (rendered(name)(each, lr=torch.tensor(0.05), **options) for each in (ws, others))
    step = compiler(compiled, backend)  # before the scheduler puts a step of its own, which it keeps from compilers
    schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(each, 25) for each in (eager, compiled)]
    for seed in range(20):
        train(eager, ws, [seed])
        train(compiled, others, [seed], step)
        for scheduler in schedulers:
            scheduler.step()
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-12 if dtype == torch.float64 else 1e-2, atol=1e-12)
        assert int(compiled.state[other]["step"]) == 20
    assert counters["stats"]["unique_graphs"] <= 2, "one graph that makes the state, and one for all other steps"
    assert not counters["graph_break"]


@pytest.mark.parametrize("way", [{"foreach": True}, {"capturable": True, "maximize": True}])
def test_compiled_steps_of_other_ways(way: dict[str, Any], adam: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    eager, compiled = adam(ws, **way), adam(others, **way)
    step = compiler(compiled)
    train(eager, ws, range(4))
    train(compiled, others, range(4), step)
    assert_close(ws, others)
    assert counters["stats"]["unique_graphs"] <= 2


def test_tensors_in_the_group_may_move(sgd: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    eager, compiled = (sgd(each, lr=torch.tensor(0.1), momentum=torch.tensor(0.9)) for each in (ws, others))
    step = compiler(compiled)
    for seed in range(8):
        for optimizer in (eager, compiled):
            (group,) = optimizer.param_groups
            group["lr"].fill_(0.1 / (seed + 1))
            group["momentum"].fill_(0.9 - 0.05 * seed)
        train(eager, ws, [seed])
        train(compiled, others, [seed], step)
    assert_close(ws, others)
    assert counters["stats"]["unique_graphs"] <= 2


def test_compiled_accumulation_and_the_state_it_leaves(adam: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    eager, compiled = adam(ws, **stages(adam)), adam(others, **stages(adam))
    train(eager, ws, range(9))
    train(compiled, others, range(9), compiler(compiled))
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-6, atol=1e-7)
    assert counters["stats"]["unique_graphs"] <= 4
    resumed = adam(parameters())
    resumed.load_state_dict(through_a_file(compiled.state_dict()))
    assert {state["iterations"] for state in resumed.state.values()} == {9}
