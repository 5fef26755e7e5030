"""What this machine has, and what its frameworks make of floating-point numbers.

Nothing is known of frameworks here: each target's generated code of two small rules (`probes`) is run by the target's
own runner, in a process of its own, and its bits are compared with those of IEEE arithmetic.
"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import optloom.codegen
import optloom.codegen.targets

from .discovery import discover, target_names

if TYPE_CHECKING:
    from .conformance.pool import Worker
    from .conformance.protocol import Mode

COMPILERS = ("g++", "clang++", "nvcc")
EXTENSIONS = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "sve",
)  # fmt: skip
"""Parts of the instruction set that kernels are built for, as Linux calls them."""
OWN = ("sympy", "ruff", "gmpy2")
"""What optloom itself needs, to generate and to judge."""

Class = Literal["BIT", "BOUND", "FTZ"]


@dataclass(frozen=True, slots=True)
class Machine:
    """`compilers`: the first line of their version, by name; `absent`: those that were not found."""

    system: str
    processor: str
    extensions: Sequence[str]
    cores: int
    gpus: Sequence[str]
    python: str
    optloom: str
    libraries: Mapping[str, str]
    compilers: Mapping[str, str]
    absent: Sequence[str]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One way to run one target's code. `strict`, `fast`: the class that code of either kind reaches here for rules
    without sums, None where it does not run. The other answers are of fast code, where there is any."""

    target: str
    mode: str
    flushes_subnormals: bool
    contracts_products: bool
    exact_square_root: bool
    strict: Class | None
    fast: Class | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`missing`: targets that could not be asked, and why."""

    machine: Machine
    arithmetic: Sequence[Arithmetic]
    missing: Mapping[str, str]


def diagnose(
    targets: Iterable[str] | None = None, *, slow: bool = False, progress: Callable[[int, int, str], None] | None = None
) -> Diagnosis:
    """Asks this machine, then the frameworks of `targets` (all of them).

    `slow`: in those modes too in which a compiler takes seconds.
    """
    names = list(target_names() if targets is None else targets)
    found: list[Arithmetic] = []
    missing: dict[str, str] = {}
    for done, name in enumerate(names):
        if progress:
            progress(done, len(names), name)
        try:
            found += _ask(name, slow)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("optloom"):
                raise
            missing[name] = f"asking needs {error.name}: pip install {error.name}"
        except _Silent as reason:
            missing[name] = str(reason)
    return Diagnosis(machine(), found, missing)


def machine() -> Machine:
    """What is installed. No framework is imported."""
    compilers = {name: _first_line([name, "--version"], _last if name == "nvcc" else _first) for name in COMPILERS}
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_from_cpuinfo("model name") or platform.processor() or platform.machine(),
        extensions=[name for name in EXTENSIONS if name in _flags()],
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=_gpus(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        optloom=_version("optloom") or "a checkout",
        libraries={name: version for name in (*OWN, *_packages()) if (version := _version(name))},
        compilers={name: text for name, text in compilers.items() if text},
        absent=[name for name, text in compilers.items() if not text],
    )


def _packages() -> list[str]:
    """What the targets' runners import: their frameworks. Their modules are read, not run."""
    found = set()
    for name in target_names():
        file = Path(optloom.codegen.targets.__path__[0]) / name / "runner.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found |= {name.partition(".")[0] for name in names}
    return sorted(found - sys.stdlib_module_names - {__name__.partition(".")[0]})


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first(lines: Sequence[str]) -> str:
    return lines[0]


def _last(lines: Sequence[str]) -> str:
    return lines[-1]


def _first_line(command: Sequence[str], pick: Callable[[Sequence[str]], str] = _first) -> str:
    """A line of what `command` prints; empty where it is not there or fails."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return pick(lines) if lines and done.returncode == 0 else ""


def _cpuinfo() -> Iterator[tuple[str, str]]:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            yield name.strip(), value.strip()


def _from_cpuinfo(name: str) -> str:
    return next((value for key, value in _cpuinfo() if key == name), "")


def _flags() -> set[str]:
    return set((_from_cpuinfo("flags") or _from_cpuinfo("Features")).split())


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    listed = _first_line(query, "\n".join)
    return [line for line in listed.splitlines() if line]


class _Silent(Exception):
    """A target that does not answer."""


def _ask(target: str, slow: bool) -> list[Arithmetic]:
    from .conformance.pool import Failed, Skipped, Worker

    worker = Worker(target)
    try:
        with TemporaryDirectory() as folder:
            return [_of_mode(worker, mode, Path(folder)) for mode in worker.modes() if slow or not mode.slow]
    except Skipped as reason:
        raise _Silent(str(reason)) from reason
    except Failed as error:
        raise _Silent(str(error).strip().splitlines()[-1]) from error
    finally:
        worker.close()


def _of_mode(worker: Worker, mode: Mode, folder: Path) -> Arithmetic:
    answers = {numerics: _answers(worker, mode, numerics, folder) for numerics in mode.numerics}
    flushes, contracts, exact = answers.get("fast") or answers["strict"]
    classes: dict[str, Class] = {numerics: _class(*answer) for numerics, answer in answers.items()}
    return Arithmetic(worker.target, mode.name, flushes, contracts, exact, classes.get("strict"), classes.get("fast"))


def _class(flushes: bool, contracts: bool, exact: bool) -> Class:
    if contracts or not exact:
        return "BOUND"
    return "FTZ" if flushes else "BIT"


def _answers(worker: Worker, mode: Mode, numerics: Any, folder: Path) -> tuple[bool, bool, bool]:
    """Whether subnormal results vanish, products are not rounded, square roots are right; all in float32."""
    import numpy as np

    from .conformance.protocol import Episode, Job
    from .conformance.rendering import rendered

    def run(name: str, rate: float, w: Any, g: Any) -> Any:
        file = rendered(rules[name], name, worker.target, numerics, folder)
        episode, source = Episode([w], [[g]]), inspect.getsourcefile(rules[name]) or ""
        job = Job(str(file), rules[name].__name__, mode.name, "float32", [episode], {"learning_rate": rate}, {}, source)
        return worker.run(job)[0][0].parameters[0]

    rules = discover(Path(optloom.codegen.__path__[0]) / "probes")
    spread = np.linspace(1, 4, 4099, dtype=np.float32)
    small = np.float32(2.0**-140) * np.arange(1, 4100, dtype=np.float32)
    zeros, rate = np.zeros_like(spread), np.float32(0.1)
    kept = run("descent", 1.0, zeros, small)
    product = run("descent", float(rate), spread, spread[::-1].copy())
    root = run("root", 1.0, zeros, spread)
    return (
        not np.array_equal(kept, -small),
        not np.array_equal(product, spread - rate * spread[::-1]),
        np.array_equal(root, -np.sqrt(spread)),
    )
