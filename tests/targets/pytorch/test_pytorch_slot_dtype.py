"""Slots of the parameter's dtype in PyTorch: sparse gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from optloom.codegen.compiler import Settings
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.conformance.rendering import rendered
from optloom.codegen.discovery import discover

ROWS = torch.tensor([[0.3, -0.7], [1.1, 0.01]], dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("narrow")
    file = rendered(discover()["adam"], "adam", "pytorch", "fast", folder, Settings(slot_dtype="parameter"))
    return load_module(str(file))


def stepped(module: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    """A parameter of bfloat16 after some steps, and its state."""
    w = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.bfloat16))
    optimizer = module.Adam([w], lr=0.1)
    for _ in range(3):
        w.grad = gradient.clone()
        optimizer.step()
    return w.detach(), optimizer.state[w]


def test_rows_of_sparse_gradients_are_as_dense_ones(module: Any) -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), ROWS, (3, 2))
    (w, state), (whole, expected) = (stepped(module, g) for g in (sparse, sparse.to_dense()))
    torch.testing.assert_close(w, whole, rtol=0, atol=0)
    for name in ("exp_avg", "exp_avg_sq"):
        assert state[name].dtype == torch.bfloat16
        torch.testing.assert_close(state[name], expected[name], rtol=0, atol=0)
