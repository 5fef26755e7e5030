"""What NVIDIA's compilers make of the CUDA target, without a device: registers, memory accesses, instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from kernels import printed, rendered
from optloom.codegen.c_family.native import bits_of, switches_of
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.passes.fission import phases
from optloom.codegen.passes.joined import joined
from optloom.codegen.passes.traffic import bytes_moved
from optloom.codegen.targets.cuda import nvrtc, static
from optloom.codegen.targets.cuda.source import Choice, Source

RULES = printed("cuda")
ARCHITECTURES = (80, 90, 100)
STREAMS = {
    "sgd": [(2, 1)], "adagrad": [(3, 2)], "lion": [(3, 2)], "adam": [(4, 3)], "lamb": [(4, 2), (3, 1)],
}  # fmt: skip
"""Arrays that each pass reads and writes with the defaults, counted by hand: SGD 12 bytes, Adam 28, LAMB 40."""

WIDE_LOAD, WIDE_STORE = r"LDG\.E(\.\w+)*\.128(\.\w+)*", r"STG\.E(\.\w+)*\.128"
GENERIC = r"(LD|ST|ATOM|RED)(\.\w+)*"
LOCAL = r"(LDL|STL)(\.\w+)*"
FLOAT64 = r"D(ADD|MUL|FMA|SETP|MNMX)(\.\w+)*"
ATOMICS = r"(ATOM|ATOMG|ATOMS|RED|REDG)(\.\w+)*"


def missing() -> str:
    """The tool that is not here; empty if all are."""
    sgd = Source(Path(__file__).parents[2] / "generated" / "cuda" / "sgd.cu")
    try:
        assert static.build(sgd, Choice(0, "float32"), 80).instructions
    except (nvrtc.NoCompiler, FileNotFoundError) as error:
        return str(error)
    return ""


MISSING = missing()
with_tools = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@cache
def built(file: str, choice: Choice, architecture: int) -> static.Build:
    return static.build(Source(Path(file)), choice, architecture)


def by_default(file: str, architecture: int) -> static.Build:
    return built(file, Choice(bits_of(switches_of(Source(Path(file)).interface, {}, {})), "float32"), architecture)


def switches(file: str) -> list[str]:
    return [switch["name"] for switch in Source(Path(file)).interface["switches"]]


def excluded(name: str) -> set[str]:
    """All but the last of hyperparameters of which only one may be given."""
    return {hyper for group in program_for(discover()[name], "cuda").alternatives for hyper in group[:-1]}


@with_tools
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", RULES)
def test_it_fits_into_registers(name: str, architecture: int, folder: Path) -> None:
    """With the defaults; and, for one generation, with all options that can be set together, also in packs of eight."""
    file = rendered(name, "cuda", folder)
    builds = [by_default(file, architecture)]
    if architecture == 90:
        every = bits_of({switch: switch not in excluded(name) for switch in switches(file)})
        builds += [built(file, Choice(every, dtype), 90) for dtype in ("float32", "bfloat16")]
    for each in builds:
        assert "prologue" in each.resources
        assert {(kernel.local, kernel.spilled) for kernel in each.resources.values()} == {(0, 0)}


@with_tools
@pytest.mark.parametrize(
    ("name", "architecture"),
    [(name, 90) for name in RULES if name not in STREAMS]
    + [(name, each) for name in STREAMS for each in ARCHITECTURES],
)
def test_every_access_is_wide_and_global(name: str, architecture: int, folder: Path) -> None:
    """An access of 128 bits for each array that a phase reads or writes, in each version of its loop."""
    file = rendered(name, "cuda", folder)
    found = by_default(file, architecture)
    program = program_for(discover()[name], "cuda")
    split = phases(program, joined(program))
    asks_for_axes = bool(Source(Path(file)).interface["axes"])  # loops of other arrays for other numbers of axes
    counted = []
    for number, phase in enumerate(split, 1):
        update = f"update_{number}" if len(split) > 1 else "update"
        if moved := bytes_moved(program, phase):
            for kernel in (update, f"{update}_by_value"):
                streams = found.count(kernel, WIDE_LOAD), found.count(kernel, WIDE_STORE)
                versions, rest = divmod(sum(streams) * 4, moved)
                assert versions
                assert asks_for_axes or not rest
                assert phase.sums or not found.count(kernel, FLOAT64)
            counted.append(streams)
    assert STREAMS.get(name, counted) == counted
    for kernel in found.resources:
        assert not any(found.count(kernel, kind) for kind in (GENERIC, ATOMICS, LOCAL))


@with_tools
def test_halves_take_packs_of_eight(folder: Path) -> None:
    """bfloat16 parameters and gradients: one access for 8 elements of each, two for 8 of a float32 slot."""
    file = rendered("adam", "cuda", folder)
    halves = built(file, Choice(0, "bfloat16"), 90)
    assert halves.count("update_2", WIDE_LOAD) == 2 * 1 + 2 * 2
    assert halves.count("update_2", WIDE_STORE) == 1 + 2 * 2


@with_tools
def test_master_weights_take_one_pass(folder: Path) -> None:
    """bfloat16 gradients and parameters, which are written and not read; float32 weights beside two slots of Adam."""
    file = rendered("adam", "cuda", folder)
    bits = bits_of(switches_of(Source(Path(file)).interface, {}, {"master_weights": True}))
    halves = built(file, Choice(bits, "bfloat16"), 90)
    assert halves.count("update_2", WIDE_LOAD) == halves.count("update_2", WIDE_STORE) == 1 + 3 * 2


@with_tools
def test_flags_do_not_count(folder: Path) -> None:
    """Even if they ask for fast arithmetic, every operation rounds to nearest by name."""
    source = Source(Path(rendered("adam", "cuda", folder)))
    flags = ("--fmad=true", "--prec-div=false", "--prec-sqrt=false")
    plain, fast = (static.build(source, Choice(0, "float32"), 90, *each) for each in ((), flags))
    assert plain.instructions == fast.instructions


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_nvcc_takes_the_file_without_a_warning(folder: Path) -> None:
    """The compiler of those who build ahead of time, for all generations at once."""
    generations = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in ARCHITECTURES]
    flags = ["-std=c++17", "-O3", "-fatbin", "-Werror=all-warnings", "-Xptxas=-v", "--threads=0"]
    file = rendered("lamb", "cuda", folder)
    command = ["nvcc", *flags, *generations, file, "-o", str(folder / "lamb.fatbin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"sm_{each}" for each in ARCHITECTURES} <= set(re.findall(r"for '(sm_\d+)a?'", done.stderr))


@with_tools
def test_what_is_refused_is_told() -> None:
    with pytest.raises(nvrtc.NotCompiled, match=r"(?s)refused wrong\.cu for sm_90.*identifier"):
        nvrtc.compiled("__global__ void f() { x = 1; }", "wrong.cu", 90)
