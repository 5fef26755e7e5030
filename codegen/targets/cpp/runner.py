"""Runs generated C++ for the conformance suite, through ctypes, built as its head says."""

from __future__ import annotations

import ctypes
from pathlib import Path

from ...c_family import native
from ...conformance.protocol import Job, Mode, Snapshot

MODES = (Mode("plain", numerics=("strict",), follows_tree=True),)
FLAGS = "-std=c++17 -O3 -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=off -shared -fPIC"
PLAIN = (ctypes.c_void_p(), ctypes.c_void_p())
"""A callback that is none: kernels then do what it would."""


def library(file: str, command: str = f"g++ {FLAGS}") -> native.Library:
    """`file`, compiled by `command`."""
    return native.Library(Path(file), native.compiled(Path(file), command.split()))


def call(state: native.State, name: str) -> None:
    is_step, count = name.startswith("step"), len(state.parameters)
    rows, scale = ((1,), (ctypes.c_double(1),)) if is_step else ((), ())
    callbacks = PLAIN * len(state.library.interface.get("callbacks", ())) if is_step else ()
    state.library.call(name, state.bits, *rows, ctypes.byref(state.row), count, state.tensors, *scale, *callbacks)


def run(job: Job) -> list[list[Snapshot]]:
    return native.run(job, library(job.file, f"g++ {FLAGS} {native.built_for(job)}"), call)
