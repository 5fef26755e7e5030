"""Kernels built ahead of time: a fatbin for several generations of devices, by nvcc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .driver import DeviceError, file_name, macros
from .source import Choice, Source

ARCHITECTURES = (80, 90, 100)


def nvcc() -> str:
    """The compiler: on the PATH, else from the wheel cuda-toolkit[nvcc]. Raises DeviceError if there is none."""
    wheels = [str(folder) for path in sys.path for folder in Path(path).glob("nvidia/c*/bin")]
    found = shutil.which("nvcc", path=os.pathsep.join([os.environ.get("PATH", ""), *wheels]))
    if found is None:
        raise DeviceError("no nvcc: put it on the PATH, or pip install 'cuda-toolkit[nvcc,cudart,cccl]==13.0.*'")
    return found


def fatbin(source: Source, choice: Choice, folder: Path, architectures: Sequence[int] = ARCHITECTURES) -> Path:
    """Builds the kernels of a choice into `folder`, under the name by which they are looked for. Returns the file.

    It holds code for each architecture, and PTX of the newest for those to come. Raises DeviceError with nvcc's words,
    and OSError where the folder cannot be written.
    """
    generations = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in architectures]
    generations.append(f"-gencode=arch=compute_{max(architectures)},code=compute_{max(architectures)}")
    flags = ("-std=c++17", "-O3", "-fatbin", "-no-compress", "--threads=0")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / file_name(source, choice)
        command = [nvcc(), *flags, *generations, *macros(source, choice), str(source.path), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise DeviceError(f"nvcc failed on {source.path}:\n{done.stderr}the command was: {' '.join(command)}")
        os.replace(made, folder / made.name)
    return folder / file_name(source, choice)
