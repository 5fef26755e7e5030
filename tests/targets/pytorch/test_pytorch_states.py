"""States: saved, copied, pickled, loaded; the peer's too."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_training import (
    DTYPES,
    assert_same,
    parameters,
    stages,
    through_a_file,
    train,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("calls", [3, 4])
def test_a_saved_state_resumes_with_the_same_bits(kind: Any, dtype: torch.dtype, calls: int) -> None:
    ws = parameters(dtype)
    optimizer = kind(ws, lr=0.01, **stages(kind))
    train(optimizer, ws, range(calls))
    saved = through_a_file(optimizer.state_dict())
    others = [torch.nn.Parameter(w.detach().clone()) for w in ws]
    resumed = kind(others)
    resumed.load_state_dict(saved)
    for w, other in zip(ws, others, strict=True):
        assert optimizer.state[w].keys() == resumed.state[other].keys()
        for name, value in optimizer.state[w].items():
            again = resumed.state[other][name]
            if isinstance(value, torch.Tensor):
                assert value is not again and value.dtype == again.dtype and torch.equal(value, again)
    train(optimizer, ws, range(10, 15))
    train(resumed, others, range(10, 15))
    assert_same(ws, others)


def test_optimizers_that_load_the_same_state_share_none_of_it(kind: Any) -> None:
    ws, others = parameters(), parameters()
    optimizer, other = kind(ws, **stages(kind)), kind(others, **stages(kind))
    train(optimizer, ws, range(3))
    before = copy.deepcopy(optimizer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    train(other, others, range(3, 6))
    assert str(optimizer.state_dict()) == str(before)


def test_copies_and_pickles_go_on_with_the_same_bits(kind: Any) -> None:
    ws = parameters(torch.bfloat16)
    optimizer = kind(ws, **stages(kind))
    train(optimizer, ws, range(3))
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    train(optimizer, ws, range(3, 6))
    for other in copies:
        train(other, other.param_groups[0]["params"], range(3, 6))
        other.load_state_dict(other.state_dict())
        assert_same(ws, other.param_groups[0]["params"])


def test_the_count_of_updates_is_exact_beyond_2_to_the_24(kind: Any) -> None:
    ws = parameters()[:1]
    optimizer = kind(ws)
    train(optimizer, ws, range(1))
    optimizer.state[ws[0]]["step"].fill_(2**24)
    optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    train(optimizer, ws, range(1))
    assert int(optimizer.state[ws[0]]["step"]) == 2**24 + 1


def test_a_checkpoint_of_the_peer_loads(adam: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = parameters(dtype), parameters(dtype)
        peer = torch.optim.Adam(theirs, lr=0.02, amsgrad=True, foreach=False)
        train(peer, theirs, range(2))
        optimizer = adam(ours)
        optimizer.load_state_dict(through_a_file(peer.state_dict()))
        assert optimizer.param_groups[0]["lr"] == 0.02 and optimizer.param_groups[0]["amsgrad"]
        for a, b in zip(ours, theirs, strict=True):
            assert int(optimizer.state[a]["step"]) == 2 and optimizer.state[a]["step"].dtype == torch.float64
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                assert optimizer.state[a][name].dtype == torch.float32
                assert torch.equal(optimizer.state[a][name], peer.state[b][name].float())
        train(optimizer, ours, range(2))


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(adam: Any, sgd: Any) -> None:
    ws = parameters()
    optimizer = adam(ws)
    train(optimizer, ws, range(2))
    before = copy.deepcopy(optimizer.state_dict())

    def refused(change: Callable[[dict[str, Any]], None], error: type[Exception], message: str) -> None:
        state_dict = copy.deepcopy(before)
        change(state_dict)
        with pytest.raises(error, match=message):
            optimizer.load_state_dict(state_dict)
        assert str(optimizer.state_dict()) == str(before)

    def other_shape(state_dict: dict[str, Any]) -> None:
        state_dict["state"][1]["exp_avg"] = torch.zeros(8)

    shapes = r"the state of parameter 1 does not fit: 'exp_avg' has shape \(8,\), not \(7,\)"
    refused(other_shape, ValueError, shapes)
    refused(lambda s: s["state"][0].pop("exp_avg_sq"), ValueError, "the state of parameter 0 has no 'exp_avg_sq'")
    refused(lambda s: s["state"][0].pop("step"), ValueError, "the state of parameter 0 has no 'step'")
    refused(lambda s: s["param_groups"][0].update(lr=-1), ValueError, "lr must be >= 0, got -1")
    refused(lambda s: s["param_groups"][0].update(sparse="rows"), ValueError, "sparse must be 'lazy' or 'dense'")
    refused(lambda s: s["state"][0].update(mu=torch.zeros(())), ValueError, "of another rule: it has 'mu'")
    refused(lambda s: s["param_groups"][0]["params"].pop(), ValueError, "doesn't match the size")
    refused(lambda s: s["param_groups"].pop(), ValueError, "different number of parameter groups")


def test_hooks_around_the_loading_of_states_see_what_is_loaded(adam: Any) -> None:
    ws = parameters(torch.bfloat16)
    optimizer = adam(ws)
    train(optimizer, ws, range(2))
    other, seen = adam(parameters(torch.bfloat16)), []
    first = other.param_groups[0]["params"][0]
    other.register_load_state_dict_post_hook(lambda loaded: seen.append(loaded.state[first]["exp_avg"].dtype))
    other.load_state_dict(optimizer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    assert seen == [torch.float32, torch.float32]
