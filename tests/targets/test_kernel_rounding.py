"""Stochastic rounding in the kernels: the bits of the reference, which are those of plain integers."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from by_chance import rounded, word
from kernels import SHAPES, bits, episode, job, rendered
from optloom.codegen.c_family import native
from optloom.codegen.conformance.protocol import Dtype, Episode, Job, Snapshot, numpy_dtype
from optloom.codegen.targets.cpp import runner as cpp
from optloom.codegen.targets.cuda import runner as cuda
from optloom.codegen.targets.numpy import runner as reference

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
BY_CHANCE = {"stochastic_rounding": True}
LARGE = [(16384,), (40_003,)]
"""More than a block of the CPU's, and a chunk of a GPU's, has elements."""


def emulated(job: Job, order: int | None = None) -> list[list[Snapshot]]:
    library = cuda.library(job.file, by_value=order is None, **({} if order is None else {"order": order}))
    return native.run(job, library, cuda.call)


WAYS: dict[str, list[Callable[[Job], list[list[Snapshot]]]]] = {
    "cpp": [cpp.run],
    "cuda": [emulated, partial(emulated, order=77_777)],
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize("target", WAYS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sgd", "lamb", "adafactor"])
def test_bits_are_the_references(name: str, dtype: Dtype, target: str, folder: Path) -> None:
    """Elementwise, with sums over tensors, and with sums of rows; after an average that overwrites the weights."""
    made = episode(dtype, [*SHAPES, *LARGE], 4)
    variant = {"weight_decay": 0.01, "ema_overwrite_frequency": 2}, {"use_ema": True, **BY_CHANCE}
    (expected,) = reference.run(job(rendered(name, "numpy", folder), name, dtype, made, variant))
    for way in WAYS[target]:
        (computed,) = way(job(rendered(name, target, folder), name, dtype, made, variant))
        assert bits(computed) == bits(expected)


@pytest.mark.parametrize("target", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_their_own_arithmetic_keep_their_bits(dtype: Dtype, target: str, folder: Path) -> None:
    made, file = episode(dtype, [(5000,)], 2), rendered("sgd", target, folder)
    for way in WAYS[target]:
        on, off = (way(job(file, "sgd", dtype, made, ({}, chosen))) for chosen in (BY_CHANCE, {}))
        assert bits(on[0]) == bits(off[0])


@pytest.mark.parametrize("target", WAYS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_bits_are_those_of_plain_integers(dtype: Dtype, target: str, folder: Path) -> None:
    """Of normal and subnormal numbers, at updates of one and of two words; a step of 0 moves none."""
    step = 2.0**-30 if dtype == "float16" else 2.0**-14
    for unit, learning_rate in ((1.0, 2.0**-14), (64 * step, step)):
        w = np.full(509, unit).astype(numpy_dtype(dtype))
        g = (np.arange(509) - 254).clip(-127, 127).astype(numpy_dtype(dtype))
        exact = [Fraction(float(a)) - Fraction(learning_rate) * Fraction(float(b)) for a, b in zip(w, g, strict=True)]
        for t in (1, 2**33 + 5):
            made = Episode([w, w], [[g, g * 0]], {}, t - 1, t - 1)
            for way in WAYS[target]:
                given = {"learning_rate": learning_rate}, BY_CHANCE
                ((after,),) = way(job(rendered("sgd", target, folder), "sgd", dtype, made, given))
                assert np.array_equal(after.parameters[1], w)
                found = [Fraction(float(x)) for x in after.parameters[0]]
                assert found == [rounded(x, dtype, word(t, i)) for i, x in enumerate(exact)]


@pytest.mark.parametrize("target", ["cpp"])
def test_elements_are_counted_in_64_bits(target: str, folder: Path) -> None:
    """Beyond what memory holds here: by the function itself."""
    file = Path(rendered("sgd", target, folder))
    called = file.with_name("called.cpp")
    called.write_text(f"""#include "{file}"
extern "C" float called(float x, uint32_t high, uint32_t low, int64_t t) {{
    return stochastically_rounded(x, Element<bfloat16>{{high, low}}, rounding_key(t));
}}""")
    function = ctypes.CDLL(str(native.compiled(called, f"g++ {cpp.FLAGS}".split()))).called
    function.restype, function.argtypes = (
        ctypes.c_float,
        (ctypes.c_float, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int64),
    )
    x = 1 + 2.0**-8
    for index in (5, 2**32 + 5, 2**40 - 1, 3 * 2**33 + 12345):
        for t in (1, 7, 2**32 + 1):
            expected = rounded(Fraction(x), "bfloat16", word(t, index))
            assert function(x, index >> 32, index % 2**32, t) == expected


@pytest.mark.parametrize("target", WAYS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_special_values(dtype: Dtype, target: str, folder: Path) -> None:
    """Zeros of both signs, subnormals, the largest numbers and what is beyond them, infinities and NaN."""
    kind = numpy_dtype(dtype)
    huge = float(np.finfo(np.float16).max) if dtype == "float16" else 3.38e38
    values = [0.0, -0.0, 6e-8, -9e-8, 3e-5, 1e-39, -1e-41, 1.0, huge, -huge, huge / 300, np.inf, -np.inf, np.nan]
    w, g = (part.astype(kind).ravel() for part in np.meshgrid(values, values))
    made, variant = Episode([w], [[g], [-g], [g]]), ({"learning_rate": 0.37}, BY_CHANCE)
    (expected,) = reference.run(job(rendered("sgd", "numpy", folder), "sgd", dtype, made, variant))
    for way in WAYS[target]:
        (computed,) = way(job(rendered("sgd", target, folder), "sgd", dtype, made, variant))
        assert bits(computed) == bits(expected)


@pytest.mark.parametrize("target", WAYS)
def test_two_runs_and_one_that_goes_on_have_the_same_bits(target: str, folder: Path) -> None:
    made, variant = episode("bfloat16", [(5000,)], 4), ({"momentum": 0.9}, BY_CHANCE)
    for way in WAYS[target]:
        given = job(rendered("sgd", target, folder), "sgd", "bfloat16", made, variant)
        (whole,), (again,) = way(given), way(given)
        assert bits(whole) == bits(again)
        middle = whole[1]
        rest = replace(made, parameters=middle.parameters, gradients=made.gradients[2:], slots=middle.slots)
        (end,) = way(replace(given, episodes=[replace(rest, updates=2, calls=2)]))
        assert bits(end) == bits(whole[2:])


@pytest.mark.parametrize("target", ["cpp"])
def test_steps_of_a_thousandth_of_a_unit_add_up(target: str, folder: Path) -> None:
    """Rounded to nearest, no weight ever moves; by chance, their mean moves as it should."""
    count, calls, unit = 4096, 250, 2.0**-7
    w, g = (np.full(count, x).astype(numpy_dtype("bfloat16")) for x in (1.0, -1.0))

    def units_moved(options: dict[str, bool]) -> float:
        given = {"learning_rate": unit / 1000}, options
        made = job(rendered("sgd", target, folder), "sgd", "bfloat16", Episode([w], [[g]] * calls), given)
        (found,) = WAYS[target][0](made)
        return float((np.asarray(found[-1].parameters[0], np.float64) - 1).sum() / unit)

    assert units_moved({}) == 0
    # Each step moves a weight by a unit, or not at all. float32 has a step as 66 of 65536 parts of a unit.
    trials, share = count * calls, 66 / 65536
    assert abs(units_moved(BY_CHANCE) - trials * share) < 5 * np.sqrt(trials * share * (1 - share))
