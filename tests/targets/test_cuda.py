"""The CUDA target: emulated on the host it has the bits of the C++ target; nvcc compiles it for three generations."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernels import DTYPES, SHAPES, bits, episode, job, printed, rendered, variants
from optloom.codegen.c_family.native import State, built_for, run
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.conformance.protocol import Dtype
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.cuda import runner
from optloom.codegen.targets.cuda.target import TARGET
from optloom.codegen.targets.numpy import runner as reference

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
with_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
RULES = printed("cuda")
ARCHITECTURES = (80, 90, 100)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_bits_are_the_references(name: str, dtype: Dtype, folder: Path) -> None:
    ours, theirs = rendered(name, "cuda", folder), rendered(name, "numpy", folder)
    made = episode(dtype, SHAPES, 4)
    for variant in variants(name):
        (computed,) = runner.run(job(ours, name, dtype, made, variant))
        (expected,) = reference.run(job(theirs, name, dtype, made, variant))
        assert bits(computed) == bits(expected), variant


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_threads_does_not_count(name: str, folder: Path) -> None:
    """No thread reads what another one of its launch writes."""
    file, made = rendered(name, "cuda", folder), episode("float32", [(9001,), (3,), (4096,)], 3)
    made_job = job(file, name, "float32", made, ({"weight_decay": 0.01}, {}))
    (backward,) = run(made_job, runner.library(file, "-DOPTLOOM_REVERSED", built_for(made_job)), runner.call)
    (forward,) = runner.run(made_job)
    assert bits(backward) == bits(forward)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_alignment_does_not_count(name: str, dtype: Dtype, folder: Path) -> None:
    """Arrays that wide accesses cannot take give the bits of those that they can; neighbours stay untouched."""
    file, made = rendered(name, "cuda", folder), episode(dtype, [(4103,)], 1)
    library = runner.library(file, built_for(job(file, name, dtype, made, ({}, {}))))
    w, g = made.parameters[0], made.gradients[0][0]
    existing = State(library, {}, {}, []).existing()
    found = []
    for shift in (0, 1):
        room = {name: np.zeros(w.size + 16, w.dtype) for name in ("w", "g")}
        room |= {name: np.zeros(w.size + 16, "float64" if dtype == "float64" else "float32") for name in existing}
        start = {name: (-array.ctypes.data % 16) // array.itemsize + shift for name, array in room.items()}
        arrays = {name: array[start[name] : start[name] + w.size] for name, array in room.items()}
        arrays["w"][:], arrays["g"][:] = w, g
        state = State(library, {}, {}, [arrays["w"]], {name: [arrays[name]] for name in existing})
        state.set_gradients([arrays["g"]])
        runner.call(state, f"start_{dtype}")
        runner.call(state, f"step_{dtype}")
        found.append([arrays[name].tobytes() for name in sorted(arrays)])
        for name, array in room.items():
            assert not np.delete(array, np.arange(start[name], start[name] + w.size)).any()
    assert found[0] == found[1]
    assert found[0] != [array.tobytes() for array in (g, w)]


def test_nothing_to_do_is_still_a_step(folder: Path) -> None:
    for name in RULES:
        made = episode("float32", [(0,), (0, 3)], 2)
        (snapshots,) = runner.run(job(rendered(name, "cuda", folder), name, "float32", made, ({}, {})))
        assert [snapshot.updates for snapshot in snapshots] == [1, 2]


@with_nvcc
@pytest.mark.parametrize("name", RULES)
def test_it_compiles_without_spills(name: str, folder: Path) -> None:
    file = rendered(name, "cuda", folder)
    generations = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in ARCHITECTURES]
    flags = ["-std=c++17", "-O3", "-fatbin", "-Werror=all-warnings", "-Xptxas=-v", "--threads=0"]
    command = ["nvcc", *flags, *generations, file, "-o", str(folder / f"{name}.fatbin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"sm_{each}" for each in ARCHITECTURES} <= set(re.findall(r"for '(sm_\d+)a?'", done.stderr))
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
    assert spills
    assert set(spills) == {"0"}


@with_nvcc
def test_nothing_is_contracted_and_accesses_are_wide(folder: Path) -> None:
    """Even if the flags ask for fast arithmetic, every operation rounds to nearest by name."""
    file, ptx = rendered("adam", "cuda", folder), folder / "adam.ptx"
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-ptx", "-use_fast_math", "-ftz=false", file, "-o", str(ptx)]
    subprocess.run(command, capture_output=True, check=True)
    text = ptx.read_text()
    operations = set(re.findall(r"\b((?:fma|mad|add|sub|mul|div|sqrt|rsqrt|rcp)\.[a-z.]*f(?:32|64))\b", text))
    assert {operation.partition(".")[2] for operation in operations} == {"rn.f32", "rn.f64"}
    assert not any(operation.startswith("fma") for operation in operations)
    assert re.search(r"\bld\S*\.v4\.", text)
    assert re.search(r"\bst\S*\.v4\.", text)


@with_nvcc
def test_it_links_to_a_library_with_its_interface(folder: Path) -> None:
    """The host's half too: what a program of the user's would load."""
    library = folder / "adam.so"
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-shared", "-Xcompiler=-fPIC", rendered("adam", "cuda", folder)]
    subprocess.run([*command, "-o", str(library)], capture_output=True, check=True)
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    wanted = {"adam_interface", "adam_blocks", "adam_workspace", "adam_step_float32", "adam_start_bfloat16"}
    assert wanted <= set(symbols.split())


def test_what_is_not_printed_is_named() -> None:
    for name in set(discover()) - set(RULES):
        with pytest.raises(UnsupportedOperation, match="target cuda does not print"):
            TARGET.render(program_for(discover()[name], "cuda"))


@pytest.mark.parametrize("name", RULES)
def test_text(name: str) -> None:
    (path, text), *_ = render(discover()[name], "cuda").items()
    lines = text.splitlines()
    assert path == f"cuda/{name}.cu"
    assert lines[0] == "// SPDX-License-Identifier: MIT-0"
    assert lines[1].startswith(f"// Generated by optloom from spec/rules/{name}.py.")
    assert all(len(line) <= 110 and line == line.rstrip() for line in lines)
    assert "#include" not in text
    assert "\n\n\n" not in text
