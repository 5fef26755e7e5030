"""Runs the generated JAX optimizers for the conformance suite."""

from __future__ import annotations

import os
import shutil

# Before JAX is imported: the CPU, and one thread.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...compiler import Settings, program_for, render
from ...conformance.protocol import Array, Episode, Job, Mode, Skip, Slots, Snapshot, load_module, rule_named
from ...printing import UnsupportedOperation
from ..cpp.target import TARGET as KERNELS
from .target import names_in_optax

MODES = (
    Mode("step-eager"),  # one program per leaf: the inner jit of the formula
    Mode("step-jit", slow=True),
    Mode("factory", slow=True),
    Mode("step-fused", slow=True, numerics=("strict",), follows_tree=True),
    Mode("step-op-by-op", dtypes=("float32", "float64"), numerics=("strict",), slow=True),
)

# Kernels that the suite builds are its own: an optimizer elsewhere that finds one would use it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optloom" / "conformance"


def run(job: Job) -> list[list[Snapshot]]:
    """The snapshots of each episode; the optimizer is built, and compiled, once for all of them."""
    with jax.enable_x64(job.dtype == "float64"), jax.disable_jit(job.mode == "step-op-by-op"):
        names = _names(job.rule, job.source)
        init, call = _optimizer(load_module(job.file), job, names)
        return [_episode(episode, init, call, names) for episode in job.episodes]


def _kernel_beside(job: Job) -> None:
    """Writes the kernel of the job's rule where its optimizer looks for it."""
    if shutil.which("g++") is None:
        raise Skip("no g++")
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    try:
        files = render(rule_named(job.rule, job.source), KERNELS.name, settings=Settings(conventions="all"))
    except UnsupportedOperation as error:
        raise Skip(str(error)) from error
    (text,) = files.values()
    place = Path(job.file).with_suffix(".cpp")
    if not place.exists() or place.read_text() != text:
        place.write_text(text)


@cache
def _names(rule: str, source: str) -> dict[str, str]:
    """The generated names, by those of the rule."""
    return names_in_optax(program_for(rule_named(rule, source), "jax"))


def _optimizer(module: ModuleType, job: Job, names: dict[str, str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`init(params)` and `call(params, grads, state)`."""
    arguments = {names[name]: value for name, value in {**job.hypers, **job.options}.items()}
    factory = Path(job.file).stem
    if job.mode != "factory":
        if job.mode == "step-fused":
            _kernel_beside(job)
        init, step = getattr(module, f"{factory}_step")(**arguments, fused=job.mode == "step-fused")
        return init, jax.jit(step) if job.mode in ("step-jit", "step-fused") else step
    transformation = getattr(module, factory)(**arguments)

    def call(params: Any, grads: Any, state: Any, **extra: Any) -> tuple[Any, Any]:
        updates, state = transformation.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return transformation.init, jax.jit(call)


def _episode(
    episode: Episode, init: Callable[..., Any], call: Callable[..., Any], names: dict[str, str]
) -> list[Snapshot]:
    params = [jnp.asarray(w) for w in episode.parameters]
    state = init(params)
    given = {names[name]: [jnp.asarray(x) for x in arrays] for name, arrays in (episode.slots or {}).items()}
    given |= {"count": jnp.int32(episode.updates), "iterations": jnp.int32(episode.calls)}
    state = tuple(part._replace(**_present(part, given)) for part in state)
    snapshots = []
    for number, grads in enumerate(episode.gradients):
        extra = episode.inputs[number] if episode.inputs else {}
        extra = {names[n]: [jnp.asarray(a) for a in x] if isinstance(x, list) else x for n, x in extra.items()}
        params, state = call(params, [jnp.asarray(g) for g in grads], state, **extra)
        fields = {name: _field(state, shown) for name, shown in names.items() if shown != "count"}
        kept: Slots = {name: [_array(x) for x in found] for name, found in fields.items() if found is not None}
        counts = int(state[0].count), int(getattr(state[1], "skipped", None) or 0)
        snapshots.append(Snapshot([np.array(w) for w in params], kept, *counts))
    return snapshots


def _present(part: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Of the values given, those that this part of the state has; a number that is kept by dtype is one here."""
    found = {name: given[name] for name in part._fields if name in given and getattr(part, name) is not None}
    for name, value in found.items():
        old = getattr(part, name)
        if isinstance(old, dict):
            found[name] = dict(zip(old, value, strict=True))
        elif isinstance(old, list):
            pairs = zip(old, value, strict=True)
            found[name] = [own if isinstance(own, optax.MaskedNode) else new.astype(own.dtype) for own, new in pairs]
    return found


def _array(x: Any) -> Array:
    return np.zeros(0) if isinstance(x, optax.MaskedNode) else np.array(x)


def _field(state: Any, name: str) -> list[Any] | None:
    """A slot's arrays, whichever part of the state it is in."""
    values = [getattr(part, name) for part in state if name in part._fields]
    found = values[0] if values else None
    return list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else None
