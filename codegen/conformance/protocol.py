"""What the suite and the targets' runners say to each other.

Each target folder has a module `runner.py` with

    MODES: tuple[Mode, ...]                          the ways to execute its generated code
    def run(job: Job) -> list[list[Snapshot]]: ...   per episode, per call

It lives in a process of its own (see `worker`): one process per target, kept alive for many jobs, so that two
frameworks never share one. A runner computes nothing itself: it builds the generated optimizer, puts the state in,
makes the calls, and reads the state out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from optloom.spec.rule import Rule

Array: TypeAlias = NDArray[Any]
Slots: TypeAlias = dict[str, list[Array]]
Numerics: TypeAlias = Literal["strict", "fast"]
Dtype: TypeAlias = Literal["float16", "bfloat16", "float32", "float64"]

DTYPES: tuple[Dtype, ...] = ("float16", "bfloat16", "float32", "float64")
NUMERICS: tuple[Numerics, ...] = ("strict", "fast")
REFERENCE = "numpy"
"""The readable target, strict in everything: its bits are what strict code of all others is compared with."""


@dataclass(frozen=True)
class Mode:
    """One way to execute a target's code.

    `dtypes`: of parameters. `numerics`: the kinds of code that are run in this mode. `slow`: building one optimizer
    takes a second or more here (a compiler runs), so the suite builds fewer of them unless asked for all.
    `follows_tree`: strict code of this mode sums in the IR's own tree, so that rules with sums have NumPy's bits too.
    """

    name: str
    dtypes: tuple[Dtype, ...] = DTYPES
    numerics: tuple[Numerics, ...] = NUMERICS
    slow: bool = False
    follows_tree: bool = False


@dataclass(frozen=True)
class Episode:
    """Some calls in a row, from a given state.

    `parameters`: arrays of the job's dtype, of any shapes.
    `slots`: the state before the first call, by the rule's own slot names (stages' included): a list with one array
    per parameter; for a slot of shape "scalar", a list of one 0-d array. Arrays of the compute dtype (float32 for
    float16 and bfloat16). None: a fresh optimizer's own start.
    `updates`: how many updates were made before (the rule's t in the next update is `updates + 1`);
    `calls`: how many calls (they differ under accumulation only). Both 0 if `slots` is None.
    `gradients`: for each call, one array per parameter, of the job's dtype. `inputs`: for each call, the rule's extra
    inputs by name (a float, or one array per parameter); empty if the rule has none.
    """

    parameters: list[Array]
    gradients: list[list[Array]]
    slots: Slots | None = None
    updates: int = 0
    calls: int = 0
    inputs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """Episodes of one optimizer. The shapes of the parameters are the same in all of them: compile once.

    `file`: the rendered file of the rule, its support modules beside it. `rule`: the rule's class name, `source` the
    file that holds it; empty for one of optloom's own (see `rule_named`).
    `hypers`: numbers by the names in `spec`, the rule's and the stages'; what is absent has its default, None turns
    off. `options`: likewise. No episode may see anything of another.
    """

    file: str
    rule: str
    mode: str
    dtype: Dtype
    episodes: list[Episode]
    hypers: Mapping[str, float | int | None] = field(default_factory=dict)
    options: Mapping[str, bool | str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The state after a call: arrays of the dtypes and shapes that the optimizer really keeps.

    `updates`: the updates made so far, as the optimizer itself counts them. `skipped`: the calls of this episode that
    were not let through, counted likewise.
    """

    parameters: list[Array]
    slots: Slots
    updates: int
    skipped: int = 0


class Skip(Exception):
    """Raised by a runner for what its target does not have; NotImplementedError by generated code counts the same."""


class Runner(Protocol):
    """What a module `runner.py` must have."""

    MODES: tuple[Mode, ...]

    def run(self, job: Job) -> list[list[Snapshot]]: ...


@cache
def rule_named(rule: str, source: str = "") -> type[Rule]:
    """The rule of the class name `rule` in the file `source`: optloom's own, or a user's."""
    from ..discovery import discover

    own = next((known for known in discover().values() if known.__name__ == rule), None)
    if own is not None and source in ("", inspect.getsourcefile(own)):
        return own
    return next(iter(discover(Path(source)).values()))


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of that name; bfloat16 is ml_dtypes'."""
    if dtype == "bfloat16":
        import ml_dtypes

        made: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return made
    return np.dtype(dtype)


def compute_dtype(dtype: str) -> Literal["float32", "float64"]:
    """The dtype of the arithmetic, and of the slots, of a parameter of `dtype`."""
    return "float64" if dtype == "float64" else "float32"


def load_module(file: str) -> ModuleType:
    """The Python module in `file`, in a package of its own made of its folder (so that `from .x import y` finds its
    neighbours, and two renderings of one rule live side by side). Loaded once per path."""
    path = Path(file).resolve()
    package = f"rendered_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:16]}"
    name = f"{package}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(path.parent)]
        sys.modules[package] = parent
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python module: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
