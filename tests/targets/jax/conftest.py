"""The doors of every rule that is printed for JAX, and trees to put through them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.conformance.protocol import load_module

sys.path.insert(0, str(Path(__file__).parent))

from jax_doors import EACH_KIND, Doors


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Doors]:
    folder = tmp_path_factory.mktemp("rendered")

    def load(name: str, numerics: str = "fast", rule: Any = None) -> Doors:
        made, rule = folder / numerics / "jax" / f"{name}.py", rule or discover()[name]
        if not made.exists():
            for path, text in render(rule, "jax", numerics).items():  # type: ignore[arg-type]
                place = folder / numerics / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return Doors(load_module(str(made)), name, program_for(rule, "jax"))

    return load


@pytest.fixture(params=EACH_KIND)
def doors(request: pytest.FixtureRequest, rendered: Callable[..., Doors]) -> Doors:
    return rendered(request.param)


@pytest.fixture
def adam(rendered: Callable[..., Doors]) -> Doors:
    return rendered("adam")
