"""What the tests of the generated Keras optimizers share: rules, rendered modules, variables, ways to run a step."""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.ir.nodes import Hyperparameter, Program
from optloom.codegen.passes.locality import locality
from optloom.codegen.printing import UnsupportedOperation
from optloom.spec.declarations import Slot
from optloom.spec.rule import declarations_of

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

MODES = ("eager", "function", "xla")
DTYPES = ("float16", "bfloat16", "float32", "float64")
FOLDER = tempfile.TemporaryDirectory(prefix="rendered-tensorflow-")


@functools.cache
def rendered(rule: str, numerics: str, target: str = "tensorflow") -> dict[str, str]:
    try:
        return render(discover()[rule], target, numerics)  # type: ignore[arg-type]
    except UnsupportedOperation:
        return {}


def _is_of_keras(rule: str) -> bool:
    """Whether Keras has the rule too, with slots and numbers as most have; the conformance suite runs all others."""
    declared = list(declarations_of(discover()[rule]))
    others = any(slot.init == "parameter" for slot in declared if isinstance(slot, Slot))
    return not others and any(peer.ecosystem == "keras" for peer in discover()[rule].peers)


PRINTED = [rule for rule in discover() if rendered(rule, "fast")]
RULES = [rule for rule in PRINTED if _is_of_keras(rule)]
PROGRAMS: dict[str, Program] = {rule: program_for(discover()[rule], "tensorflow") for rule in PRINTED}
LAZY = [rule for rule in RULES if not locality(PROGRAMS[rule])]
DENSE = [rule for rule in RULES if rule not in LAZY]
PEERS = {
    rule: peer.path.rpartition(".")[2]
    for rule in RULES
    for peer in PROGRAMS[rule].peers
    if peer.path.startswith("keras.")
}
"""The optimizer of Keras that a rule is, by rule."""

LAID_OUT_AS_THERE = [rule for rule in PEERS if {s.shape for s in PROGRAMS[rule].slots} <= {"parameter", "scalar"}]
"""Rules whose state lies as Keras's does: its Adafactor keeps placeholders, and a whole second moment besides."""

MODE_OF = {rule: MODES[number % len(MODES)] for number, rule in enumerate(RULES)}
"""One mode of execution for each rule, in turn: the conformance suite runs them all."""


@functools.cache
def load(rule: str, numerics: str = "fast", target: str = "tensorflow") -> ModuleType:
    """The module of a rule, rendered with the numerics asked for."""
    folder = Path(FOLDER.name) / numerics
    for path, text in rendered(rule, numerics, target).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return load_module(str(folder / target / f"{rule}.py"))


def is_legal(hyper: Hyperparameter, value: float) -> bool:
    """Whether a number is within the bounds of a hyperparameter."""
    signs = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
    whole = not hyper.integer or value == int(value)
    return whole and all(signs[sign](value, bound) for sign, bound in hyper.bounds)


def make(rule: str, numerics: str = "fast", **arguments: Any) -> Any:
    """An optimizer: `make("adam", beta_1=0.5)`."""
    return getattr(load(rule, numerics), PROGRAMS[rule].name)(**arguments)


def all_on(rule: str) -> dict[str, Any]:
    """The arguments under which a rule has all its slots."""
    own = {
        option.name: True
        for option in PROGRAMS[rule].options
        if not (option.choices or option.convention or option.stage)
    }
    return own | {
        hyper.name: 0.9 if is_legal(hyper, 0.9) else -0.9 for hyper in PROGRAMS[rule].hypers if hyper.off is not None
    }


def variable(values: Any, dtype: str = "float32", name: str = "w") -> Any:
    return keras.Variable(np.asarray(values, "float64"), dtype=dtype, name=name)


def slices(values: Any, indices: Any, rows: int, dtype: str = "float32") -> Any:
    values = tf.constant(values, dtype)
    return tf.IndexedSlices(values, tf.constant(indices), tf.constant([rows, *values.shape[1:]]))


def stepper(optimizer: Any, variables: list[Any], mode: str) -> Callable[..., None]:
    def step(*gradients: Any) -> None:
        optimizer.apply(list(gradients), variables)

    if mode == "eager":
        return step
    compiled = tf.function(step, jit_compile=mode == "xla")
    return lambda *gradients: compiled(*(g if is_tensor(g) else tf.convert_to_tensor(g) for g in gradients))


def is_tensor(value: Any) -> bool:
    return isinstance(value, (tf.Tensor, tf.IndexedSlices))


def numbers(seed: int, shape: tuple[int, ...] = (37,), dtype: str = "float32") -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) * 10 ** random.uniform(-3, 1, shape)).astype(dtype)


def digest(arrays: Iterable[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def state_of(optimizer: Any) -> str:
    """One hash of all variables of an optimizer."""
    return digest(v.numpy() for v in optimizer.variables)


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def small_model() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Dense(8, activation="tanh", name="a"), keras.layers.Dense(1, name="b")])
