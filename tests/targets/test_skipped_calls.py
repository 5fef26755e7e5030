"""A call with a gradient that is not finite is as if it had not been made, but for its count: in every target and mode.

The runners of the conformance suite make the calls: a process has one framework, that of its target alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import bits
from optloom.codegen.compiler import discover
from optloom.codegen.conformance.protocol import Array, Dtype, Episode, Job, Mode, Skip, numpy_dtype
from optloom.codegen.conformance.rendering import rendered

TARGETS = ("cpp", "cuda", "jax", "numpy", "pytorch", "tensorflow")
SHAPES = ((3, 4), (5,), ())
ALONE: dict[str, Any] = {"momentum": 0.9}
ACCUMULATING: dict[str, Any] = {"gradient_accumulation_steps": 4, "ema_momentum": 0.5, **ALONE}


def _arrays(seed: int, dtype: Dtype) -> list[Array]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.normal(size=shape)).astype(numpy_dtype(dtype)) for shape in SHAPES]


def _spoilt(gradients: list[Array], value: float) -> list[Array]:
    """One element of one gradient is not finite, all others the largest number that there is."""
    largest = np.finfo(np.float32).max if gradients[0].dtype.itemsize > 2 else 3e38
    made = [np.full_like(g, min(largest, 6e4 if g.dtype == np.float16 else largest)) for g in gradients]
    made[1][3] = value
    return made


def _modes(target: str) -> Iterator[tuple[Any, Mode]]:
    runner = importlib.import_module(f"optloom.codegen.targets.{target}.runner")
    # What compiles a step as a whole takes ten seconds for each; the target's own tests have it.
    yield from ((runner.run, mode) for mode in runner.MODES if mode.name not in ("compile", "step-op-by-op"))


def _job(target: str, mode: Mode, dtype: Dtype, folder: Path, hypers: dict[str, Any], *episodes: Episode) -> Job:
    rule = discover()["sgd"]
    numerics = "fast" if "fast" in mode.numerics and target not in ("numpy", "cpp", "cuda") else "strict"
    file = rendered(rule, "sgd", target, numerics, folder)
    options = {"skip_nonfinite": True, "use_ema": True}
    return Job(str(file), rule.__name__, mode.name, dtype, list(episodes), hypers, options)


@pytest.mark.parametrize("hypers", [ALONE, ACCUMULATING], ids=["alone", "accumulating"])
@pytest.mark.parametrize("target", TARGETS)
def test_it_is_as_if_the_call_had_not_been_made(target: str, hypers: dict[str, Any], tmp_path: Path) -> None:
    """An overflow on the second of four calls that make an update, and a NaN before it and in the end."""
    for number, (run, mode) in enumerate(_modes(target)):
        for dtype in ("float32", "bfloat16")[: 1 if number else 2]:
            gradients = [_arrays(seed, dtype) for seed in range(8)]
            parameters = _arrays(100, dtype)
            if mode.name != "factory":  # optax adds zeros, which XLA flushes subnormal weights for
                parameters[1][0] = 1e-40
            nan, overflow = _spoilt(gradients[1], np.nan), _spoilt(gradients[1], -np.inf)
            calls = [nan, gradients[0], overflow, *gradients[1:], nan]
            job = _job(
                target, mode, dtype, tmp_path, hypers, Episode(parameters, calls), Episode(parameters, gradients)
            )
            try:
                found, expected = run(job)
            except (Skip, NotImplementedError):
                continue
            where = f"{mode.name}, {dtype}"
            assert [snapshot.skipped for snapshot in found] == [1, 1, *[2] * 8, 3], where
            assert [snapshot.skipped for snapshot in expected] == [0] * 8, where
            start = [x.tobytes() for x in parameters]
            assert [x.tobytes() for x in found[0].parameters] == start, f"{where}: the first call moved a weight"
            assert found[0].updates == 0 and found[2].updates == found[1].updates, where
            made = [found[1], *found[3:10]]
            assert bits(made) == bits(expected), where
            assert bits([found[2], found[10]]) == bits([found[1], found[9]]), where


@pytest.mark.parametrize("target", TARGETS)
def test_gradients_that_are_finite_are_never_skipped(target: str, tmp_path: Path) -> None:
    """Many of the largest number, whose sum and whose squares are infinite."""
    for run, mode in _modes(target):
        w = [np.ones(4100, np.float32)]
        calls = [[np.full_like(w[0], np.finfo(np.float32).max)]] * 2
        try:
            (found,) = run(_job(target, mode, "float32", tmp_path, {}, Episode(w, calls)))
        except (Skip, NotImplementedError):
            continue
        assert [(snapshot.updates, snapshot.skipped) for snapshot in found] == [(1, 0), (2, 0)], mode.name
