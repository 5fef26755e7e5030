"""NVIDIA's run-time compiler through ctypes: CUDA source to machine code, without nvcc and without a GPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")
OPTIONS = ("--std=c++17",)


class NoCompiler(Exception):
    """There is no NVRTC; the message says how to get it."""


class NotCompiled(Exception):
    """The compiler refused a file; the message is its own."""


@cache
def library() -> ctypes.CDLL:
    """NVRTC as the loader finds it, else from the wheels that PyTorch for CUDA installs. Raises NoCompiler."""
    for name in NAMES:
        for place in ("", *(f"{folder}/" for folder in _folders())):
            try:
                if place:  # NVRTC looks for its builtins where programs look for libraries, which need not be there
                    for builtins in Path(place).glob("libnvrtc-builtins.so.*"):
                        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
                return ctypes.CDLL(place + name)
            except OSError:
                continue
    raise NoCompiler(f"none of {', '.join(NAMES)} can be loaded; install nvidia-cuda-nvrtc, or a CUDA toolkit")


def _folders() -> Iterator[Path]:
    for path in sys.path:
        yield from sorted(Path(path).glob("nvidia/c*/lib"))


@cache
def version() -> tuple[int, int]:
    """(major, minor)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _checked(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def compiled(text: str, name: str, architecture: int, options: Sequence[str] = ()) -> tuple[bytes, str]:
    """The cubin of `text`, the source of the file `name`, for sm_<architecture>, and what the compiler said.

    Raises NoCompiler, and NotCompiled with the compiler's messages.
    """
    nvrtc, program = library(), ctypes.c_void_p()
    arguments = [*OPTIONS, f"--gpu-architecture=sm_{architecture}", *options]
    _checked(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
    try:
        encoded = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
        status = nvrtc.nvrtcCompileProgram(program, len(arguments), encoded)
        said = _bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if status:
            raise NotCompiled(f"NVRTC {'.'.join(map(str, version()))} refused {name} for sm_{architecture}:\n{said}")
        return _bytes(program, "CUBIN"), said
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _checked(library()[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    made = ctypes.create_string_buffer(max(1, size.value))
    _checked(library()[f"nvrtcGet{what}"](program, made))
    return made.raw[: size.value]


def _checked(status: int) -> None:
    if status:
        describe = library().nvrtcGetErrorString
        describe.restype = ctypes.c_char_p
        raise NotCompiled(f"NVRTC: {describe(status).decode()}")
