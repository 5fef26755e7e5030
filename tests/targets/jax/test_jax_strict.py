"""Strict JAX code has the bits of the NumPy target, and the first updates are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_doors import Doors, field
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.conformance.campaign import Campaign
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.targets.jax.target import names_in_optax

CASES = (
    ("adam", {}, {"amsgrad": True}),
    ("adamw", {}, {}),
    ("adamax", {"beta_1": 0.0, "gradient_accumulation_steps": 3}, {}),
    ("adagrad", {"weight_decay": 0.01}, {}),
    ("sgd", {"momentum": 0.9}, {"nesterov": True}),
    ("sgd", {"gradient_accumulation_steps": 2}, {}),
)


@pytest.mark.parametrize("mode", ["jit", "op by op"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "numbers", "options"), CASES)
def test_strict_code_has_numpys_bits(
    name: str, numbers: dict[str, float], options: dict[str, Any], dtype: str, mode: str,
    rendered: Callable[..., Doors], tmp_path: Path,
) -> None:  # fmt: skip
    rule = discover()[name]
    (path, text), *_ = render(rule, "numpy").items()
    (tmp_path / Path(path).name).write_text(text)
    reference = getattr(load_module(str(tmp_path / Path(path).name)), rule.__name__)
    names = names_in_optax(program_for(rule, "jax"))
    steps = 200 if mode == "jit" else 8
    rng = np.random.default_rng(3)
    w = rng.normal(size=300).astype(dtype)
    size = np.exp(2 * rng.normal(size=(steps, 300)))
    sequence = (rng.normal(size=(steps, 300)) * size).astype(dtype)

    expected = w.copy()
    numpys = reference([expected], **numbers, **options)
    with jax.enable_x64(dtype == "float64"):
        doors = rendered(name, "strict")
        init, step = doors.step(**{names[key]: value for key, value in {**numbers, **options}.items()})
        step = jax.jit(step) if mode == "jit" else step
        params, state = jnp.asarray(w), init(jnp.asarray(w))
        for g in sequence:
            numpys.step([g])
            params, state = step(params, jnp.asarray(g), state)
            np.testing.assert_array_equal(np.asarray(params), expected)
    for slot, value in vars(numpys.slots[0]).items():
        if value is not None:
            np.testing.assert_array_equal(np.asarray(field(state, names[slot])), value)
    assert int(state[0].count) == numpys.updates


@pytest.mark.parametrize("name", ["dog", "prodigy"])
def test_strict_code_with_sums_over_all_leaves_is_within_the_bound(name: str) -> None:
    report = Campaign({name: discover()[name]}, ("jax",), ("float32",), ("strict",), "quick").run()
    assert {result.cell.part for result in report.results} == {"step", "run"}
    assert not [result.cell.id for result in report.results if result.kind not in ("BIT", "BOUND", "FTZ")]


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6, 2**24 + 1])
def test_the_first_updates_are_exact_to_the_last_place(t: int, adam: Doors) -> None:
    """Measured from w = 0, where the update itself is seen; half of the updates within one unit in the last place."""
    rng = np.random.default_rng(t)
    g, mu, nu = (rng.normal(size=2000).astype(np.float32) for _ in range(3))
    nu = nu**2
    wide = [x.astype(np.longdouble) for x in (g, mu, nu)]
    b1, b2, one = np.longdouble(0.9), np.longdouble(0.999), np.longdouble(1)
    m, v = b1 * wide[1] + (one - b1) * wide[0], b2 * wide[2] + (one - b2) * wide[0] ** 2
    alpha = np.longdouble(0.001) * np.sqrt(-np.expm1(t * np.log(b2))) / -np.expm1(t * np.log(b1))
    exact = -alpha * m / (np.sqrt(v) + np.longdouble(1e-7))
    init, step = adam.step()
    own, extras = init(jnp.zeros(2000))
    state = (own._replace(mu=jnp.asarray(mu), nu=jnp.asarray(nu), count=jnp.int32(t - 1)), extras)
    for door in (lambda s: step(jnp.zeros(2000), jnp.asarray(g), s)[0], lambda s: adam.factory().update(g, s)[0]):
        error = np.abs(np.asarray(jax.jit(door)(state)).astype(np.longdouble) - exact)
        assert np.median(error / np.spacing(np.abs(exact.astype(np.float32)))) <= 1
