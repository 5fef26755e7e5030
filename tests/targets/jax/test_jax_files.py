"""The files of the JAX target."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import optax
import pytest
from jax_doors import EACH_KIND, RULES, Doors, tree
from optloom.codegen.compiler import Settings, discover, render


def test_files_are_clean(rendered: Callable[..., Doors]) -> None:
    doors = [rendered(name, "fast") for name in RULES] + [rendered(name, "strict") for name in EACH_KIND]
    folders = {str(Path(each.module.__file__ or "").parent) for each in doors}
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "ruff", "check", f"--config={root / 'pyproject.toml'}", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


SAME = {
    peer.path.rpartition(".")[2] for name in RULES for peer in discover()[name].peers if "step" not in peer.otherwise
}
"""What peers are called that compute the same."""


@pytest.mark.parametrize("name", RULES)
def test_the_formula_stands_early_and_stages_leave_no_trace(name: str) -> None:
    files = render(discover()[name], "jax", "fast", Settings(stages=()))
    text = files[f"jax/{name}.py"]
    first = min(text.index(f"def {name}(") for name in ("_sums", "_sums_1", "_leaf") if f"def {name}(" in text)
    assert first < text.index("def _scalars") < text.index(f"def {name}_step(")
    assert len(text[: text.index("def _scalars")].splitlines()) <= 120
    for word in ("weight_decay", "accumul", "iterations", "clipnorm", "weight_average", "use_ema", "loss_scale"):
        assert hasattr(discover()[name], word) or name == "adamw" or word not in re.sub("accumulator", "", text)


@pytest.mark.parametrize("name", RULES)
def test_sizes(name: str) -> None:
    for path, text in render(discover()[name], "jax").items():
        lines = text.splitlines()
        if path == f"jax/{name}.py":
            assert len(lines) <= (250 if ".ndim" not in text and "def _sums_2" not in text else 285)
            assert next(n for n, line in enumerate(lines) if "def _scalars" in line) <= 185
        else:
            assert len(lines) <= 300
    bare = render(discover()[name], "jax", settings=Settings(stages=()))[f"jax/{name}.py"]
    assert len(bare.splitlines()) <= 160


def test_adam_without_stages_has_120_lines() -> None:
    bare = render(discover()["adam"], "jax", settings=Settings(stages=()))["jax/adam.py"]
    assert len(bare.splitlines()) <= 120


def test_the_docstring_says_what_differs_from_the_peer(adam: Doors) -> None:
    doc = adam.module.__doc__ or ""
    assert "mu = b1 * mu + (1 - b1) * g" in doc
    assert "Differs from optax.adam" in doc and "eps=1e-8" in doc


@pytest.mark.parametrize("name", [name for name in RULES if hasattr(optax, name) and name in SAME])
def test_arguments_have_optax_names(name: str, rendered: Callable[..., Doors]) -> None:
    doors = rendered(name)
    ours = list(inspect.signature(doors.factory).parameters)
    assert ours == list(inspect.signature(doors.step).parameters)
    peer = inspect.signature(getattr(optax, name)).parameters
    positional = [p for p in inspect.signature(doors.factory).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in positional] == list(peer)[: len(positional)]


def test_state_has_optax_names(adam: Doors) -> None:
    state = adam.factory(amsgrad=True).init(tree())
    assert state[0]._fields == ("count", "mu", "nu") and "nu_max" in state[1]._fields
    assert optax.tree.get(state, "count").dtype == jnp.int32
    assert optax.tree.get(state, "mu")["matrix"].shape == (3, 4)
