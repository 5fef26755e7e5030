"""The C++ target, compiled with g++: its bits are the reference's, whatever the threads, flags and grouping."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import DTYPES, SHAPES, bits, episode, job, multiplies, printed, rendered, variants
from optloom.codegen.c_family.native import Library, NotCompiled, State, built_for, run
from optloom.codegen.compiler import Settings, discover, program_for, render
from optloom.codegen.conformance.protocol import Dtype, Episode, numpy_dtype
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.cpp import runner
from optloom.codegen.targets.cpp.target import TARGET
from optloom.codegen.targets.numpy import runner as reference

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
RULES = printed("cpp")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", (*(name for name in RULES if not multiplies(name)), "probe"))
def test_bits_are_the_references(name: str, dtype: Dtype, folder: Path) -> None:
    ours, theirs = rendered(name, "cpp", folder), rendered(name, "numpy", folder)
    made = episode(dtype, SHAPES, 7)
    for variant in variants(name):
        (computed,) = runner.run(job(ours, name, dtype, made, variant))
        (expected,) = reference.run(job(theirs, name, dtype, made, variant))
        assert bits(computed) == bits(expected), variant


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_special_values(name: str, dtype: Dtype, folder: Path) -> None:
    """Zeros of both signs, subnormals, the largest numbers, infinities and NaN as parameter and as gradient."""
    kind = numpy_dtype(dtype)
    tiny, huge = np.finfo(np.float16 if dtype == "float16" else dtype if dtype != "bfloat16" else "float32").tiny, 6e4
    values = [0.0, -0.0, tiny, -tiny / 4, 1.0, huge, -huge, np.inf, -np.inf, np.nan]
    w, g = (part.astype(kind).ravel() for part in np.meshgrid(values, values))
    made = Episode([w], [[g], [-g], [g]])
    ours, theirs = rendered(name, "cpp", folder), rendered(name, "numpy", folder)
    for variant in list(variants(name))[:: max(1, len(list(variants(name))) - 1)]:
        (computed,) = runner.run(job(ours, name, dtype, made, variant))
        (expected,) = reference.run(job(theirs, name, dtype, made, variant))
        assert bits(computed) == bits(expected), variant


def test_gradients_of_another_dtype_as_they_are_read(folder: Path) -> None:
    """float32 parameters with bfloat16 gradients, negated and divided by a scale, which is written back."""
    bfloat16, file = numpy_dtype("bfloat16"), rendered("adam", "cpp", folder)
    random = np.random.default_rng(3)
    w, g = (random.standard_normal(4103).astype(np.float32) for _ in range(2))
    scaled = (g * 8).astype(bfloat16)
    made = Episode([w.copy()], [[-(scaled.astype(np.float32) / np.float32(8))]])
    ((expected,),) = reference.run(job(rendered("adam", "numpy", folder), "adam", "float32", made, ({}, {})))
    fixed = built_for(job(file, "adam", "float32", made, ({}, {})))
    types = "-DOPTLOOM_PARAMETER=float32 -DOPTLOOM_GRADIENT=bfloat16 -DOPTLOOM_GRADIENTS=7"
    library = runner.library(file, f'g++ {runner.FLAGS} {fixed} {types} -DOPTLOOM_DIGEST=""')
    slots = {name: [np.zeros_like(w)] for name in State(library, {}, {}, []).existing()}
    state = State(library, {}, {}, [w], slots)
    state.set_gradients([scaled])
    library.call("step", state.bits, 1, ctypes.byref(state.row), 1, state.tensors, ctypes.c_double(8))
    assert w.tobytes() == expected.parameters[0].tobytes()
    assert np.array_equal(scaled, ((g * 8).astype(bfloat16).astype(np.float32) / 8).astype(bfloat16))


STAGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"global_clipnorm": 0.5, "loss_scale_factor": 3.0, "weight_decay": 0.01}, {"use_ema": True}),
    ({"clipnorm": 0.1, "gradient_accumulation_steps": 2, "ema_overwrite_frequency": 2}, {"use_ema": True}),
    ({"clipvalue": 0.01, "gradient_accumulation_steps": 3}, {}),
]


@pytest.mark.parametrize("variant", STAGES, ids=("all", "each", "values"))
@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_stages_are_in_the_same_passes(name: str, variant: Any, folder: Path) -> None:
    """Norms of all tensors and of each, before and among a rule's own sums; passes that no option asks for are left
    out, and what every call does is done in calls that do not update."""
    ours, theirs = rendered(name, "cpp", folder), rendered(name, "numpy", folder)
    made = episode("float32", SHAPES, 7)
    (computed,) = runner.run(job(ours, name, "float32", made, variant))
    (expected,) = reference.run(job(theirs, name, "float32", made, variant))
    assert bits(computed) == bits(expected)


@pytest.mark.parametrize("name", RULES)
def test_injected_state_and_late_steps(name: str, folder: Path) -> None:
    ours, theirs = rendered(name, "cpp", folder), rendered(name, "numpy", folder)
    start = episode("float32", [(33,), (5000,)], 1)
    (before, *_), *_ = reference.run(job(theirs, name, "float32", start, ({}, {})))
    for updates in (9, 2**24, 2**31 - 2, 2**40):
        made = replace(start, parameters=before.parameters, slots=before.slots, updates=updates, calls=updates)
        (computed,) = runner.run(job(ours, name, "float32", made, ({}, {})))
        (expected,) = reference.run(job(theirs, name, "float32", made, ({}, {})))
        assert bits(computed) == bits(expected)
        assert computed[0].updates == updates + 1


@pytest.mark.parametrize("name", RULES)
def test_threads_do_not_count(name: str, folder: Path) -> None:
    file, made = rendered(name, "cpp", folder), episode("float32", [(50_001,), (3,), (150, 70)], 3)
    openmp = ctypes.CDLL("libgomp.so.1")
    found = []
    for threads in (1, 2, 3, 7):
        openmp.omp_set_num_threads(threads)
        found.append(bits(runner.run(job(file, name, "float32", made, ({"weight_decay": 0.01}, {})))[0]))
    assert all(each == found[0] for each in found)


def test_a_caller_multiplies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sums in order in float64, as the plain loop has them: the same bits; with others, others."""
    matrix = np.ctypeslib.as_array
    number = ctypes.POINTER(ctypes.c_float)
    shapes: list[tuple[int, int, int]] = []

    def product(
        factor: Any, rows: int, columns: int, inner: int, a: Any, a_turns: int, b: Any, b_turns: int, c: Any
    ) -> None:
        shapes.append((rows, columns, inner))
        left = matrix(a, (inner, rows)).T if a_turns else matrix(a, (rows, inner))
        right = matrix(b, (columns, inner)).T if b_turns else matrix(b, (inner, columns))
        total = np.zeros((rows, columns))
        for k in range(inner):
            total = total + left[:, k : k + 1].astype(np.float64) * right[k : k + 1]
        matrix(c, (rows, columns))[:] = total / (2 if factor else 1)

    kinds = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[number, ctypes.c_int] * 2, number]
    callback = ctypes.CFUNCTYPE(None, *kinds)(product)
    made, file = episode("float32", [(3, 5), (70, 40), (7,)], 2), rendered("muon", "cpp", folder)
    plain = runner.run(job(file, "muon", "float32", made, ({}, {})))
    found = {}
    for factor in (None, 1):
        given = ctypes.cast(callback, ctypes.c_void_p), ctypes.c_void_p(factor)
        monkeypatch.setattr(runner, "PLAIN", given)
        (found[factor],) = runner.run(job(file, "muon", "float32", made, ({}, {})))
    assert bits(found[None]) == bits(plain[0])
    assert bits(found[1]) != bits(plain[0])
    assert {(3, 3, 5), (3, 5, 3), (70, 70, 40), (70, 70, 70), (70, 40, 70)} <= {*shapes}


@pytest.mark.parametrize("name", RULES)
def test_flags_do_not_count(name: str, folder: Path) -> None:
    """Built for this processor, and without the flag against contraction: the file protects itself."""
    file, made = rendered(name, "cpp", folder), episode("float32", [(4321,)], 5)
    (plain,) = runner.run(job(file, name, "float32", made, ({}, {})))
    fixed = built_for(job(file, name, "float32", made, ({}, {})))
    careless = runner.library(file, f"g++ -std=c++17 -O2 -march=native -shared -fPIC {fixed}")
    (same,) = run(job(file, name, "float32", made, ({}, {})), careless, runner.call)
    assert bits(same) == bits(plain)


def test_fast_math_is_refused(folder: Path) -> None:
    with pytest.raises(NotCompiled, match="changes the numbers"):
        runner.library(rendered(RULES[0], "cpp", folder), "g++ -std=c++17 -ffast-math -shared -fPIC")


@pytest.mark.parametrize("name", RULES)
def test_no_warnings(name: str, folder: Path) -> None:
    command = ["g++", *runner.FLAGS.split(), "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    for options in ("0", "-1"):  # none, and all together
        subprocess.run([*command, f"-DOPTLOOM_OPTIONS={options}", rendered(name, "cpp", folder)], check=True)


def _state(library: Library, arrays: dict[str, list[np.ndarray]], **hypers: float) -> State:
    slots = {name: values for name, values in arrays.items() if name not in ("w", "g")}
    state = State(library, hypers, {}, arrays["w"], slots)
    state.set_gradients(arrays["g"])
    return state


@pytest.mark.parametrize("name", RULES)
def test_rows_are_param_groups(name: str, folder: Path) -> None:
    """One call with a row for each of two groups does what two calls do."""
    file, made = rendered(name, "cpp", folder), episode("float32", [(5000,), (77,)], 1)
    library = runner.library(file, f"g++ {runner.FLAGS} {built_for(job(file, name, 'float32', made, ({}, {})))}")
    names = State(library, {}, {}, []).existing()

    def arrays(which: slice) -> dict[str, list[np.ndarray]]:
        w, g = ([np.array(x) for x in values[which]] for values in (made.parameters, made.gradients[0]))
        return {"w": w, "g": g, **{name: [np.full_like(x, 0.25) for x in w] for name in names}}

    apart = [_state(library, arrays(slice(i, i + 1)), learning_rate=0.1 * (i + 1)) for i in range(2)]
    for i, state in enumerate(apart):
        state.row.t = 5 * i
        runner.call(state, "step_float32")
    together = _state(library, arrays(slice(2)))
    rows = (library.row * 2)()
    for i, row in enumerate(rows):
        ctypes.memmove(ctypes.byref(row), ctypes.byref(together.row), ctypes.sizeof(row))
        row.learning_rate, row.t, together.tensors[i].row = 0.1 * (i + 1), 5 * i, i
    library.call("step_float32", together.bits, 2, rows, 2, together.tensors, ctypes.c_double(1))
    assert [row.t for row in rows] == [1, 6]
    for i, state in enumerate(apart):
        assert together.parameters[i].tobytes() == state.parameters[0].tobytes()


@pytest.mark.parametrize("shapes", [[], [(0,)], [(0, 3), (0,)]], ids=str)
def test_nothing_to_do_is_still_a_step(shapes: list[tuple[int, ...]], folder: Path) -> None:
    for name in RULES:
        (snapshots,) = runner.run(
            job(rendered(name, "cpp", folder), name, "float32", episode("float32", shapes, 2), ({}, {}))
        )
        assert [snapshot.updates for snapshot in snapshots] == [1, 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half_number_is_read_and_stored(dtype: Dtype, folder: Path) -> None:
    """A step of nothing keeps all 65536 bit patterns; NaNs stay NaN."""
    kind = numpy_dtype(dtype)
    w = np.arange(2**16, dtype=np.uint16).view(kind)
    made = Episode([w], [[np.zeros_like(w)]])
    ((after,),) = runner.run(job(rendered("sgd", "cpp", folder), "sgd", dtype, made, ({}, {})))
    with np.errstate(invalid="ignore"):
        is_nan = np.isnan(w)
    assert np.array_equal(np.isnan(after.parameters[0]), is_nan)
    assert np.array_equal(after.parameters[0].view(np.uint16)[~is_nan], w.view(np.uint16)[~is_nan])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_store_rounds_to_nearest_even(dtype: Dtype, folder: Path) -> None:
    """Around every number of the dtype: the point halfway to the next, and its neighbours in float32."""
    kind = numpy_dtype(dtype)
    numbers = np.arange(2**16, dtype=np.uint16).view(kind).astype(np.float32)
    numbers = np.sort(numbers[np.isfinite(numbers)])
    middle = ((numbers[:-1].astype(np.float64) + numbers[1:]) / 2).astype(np.float32)
    m = np.concatenate([middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf))])
    m = np.concatenate([m, np.float32([65519.996, 65520, 65536, 3.4e38, -3.4e38, np.inf, -np.inf])])
    made = Episode([np.zeros(m.shape, kind)], [[np.zeros(m.shape, kind)]], {"m": [m]})
    variant = ({"momentum": 1.0}, {})
    ((after,),) = runner.run(job(rendered("sgd", "cpp", folder), "sgd", dtype, made, variant))
    with np.errstate(over="ignore"):
        assert np.array_equal(after.parameters[0].view(np.uint16), (m + np.float32(0)).astype(kind).view(np.uint16))


def test_stages_and_options_that_are_fixed_leave_no_trace(folder: Path) -> None:
    """Also the smallest file, with no switch at all, is complete."""
    bare = Settings(stages=(), options={"amsgrad": True}, conventions=frozenset())
    text = render(discover()["adam"], "cpp", settings=bare)["cpp/adam.cpp"]
    code = [line for line in text.splitlines() if not line.startswith("//")]
    switched = ("amsgrad", "accumulat", "weight_decay", "choose", "options &", "iterations")
    assert not any(word in line for line in code for word in switched)
    file = folder / "bare" / "adam.cpp"
    file.parent.mkdir()
    file.write_text(text)
    runner.library(str(file), f"g++ {runner.FLAGS} -Wall -Wextra -Werror -O0")
    made = episode("float64", [(4100,)], 3)
    (computed,) = runner.run(job(str(file), "adam", "float64", made, ({}, {})))
    whole = rendered("adam", "cpp", folder)
    (expected,) = runner.run(job(whole, "adam", "float64", made, ({}, {"amsgrad": True})))
    assert bits(computed) == bits(expected)


def test_what_is_not_printed_is_named() -> None:
    for rule in discover().values():
        try:
            TARGET.render(program_for(rule, "cpp"))
        except UnsupportedOperation as refused:
            assert str(refused).startswith("target cpp does not print"), rule


@pytest.mark.parametrize("name", RULES)
def test_text(name: str) -> None:
    (path, text), *_ = render(discover()[name], "cpp").items()
    lines = text.splitlines()
    assert path == f"cpp/{name}.cpp"
    assert lines[0] == "// SPDX-License-Identifier: MIT-0"
    assert lines[1].startswith(f"// Generated by optloom from spec/rules/{name}.py.")
    assert all(len(line) <= 110 and line == line.rstrip() for line in lines)
    assert "\n\n\n" not in text
