"""State as plain arrays by name: out, in again, and what is refused with nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_training import DTYPES, assert_same, parameters, skip_what_is_not_taken, stages, train

NAMES = ("layers.0.weight", "layers.0.bias", "scale", "empty")


def named(ws: list[torch.nn.Parameter]) -> list[tuple[str, torch.nn.Parameter]]:
    return list(zip(NAMES, ws, strict=True))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.complex64])
def test_an_exported_state_goes_on_with_the_same_bits(kind: Any, dtype: torch.dtype) -> None:
    skip_what_is_not_taken(kind, dtype)
    for options in ({}, stages(kind)):
        for give in (named, list):
            ws = parameters(dtype)
            optimizer = kind(give(ws), lr=0.01, **options)
            train(optimizer, ws, range(3))
            state = optimizer.export_state()
            assert all(isinstance(x, np.ndarray) and x.flags.c_contiguous for x in state.values())
            others = [torch.nn.Parameter(w.detach().clone()) for w in ws]
            resumed = kind(give(others), lr=0.01, **options)
            resumed.import_state(state)
            train(optimizer, ws, range(3, 8))
            train(resumed, others, range(3, 8))
            assert_same(ws, others)


def test_keys_are_the_contract_between_frameworks(adam: Any) -> None:
    ws = parameters(torch.bfloat16)
    optimizer = adam(named(ws), amsgrad=True, gradient_accumulation_steps=2)
    train(optimizer, ws, range(3))
    state = optimizer.export_state()
    paths = [name.replace(".", "/") for name in NAMES]
    slots = ("m", "v", "v_hat", "accumulated_gradient")
    expected = {"iterations", *(f"updates/{path}" for path in paths)}
    assert set(state) == expected | {f"slots/{slot}/{path}" for slot in slots for path in paths}
    assert state["iterations"].dtype == np.int64 and state["iterations"].shape == () and state["iterations"] == 3
    assert state["updates/scale"].dtype == np.int64 and state["updates/scale"] == 1
    assert state["slots/m/layers/0/weight"].dtype == np.float32
    before = ws[0].detach().clone()
    state["slots/m/layers/0/weight"][:] = np.nan
    train(optimizer, ws, range(3, 4))
    assert torch.isfinite(ws[0]).all() and not torch.equal(ws[0], before)
    numbers = adam([{"params": ws[:1]}, {"params": ws[1:]}]).export_state()
    assert {f"updates/{index}" for index in range(4)} <= set(numbers)


def test_parameters_without_a_state_give_its_beginning(rendered: Callable[..., Any]) -> None:
    kind = rendered("adagrad")
    ws, others = parameters(), parameters()
    state = kind(named(ws), initial_accumulator_value=0.5).export_state()
    assert state["iterations"] == 0 and (state["slots/accumulator/layers/0/weight"] == 0.5).all()
    optimizer, resumed = kind(ws, initial_accumulator_value=0.5), kind(named(others))
    resumed.import_state(state)
    train(optimizer, ws, range(2))
    train(resumed, others, range(2))
    assert_same(ws, others)


def test_names_and_axes_of_another_framework(adam: Any) -> None:
    w, other = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    optimizer = adam([("dense.weight", w)])
    w.grad = torch.arange(6.0).reshape(2, 3)
    optimizer.step()
    there = {
        key.replace("dense/weight", "dense/kernel"): x.T.copy() if x.ndim == 2 else x
        for key, x in optimizer.export_state().items()
    }
    resumed = adam([("dense.weight", other)])
    resumed.import_state(there, names={"dense/weight": "dense/kernel"}, axes={"dense/weight": (1, 0)})
    assert torch.equal(resumed.state[other]["exp_avg"], optimizer.state[w]["exp_avg"])


def test_what_does_not_fit_is_named_and_changes_nothing(adam: Any, rendered: Callable[..., Any]) -> None:
    ws = parameters()
    optimizer = adam(named(ws))
    train(optimizer, ws, range(2))
    state, before = optimizer.export_state(), copy.deepcopy(optimizer.state_dict())

    def refused(message: str, changes: dict[str, Any], **arguments: Any) -> None:
        mapping = {key: x for key, x in {**state, **changes}.items() if x is not None}
        with pytest.raises(ValueError, match=message):
            optimizer.import_state(mapping, **arguments)
        assert str(optimizer.state_dict()) == str(before)

    refused("the state has no 'iterations'", {"iterations": None})
    refused("the state has no 'slots/v/scale'", {"slots/v/scale": None})
    refused("the state has no 'updates/empty'", {"updates/empty": None})
    refused(r"'slots/v/layers/0/weight' has shape \(3, 5\), not \(5, 3\)", {"slots/v/layers/0/weight": np.ones((3, 5))})
    refused("'slots/u/scale' belongs to no parameter or slot here", {"slots/u/scale": np.ones(())})
    refused("'slots/v_hat/scale' belongs to no", {"slots/v_hat/scale": np.ones(())})
    refused("the state has no 'updates/weight'", {}, names={"scale": "weight"})
    refused("names has 'nowhere', no parameter here; there are layers/0/weight", {}, names={"nowhere": "scale"})
    refused("axes has 'nowhere', no parameter here", {}, axes={"nowhere": (1, 0)})
    refused("must be a permutation of its 2 axes", {}, axes={"layers/0/weight": (0, 0)})
    with pytest.raises(ValueError, match="the state has no 'slots/m/layers/0/weight'"):
        optimizer.import_state(rendered("adagrad")(named(parameters())).export_state())
