"""CUDA devices through the driver's interface, by ctypes; and where the code that they run is found, or made.

Code for a choice is looked for beside the .cu file, then in the folders of OPTLOOM_KERNEL_PATH, then in the user's
cache ($XDG_CACHE_HOME or ~/.cache, optloom/kernels); then it is compiled into the cache by NVRTC, unless
OPTLOOM_COMPILE=0.
Importing this does nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from . import nvrtc
from .launcher import Memory
from .source import Choice, Source


class DeviceError(RuntimeError):
    """There is no device, its driver refused a call, or code for it cannot be found or made."""


def digest(source: Source) -> str:
    return hashlib.sha256(source.text.encode()).hexdigest()


def macros(source: Source, choice: Choice) -> tuple[str, ...]:
    """The compiler's arguments for a build that says which text it was made from."""
    return *choice.defines, f'-DOPTLOOM_DIGEST="{digest(source)}"'


def code(source: Source, choice: Choice, architecture: int) -> bytes:
    """A cubin or fatbin of `source` for `choice` that runs on sm_<architecture>: found, else compiled.

    Raises DeviceError where it can be neither, and for one that was built from another version of the file.
    """
    for file in _candidates(source, choice, architecture):
        if file.exists():
            found = file.read_bytes()
            if digest(source).encode() not in found:
                raise DeviceError(f"{file} was built for another version of {source.path}: build it anew, or remove it")
            return found
    wanted = f"{source.path.stem}-{choice.name} for sm_{architecture}"
    if os.environ.get("OPTLOOM_COMPILE") == "0":
        looked = ", ".join(dict.fromkeys(str(file.parent) for file in _candidates(source, choice, architecture)))
        raise DeviceError(f"no kernels {wanted} in {looked}, and OPTLOOM_COMPILE=0 forbids to compile them")
    try:
        made, _ = nvrtc.compiled(source.text, source.path.name, architecture, macros(source, choice))
    except (nvrtc.NoCompiler, nvrtc.NotCompiled) as error:
        raise DeviceError(f"kernels {wanted} cannot be compiled: {error}") from error
    _keep(_cached(source, choice, architecture), made)
    return made


def folders(source: Source) -> list[Path]:
    """Where users put what they have built."""
    named = os.environ.get("OPTLOOM_KERNEL_PATH", "").split(os.pathsep)
    return [source.path.parent, *map(Path, filter(None, named))]


def file_name(source: Source, choice: Choice) -> str:
    """What a fatbin that was built ahead of time is called."""
    return f"{source.path.stem}-{choice.name}.fatbin"


def _candidates(source: Source, choice: Choice, architecture: int) -> Iterator[Path]:
    for folder in folders(source):
        yield folder / file_name(source, choice)
    yield _cached(source, choice, architecture)


def _cached(source: Source, choice: Choice, architecture: int) -> Path:
    """Code in the cache: its key is made of the text and of the compiler's version."""
    try:
        compiler = nvrtc.version()
    except nvrtc.NoCompiler:
        compiler = (0, 0)
    key = hashlib.sha256(repr([digest(source), compiler, nvrtc.OPTIONS]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optloom" / "kernels"
    return folder / f"{source.path.stem}-{choice.name}-sm_{architecture}-{key}.cubin"


def _keep(file: Path, made: bytes) -> None:
    """Writes `file` whole or not at all, whatever other processes do."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
            scratch.write(made)
        os.replace(scratch.name, file)
    except OSError as error:
        raise DeviceError(
            f"the cache of kernels, {file.parent}, cannot be written: {error.strerror or error}; "
            "set XDG_CACHE_HOME to a folder that can be, or OPTLOOM_KERNEL_PATH to one with built kernels"
        ) from error


@cache
def library() -> ctypes.CDLL:
    """The driver, initialised. Raises DeviceError without one, or without a device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(f"no CUDA driver: {error}") from error
    status = driver.cuInit(0)
    if status:
        raise DeviceError(f"the CUDA driver cannot be initialised (error {status}): is there a GPU?")
    return driver


def call(name: str, *arguments: Any) -> None:
    """A function of the driver's. Raises DeviceError with what it says."""
    driver = library()
    status = getattr(driver, name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        raise DeviceError(f"{name}: {(text.value or b'unknown error').decode()} (error {status})")


@cache
def use_first_device() -> int:
    """Makes the first device's primary context current. Returns its architecture: 90 for compute capability 9.0."""
    device, context, found = ctypes.c_int(), ctypes.c_void_p(), []
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    for attribute in (75, 76):  # the major and the minor number of the compute capability
        number = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
        found.append(number.value)
    return 10 * found[0] + found[1]


def copy_to_device(address: int, host: int, size: int) -> None:
    """Copies `size` bytes from the host's address `host`."""
    if size:
        call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_void_p(host), ctypes.c_size_t(size))


def copy_to_host(host: int, address: int, size: int) -> None:
    """Copies `size` bytes to the host's address `host`, after all that was queued."""
    if size:
        call("cuMemcpyDtoH_v2", ctypes.c_void_p(host), ctypes.c_uint64(address), ctypes.c_size_t(size))


class OwnMemory:
    """`size` bytes on the current device, from the driver."""

    def __init__(self, size: int) -> None:
        pointer = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        self.address = pointer.value

    def __del__(self) -> None:
        if hasattr(self, "address"):
            library().cuMemFree_v2(ctypes.c_uint64(self.address))


@dataclass
class CudaDevice:
    """The kernels of one build in the current context. `allocate`: makes memory there, by whoever manages it."""

    image: bytes
    allocate: Callable[[int], Memory] = OwnMemory
    _module: ctypes.c_void_p = field(default_factory=ctypes.c_void_p)
    _functions: dict[str, ctypes.c_void_p] = field(default_factory=dict)

    def __post_init__(self) -> None:
        call("cuModuleLoadData", ctypes.byref(self._module), self.image)

    def empty(self, size: int) -> Memory:
        return self.allocate(size)

    def write(self, address: int, data: bytes, stream: int) -> None:
        # The driver has copied pageable memory before it returns.
        call(
            "cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(len(data)), ctypes.c_void_p(stream)
        )

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any], stream: int) -> None:
        if kernel not in self._functions:
            function = ctypes.c_void_p()
            call("cuModuleGetFunction", ctypes.byref(function), self._module, kernel.encode())
            self._functions[kernel] = function
        addresses = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        sizes = (ctypes.c_uint(each) for each in (blocks, 1, 1, threads, 1, 1, 0))
        call("cuLaunchKernel", self._functions[kernel], *sizes, ctypes.c_void_p(stream), addresses, None)
