"""Runs the generated Keras optimizers for the conformance suite."""

from __future__ import annotations

import os

# Before TensorFlow is imported: its backend of Keras, silence, the CPU, and one thread of each kind.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...conformance.protocol import Array, Episode, Job, Mode, Slots, Snapshot, load_module

MODES = (Mode("eager"), Mode("function"), Mode("xla", dtypes=("float32", "float64"), slow=True))


def run(job: Job) -> list[list[Snapshot]]:
    """The snapshots of each episode; the optimizer is built, and its step traced, once for all of them."""
    arguments: dict[str, Any] = {**job.hypers, **job.options}
    if "learning_rate" in arguments:  # Keras takes no integer there
        arguments["learning_rate"] = float(arguments["learning_rate"])
    optimizer = getattr(load_module(job.file), job.rule)(**arguments)
    variables = [keras.Variable(w, dtype=job.dtype, name=f"w{i}") for i, w in enumerate(job.episodes[0].parameters)]
    optimizer.build(variables)
    start = [np.array(variable) for variable in optimizer.variables]
    slots = _slots(optimizer)
    step = _stepper(optimizer, variables, job.mode)

    def episode(given: Episode) -> list[Snapshot]:
        for variable, value in zip(optimizer.variables, start, strict=True):
            variable.assign(value)
        for variable, value in zip(variables, given.parameters, strict=True):
            variable.assign(value)
        copies = {name: given.parameters for name in optimizer._COPIES if name in slots}
        for name, values in (copies | (given.slots or {})).items():
            for variable, value in zip(slots[name], values, strict=True):
                if variable is not None:
                    variable.assign(value)
        optimizer._iterations.assign(given.calls)
        inputs = given.inputs or [{}] * len(given.gradients)
        return [call(gradients, beside) for gradients, beside in zip(given.gradients, inputs, strict=True)]

    def call(gradients: list[Array], inputs: dict[str, Any]) -> Snapshot:
        step([tf.constant(g) for g in gradients], {name: _tensors(x) for name, x in inputs.items()})
        kept: Slots = {name: [np.zeros(0) if v is None else _copy(v) for v in own] for name, own in slots.items()}
        counts = int(optimizer.iterations), int(getattr(optimizer, "skipped", 0))
        return Snapshot([_copy(w) for w in variables], kept, *counts)

    return [episode(given) for given in job.episodes]


def _stepper(optimizer: Any, variables: list[Any], mode: str) -> Callable[[list[Any], dict[str, Any]], Any]:
    def step(gradients: list[Any], inputs: dict[str, Any]) -> None:
        optimizer.apply(gradients, variables, **inputs)

    return step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")


def _slots(optimizer: Any) -> dict[str, list[Any]]:
    """The slot variables, by the rule's names."""
    slots = {name: list(variables) for name, variables in optimizer._slots().items()}
    return slots | {name: list(getattr(optimizer, at).values()) for name, at in optimizer._SCALAR_SLOTS.items()}


def _tensors(given: Any) -> Any:
    """An input: one number, or an array for each variable."""
    return [tf.constant(x) for x in given] if isinstance(given, list) else tf.constant(given, tf.float64)


def _copy(variable: Any) -> Array:
    return np.array(variable.numpy(), copy=True)
