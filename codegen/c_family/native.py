"""Compiled C++ and emulated CUDA, called through ctypes: what the conformance runners of both share."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..conformance.protocol import Array, Episode, Job, Skip, Slots, Snapshot, compute_dtype, numpy_dtype

FIELDS = {"float64": ctypes.c_double, "int64": ctypes.c_int64}
LENGTHS = ("axes", "matrices", "rows", "columns")


class NotCompiled(Exception):
    """The compiler refused a generated file; carries its messages."""


def compiled(source: Path, command: Sequence[str], *headers: Path) -> Path:
    """The shared library that `command` makes of `source`: kept under the user's cache folder, by the content of source
    and `headers`.

    Raises Skip without the compiler, NotCompiled with its messages.
    """
    inputs = b"\0".join(["\0".join(command).encode(), *(file.read_bytes() for file in (source, *headers))])
    key = hashlib.sha256(inputs).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optloom"
    library = folder / f"{source.stem}-{key}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / library.name
        try:
            done = subprocess.run([*command, str(source), "-o", str(made)], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise Skip(f"no compiler: {command[0]}") from error
        if done.returncode:
            raise NotCompiled(done.stderr)
        os.replace(made, library)
    return library


Interface = dict[str, list[Any]]
"""What a rule file says of itself: a list for each of its parts."""


def interface_of(source: Path) -> Interface:
    """The interface that the file describes."""
    text = source.read_text().partition('_interface = R"(')[2].partition(')";')[0]
    described: Interface = json.loads(text)
    return described


def switches_of(
    interface: Interface, hypers: Mapping[str, float | int | None], options: Mapping[str, bool | str]
) -> dict[str, bool]:
    """The bits of `options`, from the lowest on, and whether they are set."""
    given: dict[str, Any] = {hyper["name"]: hyper["default"] for hyper in interface["hypers"]} | dict(hypers)
    chosen: dict[str, Any] = {option["name"]: option["default"] for option in interface["options"]} | dict(options)

    def is_set(switch: dict[str, Any]) -> bool:
        if "given" in switch:
            return given[switch["given"]] not in (None, switch["off"])
        return bool(chosen[switch["option"]] == switch["value"])

    return {switch["name"]: is_set(switch) for switch in interface["switches"]}


def bits_of(switches: Mapping[str, bool]) -> int:
    return sum(1 << bit for bit, is_set in enumerate(switches.values()) if is_set)


def built_for(job: Job) -> str:
    """The compiler's flag that fixes the options of a job: building for all of them takes long."""
    return f"-DOPTLOOM_OPTIONS={bits_of(switches_of(interface_of(Path(job.file)), job.hypers, job.options))}"


@dataclass(frozen=True)
class Library:
    """A compiled rule file."""

    source: Path
    path: Path

    @property
    def prefix(self) -> str:
        return self.source.stem

    @cached_property
    def functions(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(self.path))

    @cached_property
    def interface(self) -> Interface:
        return interface_of(self.source)

    @cached_property
    def row(self) -> type[ctypes.Structure]:
        hypers = [(hyper["name"], FIELDS[hyper["type"]]) for hyper in self.interface["hypers"]]
        counters = [(counter["name"], ctypes.c_int64) for counter in self.interface["counters"]]
        scalars = [(slot["name"], ctypes.c_double) for slot in self.interface["scalar_slots"]]
        scalars += [(each["name"], ctypes.c_double) for each in self.interface["inputs"] if each["shape"] == "scalar"]
        return type("Row", (ctypes.Structure,), {"_fields_": [*hypers, *counters, *scalars]})

    @cached_property
    def tensor(self) -> type[ctypes.Structure]:
        numbers = ("size", "row", *LENGTHS)
        fields = [(name, ctypes.c_int64 if name in numbers else ctypes.c_void_p) for name in self.interface["tensor"]]
        return type("Tensor", (ctypes.Structure,), {"_fields_": fields})

    def call(self, name: str, *arguments: Any, returns: Any = None) -> Any:
        """`<prefix>_<name>`; whole numbers are passed as 64 bits."""
        function = getattr(self.functions, f"{self.prefix}_{name}")
        function.restype = returns
        passed = [ctypes.c_int64(argument) if isinstance(argument, int) else argument for argument in arguments]
        return function(*passed)


@dataclass
class State:
    """The arrays of one optimizer in the form that its kernels take, and kept alive. `switches`: which bits are set."""

    library: Library
    hypers: Mapping[str, float | int | None]
    options: Mapping[str, bool | str]
    parameters: list[Array]
    slots: Slots = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.switches = switches_of(self.library.interface, self.hypers, self.options)
        self.bits = bits_of(self.switches)
        self.row = self.library.row()
        for hyper in self.library.interface["hypers"]:
            setattr(self.row, hyper["name"], self.hypers.get(hyper["name"], hyper["default"]) or 0)
        self.tensors = (self.library.tensor * len(self.parameters))()
        for tensor, w in zip(self.tensors, self.parameters, strict=True):
            tensor.size, tensor.w = w.size, w.ctypes.data
            for name, length in lengths_of(w.shape).items():
                setattr(tensor, name, length)
        for name, arrays in self.slots.items():
            for tensor, array in zip(self.tensors, arrays, strict=True):
                setattr(tensor, name, array.ctypes.data)

    def existing(self, kind: str = "slots") -> list[str]:
        """The slots (or `scalar_slots`) that these switches call for, for some tensors at least."""
        parts = self.library.interface[kind]
        return [slot["name"] for slot in parts if all(self._holds(name, None) for name in slot["when"])]

    def is_of(self, slot: str, w: Array) -> bool:
        """Whether a slot that exists does so for the parameter `w`."""
        (names,) = (each["when"] for each in self.library.interface["slots"] if each["name"] == slot)
        return all(self._holds(name, w) for name in names)

    def _holds(self, name: str | list[str], w: Array | None) -> bool:
        """Whether a switch, or one of several, is as `name` says for the parameter `w`; None for what only tensors
        know."""
        if isinstance(name, list):
            return any(self._holds(each, w) for each in name)
        counts = {each["name"]: each["count"] for each in self.library.interface["axes"]}
        bare, wanted = name.lstrip("!"), not name.startswith("!")
        if bare in counts:
            return w is None or (w.ndim >= counts[bare]) == wanted
        if bare in (each["name"] for each in self.library.interface["narrow"]):
            return w is None or (w.itemsize < np.dtype(compute_dtype(w.dtype.name)).itemsize) == wanted
        return self.switches[bare] == wanted

    def start_scalars(self, dtype: str) -> None:
        """Scalar slots as they are before the first step: numbers of `dtype`, which the row holds in float64."""
        for slot in self.library.interface["scalar_slots"]:
            start = slot["start"]
            number = getattr(self.row, start) if isinstance(start, str) else start
            setattr(self.row, slot["name"], numpy_dtype(dtype).type(number))

    def set_gradients(self, gradients: list[Array]) -> None:
        self.gradients = gradients
        for tensor, g in zip(self.tensors, gradients, strict=True):
            tensor.g = g.ctypes.data

    def set_inputs(self, inputs: Mapping[str, Any], dtype: str) -> None:
        """A call's inputs: numbers are the row's, tensors arrays of `dtype`."""
        self.inputs: Slots = {}
        for name, values in inputs.items():
            if not isinstance(values, list):
                setattr(self.row, name, values)
                continue
            self.inputs[name] = [_contiguous(array, dtype) for array in values]
            for tensor, array in zip(self.tensors, self.inputs[name], strict=True):
                setattr(tensor, name, array.ctypes.data)


def lengths_of(shape: tuple[int, ...]) -> dict[str, int]:
    """What a tensor's struct tells of its axes."""
    has_rows = len(shape) >= 2
    rows, columns = shape[-2:] if has_rows else (0, 0)
    return dict(zip(LENGTHS, (len(shape), math.prod(shape[:-2]) if has_rows else 0, rows, columns), strict=True))


def shape_of(kind: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a slot of a parameter of `shape`."""
    shapes = {"tensor": (), "rows": (*shape[:-1], 1), "columns": (*shape[:-2], 1, *shape[-1:])}
    return shapes.get(kind, shape)


Call = Callable[[State, str], None]
"""Calls the function `start_<dtype>` or `step_<dtype>` on a state."""


def run(job: Job, library: Library, call: Call) -> list[list[Snapshot]]:
    return [_episode(job, episode, library, call) for episode in job.episodes]


def _episode(job: Job, episode: Episode, library: Library, call: Call) -> list[Snapshot]:
    parameters = [_contiguous(w, job.dtype) for w in episode.parameters]
    empty, compute = State(library, job.hypers, job.options, parameters), compute_dtype(job.dtype)
    scalars = empty.existing("scalar_slots")
    slots = _slots(episode, empty, job.dtype)
    state = State(library, job.hypers, job.options, parameters, slots)
    if episode.slots is None:
        call(state, f"start_{job.dtype}")
        state.start_scalars(compute)
    else:
        for name in scalars:
            setattr(state.row, name, float(episode.slots[name][0]))
    state.row.t = episode.updates
    if hasattr(state.row, "iterations"):
        state.row.iterations = episode.calls
    snapshots = []
    for index, gradients in enumerate(episode.gradients):
        state.set_gradients([_contiguous(g, job.dtype) for g in gradients])
        state.set_inputs(episode.inputs[index] if episode.inputs else {}, job.dtype)
        call(state, f"step_{job.dtype}")
        found = {name: _copies(arrays) for name, arrays in slots.items()}
        found |= {name: [np.array(getattr(state.row, name), compute)] for name in scalars}
        snapshots.append(Snapshot(_copies(parameters), found, state.row.t, getattr(state.row, "skipped", 0)))
    return snapshots


def _slots(episode: Episode, state: State, parameter_dtype: str) -> Slots:
    """The slots that some parameter has, to begin with; empty arrays for the parameters that do not have one."""
    shapes = {slot["name"]: slot["shape"] for slot in state.library.interface["slots"]}
    narrow = {slot["name"] for slot in state.library.interface["slots"] if "storage" in slot}
    slots: Slots = {}
    for name in state.existing():
        has = [state.is_of(name, w) for w in state.parameters]
        if not any(has) and has:
            continue
        kept_in = parameter_dtype if name in narrow else compute_dtype(parameter_dtype)
        given = episode.slots[name] if episode.slots is not None else state.parameters
        slots[name] = [
            np.zeros(0) if not own else _contiguous(array, kept_in) if episode.slots is not None
            else np.empty(shape_of(shapes[name], array.shape), numpy_dtype(kept_in))
            for array, own in zip(given, has, strict=True)
        ]  # fmt: skip
    return slots


def _contiguous(array: Array, dtype: str) -> Array:
    return np.array(array, dtype=numpy_dtype(dtype), copy=True, order="C")


def _copies(arrays: list[Array]) -> list[Array]:
    return [np.array(array, copy=True) for array in arrays]
