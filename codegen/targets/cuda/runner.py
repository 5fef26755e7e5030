"""Runs generated CUDA for the conformance suite on the host, compiled as C++ with the emulation header."""

from __future__ import annotations

import ctypes
from pathlib import Path

from ...c_family import native
from ...conformance.protocol import Job, Mode, Snapshot

MODES = (Mode("plain", numerics=("strict",), follows_tree=True),)
HEADER = Path(__file__).parent / "emulation.h"
FLAGS = "-std=c++17 -O1 -fno-math-errno -ffp-contract=off -shared -fPIC"


class Block(ctypes.Structure):
    _fields_ = [("tensor", ctypes.c_int64), ("begin", ctypes.c_int64), ("size", ctypes.c_int64)]


def library(file: str, *flags: str) -> native.Library:
    """`file`, compiled with further `flags`."""
    command = ("g++", *FLAGS.split(), *flags, "-include", str(HEADER), "-x", "c++")
    return native.Library(Path(file), native.compiled(Path(file), command, HEADER))


def call(state: native.State, name: str) -> None:
    """The host is the device here: its memory holds the tables, and there is no stream."""
    function, tensors, row = state.library.call, len(state.parameters), ctypes.byref(state.row)
    count = function("blocks", tensors, state.tensors, None, returns=ctypes.c_int64)
    blocks = (Block * count)()
    function("blocks", tensors, state.tensors, blocks, returns=ctypes.c_int64)
    if name.startswith("start"):
        function(name, state.bits, row, state.tensors, count, blocks, None)
        return
    workspace = (ctypes.c_double * (function("workspace", 1, tensors, count, returns=ctypes.c_int64) // 8 + 1))()
    function(name, state.bits, 1, row, tensors, state.tensors, count, blocks, workspace, None)


def run(job: Job) -> list[list[Snapshot]]:
    return native.run(job, library(job.file, native.built_for(job)), call)
