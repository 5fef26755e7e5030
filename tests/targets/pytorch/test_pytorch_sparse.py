"""Sparse gradients: the rows that they touch are updated as if they were all there is; or made dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.passes.locality import locality
from torch.profiler import ProfilerActivity, profile
from torch_training import EACH_KIND, LAZY, RULES, assert_close, assert_same, decaying, slots_of, stages

ROWS, WIDTH = 6, 3


def sparse(rows: list[int], seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A gradient of some rows, which may repeat: not coalesced."""
    values = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, (ROWS, WIDTH))


def table(dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype))


@pytest.mark.parametrize("way", [{}, {"foreach": True}, {"capturable": True}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAZY)
def test_touched_rows_are_updated_as_a_tensor_of_their_own(
    name: str, dtype: torch.dtype, way: dict[str, Any], rendered: Callable[..., Any]
) -> None:
    """Each row's history is that of a parameter which consists of it, with the table's count of steps."""
    w = table(dtype)
    before = w.detach().clone()
    options = decaying(rendered(name), 0.1) | {"lr": 0.05}
    optimizer, calls = rendered(name)([w], **options, **way), [[4, 1, 4], [1], [1, 1, 1], [4, 2]]
    rows = {row: torch.nn.Parameter(before[row].clone()) for row in (1, 2, 4)}
    plain = rendered(name)(rows.values(), **options)
    for seed, touched in enumerate(calls):
        w.grad = sparse(touched, seed, dtype)
        dense = w.grad.coalesce().to_dense()
        for row, own in rows.items():
            own.grad = dense[row].clone() if row in touched else None
            if row not in touched and own in plain.state:
                plain.state[own]["step"] += 1
            elif own not in plain.state and row in touched and seed:
                own.grad = torch.zeros_like(own)
                value = own.detach().clone()
                plain.step()  # makes the state
                own.data.copy_(value)
                starts = plain._slots(plain.param_groups[0], own)
                made = {key: plain._start(own, plain.param_groups[0], key, start) for key, start in starts.items()}
                plain.state[own].update(made)
                plain.state[own]["step"].fill_(seed)
                own.grad = dense[row].clone()
        optimizer.step()
        plain.step()
    assert_close([w[row] for row in rows], list(rows.values()))
    untouched = [0, 3, 5]
    assert torch.equal(w[untouched], before[untouched])
    for slot in slots_of(optimizer, w):
        is_copy = torch.equal(slot[untouched], before[untouched].to(slot.dtype))
        assert is_copy or len(slot[untouched].unique()) == 1, "as it was at the beginning"


def test_a_step_on_rows_reads_and_writes_only_rows(adam: Any) -> None:
    w = table()
    optimizer = adam([w])
    w.grad = sparse([1, 1, 3], 0)
    optimizer.step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        optimizer.step()
    events = [event for event in recorded.events() if event.name.startswith("aten::")]
    assert any(event.name == "aten::index_put_" for event in events)
    shapes = {tuple(event.input_shapes[0]) for event in events if event.name in ("aten::addcmul_", "aten::addcdiv_")}
    assert shapes == {(2, WIDTH)}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", EACH_KIND)
def test_dense_is_the_update_of_the_dense_gradient(name: str, foreach: bool, rendered: Callable[..., Any]) -> None:
    w, other = table(), table()
    options = stages(rendered(name)) | {"foreach": foreach}
    optimizer, plain = rendered(name)([w], sparse="dense", **options), rendered(name)([other], **options)
    for seed in range(4):
        w.grad = sparse([2, 0, 2], seed)
        other.grad = w.grad.to_dense()
        optimizer.step()
        plain.step()
    assert_same([w], [other])


def test_gradients_are_never_written_to(kind: Any) -> None:
    for coalesced in (False, True):
        w = table()
        optimizer = kind([w], maximize=True)
        g = sparse([1, 3, 1], 0)
        w.grad = g.coalesce() if coalesced else g
        before = w.grad.to_dense()
        optimizer.step()
        optimizer.step()
        assert w.grad.is_coalesced() == coalesced and torch.equal(w.grad.to_dense(), before)


def test_an_embedding_with_sparse_gradients_trains(kind: Any) -> None:
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(10, 4, sparse=True)
    head = torch.nn.Linear(4, 1)
    optimizer = kind([*embedding.parameters(), *head.parameters()], lr=0.05)
    before = embedding.weight.detach().clone()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (head(embedding(torch.tensor([1, 1, 7]))) - torch.tensor([[1.0], [1.0], [-1.0]])).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    if optimizer.param_groups[0]["sparse"] == "lazy":
        untouched = [row for row in range(10) if row not in (1, 7)]
        assert torch.equal(embedding.weight[untouched], before[untouched])


@pytest.mark.parametrize("foreach", [False, True])
def test_complex_several_sparse_axes_and_no_rows(adam: Any, foreach: bool) -> None:
    w = torch.nn.Parameter(torch.randn(3, 4, dtype=torch.complex64))
    before = w.detach().clone()
    optimizer = adam([w], foreach=foreach)
    w.grad = torch.sparse_coo_tensor(torch.zeros((1, 0), dtype=torch.int64), torch.zeros(0, 4).cfloat(), (3, 4))
    optimizer.step()
    assert torch.equal(w, before) and int(optimizer.state[w]["step"]) == 1
    w.grad = torch.sparse_coo_tensor(torch.tensor([[0, 2], [1, 3]]), torch.tensor([1 + 1j, -2j]), (3, 4))
    optimizer.step()
    changed = w != before
    assert changed.nonzero().tolist() == [[0, 1], [2, 3]]


def test_where_lazy_has_no_meaning_the_error_says_why(rendered: Callable[..., Any]) -> None:
    for name in RULES:
        if locality(program_for(discover()[name], "pytorch")):
            assert rendered(name)([table()]).defaults["sparse"] == "dense"
            with pytest.raises(ValueError, match=r"sparse='lazy' cannot be: `.*` is .*; pass"):
                rendered(name)([table()], sparse="lazy")
    w = table()
    w.grad = sparse([1], 0)
    optimizer = rendered("adam")([w], gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="sparse='lazy' has no meaning with gradient_accumulation_steps; pass"):
        optimizer.step()
    assert not optimizer.state
    with pytest.raises(ValueError, match="sparse='lazy' is not differentiable; pass sparse='dense'"):
        rendered("adam")([w], differentiable=True).step()
