"""Fixtures of the PyTorch target's tests: every rule's class, rendered, and small parameters to train."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optloom.codegen.compiler import discover, render
from optloom.codegen.conformance.protocol import load_module

sys.path.insert(0, str(Path(__file__).parent))
from torch_training import EACH_KIND

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """The class of a rule: rendered("adam", numerics="strict", target="numpy")."""
    folder = tmp_path_factory.mktemp("rendered")

    def load(name: str, numerics: str = "fast", target: str = "pytorch") -> Any:
        rule = discover()[name]
        made = folder / numerics / target / f"{name}.py"
        if not made.exists():
            for path, text in render(rule, target, numerics).items():  # type: ignore[arg-type]
                place = folder / numerics / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return getattr(load_module(str(made)), rule.__name__)

    return load


@pytest.fixture(params=EACH_KIND)
def kind(request: pytest.FixtureRequest, rendered: Callable[..., Any]) -> Any:
    """The class of a rule of each kind in turn."""
    return rendered(request.param)


@pytest.fixture
def adam(rendered: Callable[..., Any]) -> Any:
    return rendered("adam")


@pytest.fixture
def sgd(rendered: Callable[..., Any]) -> Any:
    return rendered("sgd")
