"""Stochastic rounding in the targets that are frameworks: the bits of plain integers, in every mode of strict code.

The kernels' are in test_kernel_rounding.py. The runners of the conformance suite make the calls: a process has one
framework, that of its target alone.
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_chance import rounded, word
from optloom.codegen.compiler import discover
from optloom.codegen.conformance import rendering
from optloom.codegen.conformance.protocol import Array, Dtype, Episode, Job, Mode, Skip, numpy_dtype

TARGETS = ("jax", "numpy", "pytorch", "tensorflow")
SHAPE = (17, 30)
LEFT_OUT = ("compile", "step-op-by-op", "factory", "xla")
"""What compiles a step as a whole takes ten seconds; optax rounds to nearest where it adds."""


def _modes(target: str) -> list[Mode]:
    modes = importlib.import_module(f"optloom.codegen.targets.{target}.runner").MODES
    return [mode for mode in modes if "strict" in mode.numerics and mode.name not in LEFT_OUT]


def _after(
    target: str, mode: Mode, dtype: Dtype, folder: Path, rate: float, episode: Episode, **on: Any
) -> list[Array]:
    """The parameters after one call of SGD."""
    rule = discover()["sgd"]
    file = rendering.rendered(rule, "sgd", target, "strict", folder)
    job = Job(str(file), rule.__name__, mode.name, dtype, [episode], {"learning_rate": rate}, on)
    ((found,),) = importlib.import_module(f"optloom.codegen.targets.{target}.runner").run(job)
    return list(found.parameters)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("target", TARGETS)
def test_bits_are_those_of_plain_integers(target: str, dtype: Dtype, tmp_path: Path) -> None:
    """Of normal numbers, and of subnormal ones in float16; at the first update, and beyond 2^24. A step of 0 moves
    nothing, and two tensors draw alike.
    """
    units = [(1.0, 2.0**-14)] + ([(2.0**-24, 2.0**-30)] if dtype == "float16" else [])
    g = (np.arange(510) - 254).clip(-127, 127).reshape(SHAPE).astype(numpy_dtype(dtype))
    for mode in _modes(target):
        for unit, rate in units:
            w = np.full(SHAPE, 64 * unit if unit < 1 else unit).astype(numpy_dtype(dtype))
            exact = [
                Fraction(float(a)) - Fraction(rate) * Fraction(float(b)) for a, b in zip(w.flat, g.flat, strict=True)
            ]
            for t in (1, 2**24 + 3):
                made = Episode([w, w, w], [[g, g * 0, g]], {}, t - 1, t - 1)
                try:
                    first, still, second = _after(target, mode, dtype, tmp_path, rate, made, stochastic_rounding=True)
                except (Skip, NotImplementedError):
                    continue
                expected = [rounded(x, dtype, word(t, i)) for i, x in enumerate(exact)]
                where = f"{mode.name}, update {t}, unit {unit}"
                assert [Fraction(float(x)) for x in np.asarray(first).flat] == expected, where
                assert np.array_equal(still, w) and np.array_equal(first, second), where


@pytest.mark.parametrize("target", TARGETS)
def test_weights_of_their_own_arithmetic_keep_their_bits(target: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    w, g = (random.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    for mode in _modes(target):
        made = Episode([w], [[g]])
        try:
            on, off = (
                _after(target, mode, "float32", tmp_path, 0.1, made, stochastic_rounding=x) for x in (True, False)
            )
        except (Skip, NotImplementedError):
            continue
        assert on[0].tobytes() == off[0].tobytes(), mode.name
