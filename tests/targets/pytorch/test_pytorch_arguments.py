"""The constructor: the peer's order, and what is refused, with its message."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optloom.codegen.compiler import Settings, discover, render
from torch_training import (
    RULES,
    parameters,
    stages,
    train,
)


@pytest.mark.parametrize("name", RULES)
def test_positional_arguments_are_in_the_peers_order(name: str, rendered: Callable[..., Any]) -> None:
    peer = next((peer.path for peer in discover()[name].peers if peer.path.startswith("torch.")), None)
    if peer is None:
        pytest.skip("no peer in torch.optim")
    module, _, name_there = peer.rpartition(".")
    theirs = inspect.signature(getattr(importlib.import_module(module), name_there)).parameters.values()
    ours = inspect.signature(rendered(name)).parameters.values()
    names = [parameter.name for parameter in ours if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert names == [parameter.name for parameter in theirs][: len(names)]


@pytest.mark.parametrize("numerics", ["fast", "strict"])
@pytest.mark.parametrize("name", RULES)
def test_files_are_well_formed(name: str, numerics: str) -> None:
    files = render(discover()[name], "pytorch", numerics, Settings(stages=()))  # type: ignore[arg-type]
    own = (f"pytorch/{name}.py", "pytorch/_support.py", "pytorch/_fused.py", "pytorch/_kernels.py")
    assert set(own) <= set(files)
    for path in own:
        assert max(map(len, files[path].splitlines())) <= 110
    if numerics == "fast":
        lines = files[f"pytorch/{name}.py"].splitlines()
        assert len(lines) < 350
        assert next(i for i, line in enumerate(lines) if line.startswith("    def _scalars")) < 120, "after the formula"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr": -1}, ValueError, "lr must be >= 0, got -1"),
        ({"lr": float("nan")}, ValueError, "lr must be >= 0, got nan"),
        ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1'"),
        ({"lr": torch.ones(2)}, ValueError, "lr must be a number or a tensor of one element, got shape (2,)"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas[1] must be >= 0 and < 1, got 1.0"),
        ({"betas": 0.9}, ValueError, "betas must be 2 numbers, got 0.9"),
        ({"eps": -1e-8}, ValueError, "eps must be >= 0, got -1e-08"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be >= 0, got -0.1"),
        ({"gradient_accumulation_steps": 1}, ValueError, "gradient_accumulation_steps must be an integer >= 2, got 1"),
        (
            {"gradient_accumulation_steps": 2.5},
            ValueError,
            "gradient_accumulation_steps must be an integer >= 2, got 2.5",
        ),
        (
            {"fused": True, "foreach": True},
            ValueError,
            "fused=True cannot be together with foreach, capturable or differentiable",
        ),
        ({"sparse": "rows"}, ValueError, "sparse must be 'lazy' or 'dense', got 'rows'"),
        ({"fused": "yes"}, ValueError, "fused must be None or False or True, got 'yes'"),
        ({"skip_nonfinite": "yes"}, ValueError, "skip_nonfinite must be False or True, got 'yes'"),
        ({"amsgrad": None}, ValueError, "amsgrad must be False or True, got None"),
    ],
)
def test_wrong_arguments_are_named_with_their_value(
    adam: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        adam(parameters(), **arguments)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        adam([{"params": parameters(), **arguments}])
    optimizer = adam(parameters())
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        optimizer.add_param_group({"params": parameters(), **arguments})
    assert len(optimizer.param_groups) == 1


def test_group_keys_are_the_constructors_names(kind: Any) -> None:
    ws = parameters()
    optimizer = kind(ws, **stages(kind))
    train(optimizer, ws, range(3))
    arguments = set(inspect.signature(kind).parameters)
    assert set(optimizer.param_groups[0]) == arguments
    assert set(optimizer.defaults) == arguments - {"params"}


def test_the_docstring_opens_with_what_differs_from_the_peer(rendered: Callable[..., Any]) -> None:
    for name in RULES:
        peer = next((peer for peer in discover()[name].peers if peer.path.startswith("torch.")), None)
        if peer is not None:
            _, opening, *_ = rendered(name).__doc__.split("\n\n")
            assert opening.strip().startswith(f"Differs from {peer.path}: ")


def test_strict_code_refuses_what_it_does_not_do(rendered: Callable[..., Any]) -> None:
    for way in ("capturable", "differentiable"):
        with pytest.raises(NotImplementedError, match=f"{way}=True is not implemented yet"):
            rendered("adam", "strict")(parameters(), **{way: True})


def test_parameters_of_other_kinds_are_refused(kind: Any) -> None:
    narrow = torch.nn.Parameter(torch.ones(2).to(torch.float8_e5m2))
    narrow.grad = torch.ones_like(narrow)
    optimizer = kind([narrow])
    with pytest.raises(TypeError, match=r"parameters must be float16 to .*, got one of torch\.float8_e5m2"):
        optimizer.step()
    assert not optimizer.state[narrow]
