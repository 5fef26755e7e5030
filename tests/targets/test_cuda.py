"""CUDA under emulation on the host: the bits of the reference, whatever the launch and the order of threads."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import DTYPES, SHAPES, bits, episode, job, multiplies, printed, rendered, variants
from optloom.codegen.c_family import native
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.conformance.protocol import Dtype
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.cpp import runner as on_host
from optloom.codegen.targets.cuda import launcher, runner
from optloom.codegen.targets.cuda.emulation import EmulatedDevice, HostMemory, built
from optloom.codegen.targets.cuda.launcher import Launcher
from optloom.codegen.targets.cuda.products import Matrix
from optloom.codegen.targets.cuda.source import Choice, Source
from optloom.codegen.targets.cuda.target import TARGET
from optloom.codegen.targets.numpy import runner as reference

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
RULES = printed("cuda")
CHUNKS = [*SHAPES, (16384,), (16385,), (40_003,)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


def extremes(name: str) -> list[Any]:
    """Nothing on, and everything on."""
    all_of_them = list(variants(name))
    return [all_of_them[0], all_of_them[-1]] if len(all_of_them) > 1 else all_of_them


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", (*RULES, "probe"))
def test_bits_are_the_references(name: str, dtype: Dtype, folder: Path) -> None:
    """By value in order, and from a table in device memory with the threads shuffled. NumPy multiplies matrices in an
    order of its own: then the reference is C++."""
    target, run = ("cpp", on_host.run) if multiplies(name) else ("numpy", reference.run)
    ours, theirs = rendered(name, "cuda", folder), rendered(name, target, folder)
    made = episode(dtype, CHUNKS, 4)
    for variant in extremes(name):
        (expected,) = run(job(theirs, name, dtype, made, variant))
        for library in (runner.library(ours, by_value=True), runner.library(ours, by_value=False, order=77_777)):
            (computed,) = native.run(job(ours, name, dtype, made, variant), library, runner.call)
            assert bits(computed) == bits(expected), (variant, library.by_value)


STAGES: list[Any] = [
    ({"global_clipnorm": 0.5, "loss_scale_factor": 3.0, "weight_decay": 0.01}, {"use_ema": True}),
    ({"clipnorm": 0.1, "gradient_accumulation_steps": 2, "ema_overwrite_frequency": 2}, {"use_ema": True}),
    ({"clipvalue": 0.01, "gradient_accumulation_steps": 3}, {}),
]


@pytest.mark.parametrize("variant", STAGES)
@pytest.mark.parametrize("name", ["adam", "sgd", "lamb"])
def test_stages_are_in_the_same_passes(name: str, variant: Any, folder: Path) -> None:
    """Also sums over more tensors than a launch takes."""
    ours, theirs = rendered(name, "cuda", folder), rendered(name, "numpy", folder)
    for shapes, library in (
        (CHUNKS, runner.library(ours, by_value=False, order=4_321)),
        ([(i % 4,) for i in range(300)], runner.library(ours, by_value=True, order=99)),
    ):
        made = episode("float32", shapes, 5)
        (computed,) = native.run(job(ours, name, "float32", made, variant), library, runner.call)
        (expected,) = reference.run(job(theirs, name, "float32", made, variant))
        assert bits(computed) == bits(expected)


@pytest.mark.parametrize("name", RULES)
def test_more_tensors_than_a_launch_holds(name: str, folder: Path) -> None:
    file = rendered(name, "cuda", folder)
    count = 2 * Source(Path(file)).capacity + 3
    made = episode("float32", [(i % 3 * 2100,) for i in range(count)], 2)
    found = []
    for library in (runner.library(file, by_value=True), runner.library(file, by_value=False)):
        (computed,) = native.run(job(file, name, "float32", made, extremes(name)[0]), library, runner.call)
        found.append(bits(computed))
    (expected,) = reference.run(job(rendered(name, "numpy", folder), name, "float32", made, extremes(name)[0]))
    assert found == [bits(expected)] * 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_alignment_does_not_count(name: str, dtype: Dtype, folder: Path) -> None:
    """Arrays that wide accesses cannot take give the bits of those that they can; neighbours stay untouched."""
    library = runner.library(rendered(name, "cuda", folder))
    made = episode(dtype, [(4103,)], 1)
    w, g = made.parameters[0], made.gradients[0][0]
    existing = native.State(library, {}, {}, []).existing()
    found = []
    for shift in (0, 1):
        room = {name: np.zeros(w.size + 16, w.dtype) for name in ("w", "g")}
        room |= {name: np.zeros(w.size + 16, "float64" if dtype == "float64" else "float32") for name in existing}
        start = {name: (-array.ctypes.data % 16) // array.itemsize + shift for name, array in room.items()}
        arrays = {name: array[start[name] : start[name] + w.size] for name, array in room.items()}
        arrays["w"][:], arrays["g"][:] = w, g
        state = native.State(library, {}, {}, [arrays["w"]], {name: [arrays[name]] for name in existing})
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


@dataclass
class RecordingDevice:
    """Keeps what would be launched."""

    launches: list[tuple[str, int, int]] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)

    def empty(self, size: int) -> HostMemory:
        return HostMemory(size)

    def write(self, address: int, data: bytes, stream: int) -> None:
        self.written.append(data)

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any], stream: int) -> None:
        self.launches.append((kernel, blocks, threads))


@pytest.fixture
def sgd(folder: Path) -> Source:
    return Source(Path(rendered("sgd", "cuda", folder)))


def one_tensor(source: Source, **fields: int) -> Any:
    tensors = (source.tensor * 1)()
    for name, value in fields.items():
        setattr(tensors[0], name, value)
    return tensors


def test_sizes_are_of_64_bits(sgd: Source) -> None:
    """The last chunk of a tensor of more than 2**32 elements is where 64-bit addresses say; only it exists."""
    chunks, rest = 2**32 // launcher.CHUNK, 5
    size, begin = chunks * launcher.CHUNK + rest, chunks * launcher.CHUNK
    row = sgd.row(learning_rate=0.5)
    w, g = np.arange(8, dtype=np.float32), np.ones(8, np.float32)
    device = RecordingDevice()
    tensors = one_tensor(sgd, size=size, w=w.ctypes.data - 4 * begin, g=g.ctypes.data - 4 * begin)
    Launcher(sgd, Choice(0, "float32"), device).run("step", 1, 0, tensors)
    assert ("sgd_update_2_by_value", chunks + 1, 256) in device.launches
    first, owner, scalars = np.array([-chunks, 1]), np.zeros(1, np.int32), HostMemory(256)
    places = (ctypes.addressof(tensors), first.ctypes.data, owner.ctypes.data)
    emulated = EmulatedDevice(built(sgd, Choice(0, "float32")))
    state = sgd.state(row=ctypes.addressof(row), scalars=scalars.address)
    emulated.launch("sgd_prologue", 1, 256, (ctypes.c_int64(1), state), 0)
    emulated.launch("sgd_update_2", 1, 256, (sgd.table(1, *places), state), 0)
    assert w.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 5, 6, 7]


def test_a_table_is_uploaded_when_it_changes(sgd: Source) -> None:
    device = RecordingDevice()
    made = Launcher(sgd, Choice(0, "float32"), device)
    tensors = one_tensor(sgd, size=3, w=64, g=128)
    for _ in range(3):
        made.run("step", 1, 0, tensors, by_value=False)
    assert len(device.written) == 1
    tensors[0].g = 192
    made.run("step", 1, 0, tensors, by_value=False)
    made.run("step", 1, 0, tensors, by_value=True)
    assert len(device.written) == 2


def test_a_call_that_found_infinities_changes_nothing(folder: Path) -> None:
    for name in RULES:
        source = Source(Path(rendered(name, "cuda", folder)))
        made = runner.library(str(source.path)).launcher(Choice(0, "float32"))
        row, w, found = source.row(), np.ones(5000, np.float32), ctypes.c_float(1)
        slots = {slot["name"]: w.copy() for slot in source.interface["slots"] if not slot["when"]}
        tensors = one_tensor(source, size=w.size, w=w.ctypes.data, g=np.full_like(w, np.inf).ctypes.data)
        for slot, array in slots.items():
            setattr(tensors[0], slot, array.ctypes.data)
        before = bytes(row)
        made.run("step", 1, ctypes.addressof(row), tensors, found_inf=ctypes.addressof(found))
        assert bytes(row) == before
        assert all((array == 1).all() for array in (w, *slots.values())), name


def test_gradients_of_another_dtype_scaled_and_negated(sgd: Source) -> None:
    """bfloat16 gradients of float32 parameters, to go up, divided by a number on the device."""
    choice = Choice(0, "float32", "bfloat16", gradients=3)
    g = np.arange(-2.0, 2.0, 2.0**-4, np.float32)
    halves, w, row, scale = (g.view(np.uint32) >> 16).astype(np.uint16), np.ones_like(g), sgd.row(), ctypes.c_float(8)
    row.learning_rate = 0.25
    made = Launcher(sgd, choice, EmulatedDevice(built(sgd, choice), order=5))
    tensors = one_tensor(sgd, size=g.size, w=w.ctypes.data, g=halves.ctypes.data)
    made.run("step", 1, ctypes.addressof(row), tensors, gradient_scale=ctypes.addressof(scale))
    assert np.array_equal(w, 1 + g / 8 * np.float32(0.25))


def test_what_is_written_beside_the_parameter(sgd: Source) -> None:
    """The gradient, divided, for those who look at it; counters."""
    choice = Choice(0, "float32", gradients=7)
    w = np.arange(1, 2, 2.0**-9, np.float32)
    g, row = np.full_like(w, 4), sgd.row(learning_rate=2.0**-20, t=4)
    scale, step = ctypes.c_float(2), ctypes.c_double(4)
    tensors = one_tensor(sgd, size=w.size, w=w.ctypes.data, g=g.ctypes.data, step=ctypes.addressof(step))
    made = Launcher(sgd, choice, EmulatedDevice(built(sgd, choice), order=3))
    made.run("step", 1, ctypes.addressof(row), tensors, gradient_scale=ctypes.addressof(scale))
    assert set(g) == {2}
    assert w[0] == 1 + 2.0**-19
    assert step.value == 5


def test_the_layouts_are_the_compilers(sgd: Source, folder: Path) -> None:
    """Of rows, tensors, tables and states: sizes and the offset of every member."""
    source = Source(Path(rendered("lamb", "cuda", folder)))
    lines = []
    for name in ("Row", "Tensor", "Table", "Tensors", "State"):
        structure = getattr(source, name.lower())
        lines.append(f"static_assert(sizeof(Lamb{name}) == {ctypes.sizeof(structure)});")
        for member, _ in structure._fields_:
            lines.append(
                f"static_assert(__builtin_offsetof(Lamb{name}, {member}) == {getattr(structure, member).offset});"
            )
    lines.append(f"static_assert(LambTensors::capacity == {source.capacity});")
    lines.append(f"static_assert(chunk_size == {launcher.CHUNK} && block_size == {launcher.BLOCK});")
    for buffer in source.launches["buffers"]:
        lines.append(f"static_assert(sizeof(*LambState::{buffer['name']}) <= {buffer['words'] * 8});")
    file = folder / "layouts" / "lamb.cu"
    file.parent.mkdir()
    file.write_text(source.text + "\n".join(lines))
    for dtype in DTYPES:
        built(Source(file), Choice(0, dtype))


def test_a_caller_multiplies(folder: Path) -> None:
    """Matrices of one tensor after another; with sums in order in float64, as the file's own kernel has them."""
    made, file = episode("float32", [(3, 5), (70, 40), (7,), (0, 3)], 2), rendered("muon", "cuda", folder)
    plain = runner.run(job(file, "muon", "float32", made, ({}, {})))
    shapes: list[tuple[int, ...]] = []

    def array(x: Matrix) -> np.ndarray:
        numbers = (ctypes.c_float * (x.rows * x.columns)).from_address(x.address)
        held = np.ctypeslib.as_array(numbers)
        return held.reshape(x.columns, x.rows).T if x.is_transposed else held.reshape(x.rows, x.columns)

    def product(factor: int, a: Matrix, b: Matrix, c: Matrix) -> None:
        assert {x.dtype for x in (a, b, c)} == {"float32"} and c.count == 1
        shapes.append((a.rows, b.columns, a.columns))
        left, right, total = array(a).astype(np.float64), array(b).astype(np.float64), np.zeros((c.rows, c.columns))
        for k in range(a.columns):
            total = total + left[:, k : k + 1] * right[k : k + 1]
        array(c)[:] = total / factor

    found = []
    for factor in (1, 2):
        library = runner.library(file)
        library.launcher(Choice(native.State(library, {}, {}, []).bits, "float32")).product = partial(product, factor)
        (computed,) = native.run(job(file, "muon", "float32", made, ({}, {})), library, runner.call)
        found.append(bits(computed))
    assert found[0] == bits(plain[0]) != found[1]
    assert {(n, k, i) for n, m in ((3, 5), (70, 40)) for k, i in ((n, m), (n, n), (m, n))} == {*shapes}


def test_what_is_not_printed_is_named() -> None:
    for rule in discover().values():
        try:
            TARGET.render(program_for(rule, "cuda"))
        except UnsupportedOperation as refused:
            assert str(refused).startswith("target cuda does not print"), rule


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
