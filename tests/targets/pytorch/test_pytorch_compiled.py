"""torch.compile: the eager step's numbers, in few graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch_training import (
    RULES,
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
        *((name, torch.float64, "aot_eager") for name in RULES),
    ],
)
def test_compiled_steps_are_the_eager_ones(
    name: str, dtype: torch.dtype, backend: str, rendered: Callable[..., Any], compiler: Callable[..., Any]
) -> None:
    ws, others = parameters(dtype), parameters(dtype)
    options = decaying(rendered(name), 0.1) | ({"amsgrad": True} if name == "adam" else {})
    eager, compiled = rendered(name)(ws, **options), rendered(name)(others, **options)
    train(eager, ws, range(6))
    train(compiled, others, range(6), compiler(compiled, backend))
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-12 if dtype == torch.float64 else 1e-2, atol=1e-12)
        assert int(compiled.state[other]["step"]) == 6
    assert counters["stats"]["unique_graphs"] <= 2, "one graph that makes the state, and one for all other steps"


def test_a_compiled_step_with_a_learning_rate_tensor_is_compiled_once(sgd: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": True, **decaying(sgd, 0.1)}
    eager, compiled = sgd(ws, lr=torch.tensor(0.1), **options), sgd(others, lr=torch.tensor(0.1), **options)
    step = compiler(compiled)
    for seed in range(6):
        for optimizer in (eager, compiled):
            optimizer.param_groups[0]["lr"].fill_(0.1 / (seed + 1))
        train(eager, ws, range(seed, seed + 1))
        train(compiled, others, range(seed, seed + 1), step)
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-6, atol=1e-7)
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
