"""Fused kernels: where they are found, and how they are built. Importing this does nothing.

A kernel is a C++ file of this folder, or of the folder `cpp` beside it. It is built for one choice of
options and dtypes, in a second, by the system's compiler ($CXX, g++, clang++ or c++). A library is looked for
beside the C++ file, then in the folders of OPTLOOM_KERNEL_PATH, then in the user's cache ($XDG_CACHE_HOME or
~/.cache, optloom/kernels); then it is built into the cache, unless OPTLOOM_COMPILE=0.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = (
    "-std=c++17",
    "-O3",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-shared",
    "-fPIC",
)
LEVELS: Mapping[str, frozenset[str]] = {
    "x86-64-v4": frozenset({"avx2", "fma", "bmi2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "x86-64-v3": frozenset({"avx2", "fma", "bmi2"}),
    "x86-64-v2": frozenset({"sse4_2", "popcnt"}),
    "x86-64": frozenset({"sse2"}),
}
"""Instruction sets for relocatable libraries, and what a processor must have for them; the best one first."""

NEGATED, UNSCALED, WRITTEN_BACK = 1, 2, 4
"""How gradients are read: up them; divided by a scale; and written back divided."""


class KernelError(RuntimeError):
    """A fused kernel cannot be found, built or loaded."""


@dataclass(frozen=True)
class Variant:
    """What a library is built for: options (the sum of the bits that are set), and dtypes by name.

    `gradients`: how gradients are read, a sum.
    """

    options: int
    parameter: str
    gradient: str
    gradients: int = 0

    @property
    def name(self) -> str:
        return f"o{self.options}-g{self.gradients}-{self.parameter}-{self.gradient}"

    @property
    def macros(self) -> list[str]:
        dtypes = f"-DOPTLOOM_PARAMETER={self.parameter}", f"-DOPTLOOM_GRADIENT={self.gradient}"
        return [f"-DOPTLOOM_OPTIONS={self.options}", *dtypes, f"-DOPTLOOM_GRADIENTS={self.gradients}"]


class Source:
    """A kernel's C++ file, or what a library built from it says of itself.

    `interface`: the row's and the tensor's fields, options, slots. `digest`: of the text.
    """

    def __init__(self, file: Path) -> None:
        text = file.read_text()
        self.file, self.name = file, file.stem
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.interface: dict[str, Any] = json.loads(text.partition('_interface = R"(')[2].partition(')";')[0])

    def scopes(self, options: int) -> frozenset[str]:
        """What a step with these options adds up: a whole "tensor", all "tensors"."""
        return frozenset(total["over"] for total in self.interface["sums"] if self._exists(total, options))

    def needs_places(self, options: int) -> bool:
        """Whether a step with these options asks where elements lie in their tensors, in order of rows."""
        return any(self._exists(place, options) for place in self.interface["places"])

    def slot_dtype(self, slot: str, parameter: str) -> str:
        """The dtype that the kernel has a slot in: the parameter's own, or that of its arithmetic."""
        if any(each["name"] == slot and each.get("storage") == "parameter" for each in self.interface["slots"]):
            return parameter
        return "float64" if parameter == "float64" else "float32"

    def _exists(self, part: Mapping[str, Any], options: int) -> bool:
        on = {switch["name"]: bool(options >> bit & 1) for bit, switch in enumerate(self.interface["switches"])}
        return all(on[name.lstrip("!")] != name.startswith("!") for name in part["when"])


def lengths_of(shape: Sequence[int]) -> dict[str, int]:
    """The numbers of a tensor's axes, matrices, rows and columns: 0 where it has none."""
    matrices, rows, columns = (math.prod(shape[:-2]), *shape[-2:]) if len(shape) >= 2 else (0, 0, 0)
    return {"axes": len(shape), "matrices": matrices, "rows": rows, "columns": columns}


@functools.cache
def source_of(module: str, brings: tuple[str, ...] = ()) -> Source:
    """The kernel of the optimizer in the Python file `module`. `brings`: the callbacks that a caller has.

    Raises KernelError if there is no kernel, or one that takes other callbacks.
    """
    file = Path(module)
    places = [file.with_suffix(".cpp"), file.parent.parent / f"cpp/{file.stem}.cpp"]
    for place in places:
        if place.exists():
            source = Source(place)
            missing = [each["name"] for each in source.interface.get("callbacks", ()) if each["name"] not in brings]
            if missing:
                names = ", ".join(missing)
                raise KernelError(f"the fused kernel {place} takes a {names} function, which is not brought to it here")
            return source
    raise KernelError(f"{file.stem} has no fused kernel: there is no {places[0]}")


class Library:
    """A loaded kernel: `start` and `step`, as in its C++ file."""

    def __init__(self, file: Path, source: Source) -> None:
        try:
            functions = ctypes.CDLL(str(file))
            found = ctypes.c_char_p.in_dll(functions, f"{source.name}_digest").value or b""
        except (OSError, ValueError) as error:
            raise KernelError(f"the fused kernel {file} cannot be loaded: {error}") from error
        if found.decode() != source.digest:
            raise KernelError(f"{file} was built for another version of {source.file}: build it anew, or remove it")
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self.file, self.functions = file, functions
        self.step = getattr(functions, f"{source.name}_step")
        self.callbacks = len(source.interface.get("callbacks", ()))
        addresses = (pointer,) * (2 * self.callbacks)
        self.step.argtypes = (number, number, pointer, number, pointer, ctypes.c_double, *addresses)


@functools.cache
def _loaded(file: Path, source: Source) -> Library:
    return Library(file, source)


def library(source: Source, variant: Variant) -> Library:
    """The kernel for `variant`: found, else built. Raises KernelError where it can be neither."""
    found = find(source, variant)
    if found is not None:
        return found
    file = _cached(source, variant)
    looked = [place.parent for place in _candidates(source, variant)]
    with _building(f"fused kernel {source.name}-{variant.name}", file, looked):
        build(source, variant, file, ("-march=native",))
    return _loaded(file, source)


def binding(source: Path, name: str, flags: tuple[str, ...], may_build: bool) -> Path:
    """The library `name` of `source`, by which a framework calls kernels: found where they are, else built.

    Raises KernelError where it can be neither.
    """
    places = [folder / name for folder in (*folders(source), cache_folder())]
    found = next((place for place in places if place.exists()), None)
    if found is None and not may_build:
        raise KernelError("not built")
    return found or build_binding(source, places[-1], flags)


def build_binding(source: Path, file: Path, flags: tuple[str, ...]) -> Path:
    """Builds `file` of `source`. Raises KernelError where that is forbidden, or cannot be."""
    with _building(file.name, file, [*folders(source), cache_folder()]):
        compiled(source, file, flags)
    return file


@contextmanager
def _building(what: str, file: Path, looked: Iterable[Path]) -> Iterator[None]:
    """Around what builds `file`, which is in none of the folders `looked` into."""
    if os.environ.get("OPTLOOM_COMPILE") == "0":
        folders_ = ", ".join(map(str, looked))
        raise KernelError(f"no {what} in {folders_}, and OPTLOOM_COMPILE=0 forbids to build it")
    try:
        yield
    except OSError as error:
        raise KernelError(
            f"the folder for fused kernels, {file.parent}, cannot be written: {error.strerror or error}; "
            "name another (the cache by XDG_CACHE_HOME), or set OPTLOOM_KERNEL_PATH to one with built kernels"
        ) from error


def find(source: Source, variant: Variant) -> Library | None:
    """The kernel for `variant` if it was built already. Raises KernelError for one of another version."""
    file = next((file for file in _candidates(source, variant) if file.exists()), None)
    return None if file is None else _loaded(file, source)


def _candidates(source: Source, variant: Variant) -> Iterator[Path]:
    """Where libraries are looked for, in this order."""
    own = processor()[1]
    for folder in folders(source.file):
        for level, needs in LEVELS.items():
            if needs <= own:
                yield folder / file_name(source, variant, level)
    yield _cached(source, variant)


def folders(file: Path) -> list[Path]:
    """Where users put libraries built from `file`."""
    named = os.environ.get("OPTLOOM_KERNEL_PATH", "").split(os.pathsep)
    return [file.parent, *map(Path, filter(None, named))]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optloom" / "kernels"


def file_name(source: Source, variant: Variant, level: str) -> str:
    """What a library for an instruction set is called."""
    return f"{source.name}-{variant.name}-{level}.so"


def _cached(source: Source, variant: Variant) -> Path:
    """A library in the cache: its key is made of the text, the flags and the processor."""
    key = hashlib.sha256("\0".join([source.digest, *FLAGS, *compiler_words(), processor()[0]]).encode()).hexdigest()
    return cache_folder() / f"{source.name}-{variant.name}-{key[:16]}.so"


def compiler_words() -> list[str]:
    """The compiler's command as it stands in the environment; which one it is, is not looked up."""
    return os.environ.get("CXX", "").split()


@functools.cache
def processor() -> tuple[str, frozenset[str]]:
    """A text that tells processors apart, and the instruction sets of this one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.machine(), frozenset()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "")
    return f"{platform.machine()} {fields.get('model name', '')} {flags}", frozenset(flags.split())


def build(source: Source, variant: Variant, file: Path, flags: tuple[str, ...]) -> None:
    """Compiles `source` into `file` with further flags; of several processes one compiles, the others wait.

    Raises KernelError with the compiler's messages, OSError where the folder cannot be written.
    """
    compiled(source.file, file, (*FLAGS, *flags, *variant.macros, f'-DOPTLOOM_DIGEST="{source.digest}"'))


def compiled(source: Path, file: Path, flags: tuple[str, ...]) -> None:
    """Makes the library `file` of `source`, whole or not at all."""
    command = compiler_words() or [next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), "")]
    if not command[0]:
        raise KernelError("no C++ compiler: install g++, or set CXX to one")
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return
        with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
            made = Path(scratch) / file.name
            words = [*command, *flags, str(source), "-o", str(made)]
            try:
                done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
            except OSError as error:
                raise KernelError(f"the C++ compiler {command[0]} cannot be run: {error.strerror}") from error
            if done.returncode:
                messages = "\n".join(done.stderr.splitlines()[:12])
                raise KernelError(f"the compiler failed on {source}:\n{messages}\nthe command was: {' '.join(words)}")
            os.replace(made, file)
