"""Runs the generated PyTorch optimizers for the conformance suite: eagerly, compiled, and many tensors at once."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo

from ...compiler import Settings, program_for, render
from ...conformance.protocol import (
    Array,
    Episode,
    Job,
    Mode,
    Skip,
    Snapshot,
    load_module,
    numpy_dtype,
    rule_named,
)
from ...ir.nodes import Program
from ...printing import UnsupportedOperation
from ..cpp.target import TARGET as KERNELS
from .names import OFF, Names

MODES = (
    Mode("eager", follows_tree=True),
    Mode("compile", slow=True, follows_tree=True),
    Mode("foreach", follows_tree=True),
    Mode("capturable", numerics=("fast",)),
    Mode("fused", slow=True, numerics=("strict",), follows_tree=True),
)

torch.set_num_threads(1)
# Kernels that the suite builds are its own: an optimizer elsewhere that finds one would use it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optloom" / "conformance"


def run(job: Job) -> list[list[Snapshot]]:
    """The snapshots of each episode; the optimizer is built, and its step compiled, once for all of them."""
    program = _program(job.rule, job.source)
    names = Names(program.peers, tuple(hyper.name for hyper in program.hypers))
    slots = {slot.name: names.slot(slot.name) for slot in program.slots}
    scalars = {slot.name for slot in program.slots if slot.shape == "scalar"}
    kind = getattr(load_module(job.file), job.rule)
    parameters = [torch.nn.Parameter(_tensor(w)) for w in job.episodes[0].parameters]
    ways = {way: job.mode == way for way in ("foreach", "capturable", "fused")}
    if job.mode == "fused":
        _kernel_beside(job)
    optimizer = kind(parameters, **_arguments(kind, program, names, job), **ways)
    torch._dynamo.reset()
    step = torch.compile(optimizer.step) if job.mode == "compile" else optimizer.step
    return [_episode(optimizer, parameters, step, slots, scalars, episode) for episode in job.episodes]


def _kernel_beside(job: Job) -> None:
    """Writes the kernel of the job's rule, with all conventions, where its optimizer looks for it."""
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
def _program(rule: str, source: str) -> Program:
    return program_for(rule_named(rule, source), "pytorch")


def _arguments(kind: type, program: Program, names: Names, job: Job) -> dict[str, Any]:
    """The job's hyperparameters and options by PyTorch's names. Parts of a tuple not given have their default."""
    arguments: dict[str, Any] = {option.name: option.default for option in program.options} | dict(job.options)
    signature = inspect.signature(kind)
    for name, value in job.hypers.items():
        argument, at = names.place(name)
        if value is None:
            value = OFF.get(name, program.hyper(name).off)
        if at is not None:
            parts = list(arguments.get(argument, signature.parameters[argument].default))
            parts[at] = value
            arguments[argument] = tuple(parts)
        else:
            arguments[argument] = value
    return arguments


def _episode(
    optimizer: Any,
    parameters: list[torch.nn.Parameter],
    step: Callable[..., Any],
    slots: Mapping[str, str],
    scalars: set[str],
    episode: Episode,
) -> list[Snapshot]:
    optimizer.state.clear()
    (group,) = optimizer.param_groups
    every = group.get("gradient_accumulation_steps")
    for index, w in enumerate(parameters):
        w.data.copy_(_tensor(episode.parameters[index]))
        if episode.slots is not None:
            given = {name: x[0 if name in scalars else index] for name, x in episode.slots.items()}
            there = optimizer._slots(group, w)
            state = {
                key: _tensor(x).to(optimizer._start(w, group, key, there[key]).dtype)
                for key, x in ((slots[name], x) for name, x in given.items()) if key in there
            }  # fmt: skip
            optimizer.state[w] = state | {"step": torch.tensor(episode.updates, dtype=torch.float64)}
            if group.get("skip_nonfinite"):
                optimizer.state[w]["skipped"] = torch.zeros((), dtype=torch.float64)
            if every:
                optimizer.state[w] |= {"iterations": episode.calls, "pending": episode.calls % every != 0}
    snapshots = []
    for call, gradients in enumerate(episode.gradients):
        for w, g in zip(parameters, gradients, strict=True):
            w.grad = _tensor(g)
        extra = episode.inputs[call] if episode.inputs else {}
        step(**{name: [*map(_tensor, x)] if isinstance(x, list) else x for name, x in extra.items()})
        states = [optimizer.state[w] for w in parameters]
        kept = {
            name: [_array(state[key]) if key in state else np.zeros(0) for state in states]
            for name, key in slots.items() if any(key in state for state in states)
        }  # fmt: skip
        kept |= {name: kept[name][:1] for name in scalars & kept.keys()}
        counts = int(states[0]["step"]), int(states[0].get("skipped", 0))
        snapshots.append(Snapshot([_array(w) for w in parameters], kept, *counts))
    return snapshots


def _tensor(x: Array) -> torch.Tensor:
    if x.dtype == numpy_dtype("bfloat16"):
        return torch.from_numpy(np.array(x).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


def _array(x: torch.Tensor) -> Array:
    if x.dtype == torch.bfloat16:
        return x.detach().view(torch.int16).numpy().copy().view(numpy_dtype("bfloat16"))
    return x.detach().numpy().copy()
