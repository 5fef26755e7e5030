"""The doors of every rule that is printed for JAX, and trees to put through them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen.compiler import discover, render
from optloom.codegen.conformance.protocol import load_module

sys.path.insert(0, str(Path(__file__).parent))

from jax_doors import RULES, Doors


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Doors]:
    folder = tmp_path_factory.mktemp("rendered")

    def load(name: str, numerics: str = "fast", rule: Any = None) -> Doors:
        made = folder / numerics / "jax" / f"{name}.py"
        if not made.exists():
            for path, text in render(rule or discover()[name], "jax", numerics).items():  # type: ignore[arg-type]
                place = folder / numerics / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return Doors(load_module(str(made)), name)

    return load


@pytest.fixture(params=RULES)
def doors(request: pytest.FixtureRequest, rendered: Callable[..., Doors]) -> Doors:
    return rendered(request.param)


@pytest.fixture
def adam(rendered: Callable[..., Doors]) -> Doors:
    return rendered("adam")
