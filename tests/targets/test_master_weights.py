"""Master weights: a bfloat16 parameter is the copy of a float32 weight, in every target and mode.

The runners of the conformance suite make the calls: a process has one framework, that of its target alone.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import discover
from optloom.codegen.conformance.protocol import (
    Array,
    Dtype,
    Episode,
    Job,
    Mode,
    Skip,
    Snapshot,
    load_module,
    numpy_dtype,
)
from optloom.codegen.conformance.rendering import rendered

TARGETS = ("cpp", "cuda", "jax", "numpy", "pytorch", "tensorflow")
SHAPES = ((3, 4), (5,), ())
LOW = numpy_dtype("bfloat16")
STEPS: dict[str, Any] = {"learning_rate": 1e-4, "momentum": 0.9}
"""So small that a weight of bfloat16, which has 8 bits, would lose them."""
WHOLE: dict[str, Any] = {
    **STEPS, "gradient_accumulation_steps": 2, "ema_momentum": 0.5, "ema_overwrite_frequency": 2, "weight_decay": 0.1,
}  # fmt: skip


def _arrays(seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.normal(size=shape)).astype(LOW) for shape in SHAPES]


def _made(
    target: str, mode: Mode, dtype: Dtype, folder: Path, hypers: dict[str, Any], gradients: list[list[Array]], on: bool
) -> list[Snapshot]:
    """The snapshots of SGD's calls, in strict code, with and without master weights."""
    rule, kind = discover()["sgd"], numpy_dtype(dtype)
    file = rendered(rule, "sgd", target, "strict", folder)
    skips = "fused" not in mode.name  # whose kernels leave that to the class, or refuse it
    options = {"master_weights": on, "use_ema": "ema_momentum" in hypers, "skip_nonfinite": skips}
    calls = [[g.astype(kind) for g in each] for each in gradients]
    episode = Episode([w.astype(kind) for w in _arrays(100)], calls if skips else calls[1:])
    job = Job(str(file), rule.__name__, mode.name, dtype, [episode], hypers, options)
    found: list[list[Snapshot]] = importlib.import_module(f"optloom.codegen.targets.{target}.runner").run(job)
    return found[0]


def _modes(target: str) -> list[Mode]:
    """The modes of strict code. What compiles a step as a whole takes ten seconds; optax rounds once more."""
    modes = importlib.import_module(f"optloom.codegen.targets.{target}.runner").MODES
    left_out = ("compile", "step-op-by-op", "factory", "xla")
    return [mode for mode in modes if "strict" in mode.numerics and mode.name not in left_out]


@pytest.mark.parametrize("target", TARGETS)
def test_parameters_are_the_copies_of_weights_in_float32(target: str, tmp_path: Path) -> None:
    """A run in float32, from the same gradients, is the same bits: of the weights, and of all other slots."""
    nonfinite = [np.full(shape, np.nan, LOW) for shape in SHAPES]
    gradients = [nonfinite, *map(_arrays, range(8))]
    for mode in _modes(target):
        try:
            found = _made(target, mode, "bfloat16", tmp_path, WHOLE, gradients, on=True)
            expected = _made(target, mode, "float32", tmp_path, WHOLE, gradients, on=False)
        except (Skip, NotImplementedError):
            continue
        assert len(found) == len(expected) >= 8, mode.name
        for ours, theirs in zip(found, expected, strict=True):
            masters = ours.slots.pop("master_weight")
            for low, master, w in zip(ours.parameters, masters, theirs.parameters, strict=True):
                assert master.dtype == np.float32 and master.tobytes() == w.tobytes(), mode.name
                assert low.dtype == LOW and low.tobytes() == w.astype(LOW).tobytes(), mode.name
            assert "weight_average" in ours.slots and "accumulated_gradient" in ours.slots
            for name, arrays in ours.slots.items():
                assert [x.tobytes() for x in arrays] == [x.tobytes() for x in theirs.slots[name]], (mode.name, name)


@pytest.mark.parametrize("target", TARGETS)
def test_steps_arrive_that_are_lost_without(target: str, tmp_path: Path) -> None:
    mode, gradients = _modes(target)[0], [[np.ones(shape, LOW) for shape in SHAPES]] * 20
    without = _made(target, mode, "bfloat16", tmp_path, {"learning_rate": 1e-4}, gradients, on=False)[-1].parameters
    weights = _made(target, mode, "bfloat16", tmp_path, {"learning_rate": 1e-4}, gradients, on=True)[-1].slots
    start = _arrays(100)
    large = [np.abs(w.astype(np.float32)) > 0.1 for w in start]
    for w, lost, master, is_large in zip(start, without, weights["master_weight"], large, strict=True):
        assert (lost == w)[is_large].all()
        wide = w.astype(np.float32)
        assert (np.abs(wide - master - 20e-4) <= 20 * np.spacing(np.abs(wide)))[is_large].all()


@pytest.mark.parametrize("target", TARGETS)
def test_parameters_of_float32_are_their_own(target: str, tmp_path: Path) -> None:
    mode, gradients = _modes(target)[0], [*map(_arrays, range(4))]
    on, off = (_made(target, mode, "float32", tmp_path, WHOLE, gradients, on=given)[-1] for given in (True, False))
    assert not any(x.size for x in on.slots.get("master_weight", ()))
    assert [w.tobytes() for w in on.parameters] == [w.tobytes() for w in off.parameters]


def _run(target: str, folder: Path, dtype: Dtype, on: bool, finish: str) -> list[list[Array]]:
    """The weights in float32, their masters if there are any, after each of: three updates, the averages written as
    `finish` says, one update more."""
    file = rendered(discover()["sgd"], "sgd", target, "strict", folder)
    arguments = {**STEPS, "use_ema": True, "ema_momentum": 0.5, "master_weights": on}
    weights, *gradients = ([x.astype(numpy_dtype(dtype)) for x in _arrays(seed)] for seed in (100, 0, 1, 2, 3))
    return {"pytorch": _run_in_pytorch, "tensorflow": _run_in_tensorflow, "jax": _run_in_jax}[target](
        load_module(file), arguments, weights, gradients, finish
    )


def _run_in_pytorch(
    module: Any, arguments: dict[str, Any], weights: list[Array], gradients: list[list[Array]], finish: str
) -> list[list[Array]]:
    import torch

    tensor = importlib.import_module("optloom.codegen.targets.pytorch.runner")._tensor
    parameters = [torch.nn.Parameter(tensor(w)) for w in weights]
    arguments["lr"] = arguments.pop("learning_rate")
    optimizer = module.SGD(parameters, **arguments)

    def now() -> list[Array]:
        return [optimizer.state[w].get("master_weight", w).detach().float().numpy().copy() for w in parameters]

    def step(arrays: list[Array]) -> None:
        for w, g in zip(parameters, arrays, strict=True):
            w.grad = tensor(g)
        optimizer.step()

    for arrays in gradients[:-1]:
        step(arrays)
    found = [now()]
    if finish == "within a context":
        with optimizer.averages():
            found.append(now())
    else:
        optimizer.write_averages()
        found.append(now())
    step(gradients[-1])
    return [*found, now()]


def _run_in_tensorflow(
    module: Any, arguments: dict[str, Any], weights: list[Array], gradients: list[list[Array]], finish: str
) -> list[list[Array]]:
    importlib.import_module("optloom.codegen.targets.tensorflow.runner")
    import keras
    import tensorflow as tf

    variables = [keras.Variable(w, dtype=w.dtype.name, name=f"w{i}") for i, w in enumerate(weights)]
    optimizer = module.SGD(**arguments)

    def now() -> list[Array]:
        kept = getattr(optimizer, "_master_weight", variables)
        return [np.array(variables[i] if x is None else x).astype(np.float32) for i, x in enumerate(kept)]

    for arrays in gradients[:-1]:
        optimizer.apply([tf.constant(g) for g in arrays], variables)
    found = [now()]
    optimizer.finalize_variable_values(variables[::-1] if finish == "in another order" else variables)
    found.append(now())
    optimizer.apply([tf.constant(g) for g in gradients[-1]], variables)
    return [*found, now()]


def _run_in_jax(
    module: Any, arguments: dict[str, Any], weights: list[Array], gradients: list[list[Array]], finish: str
) -> list[list[Array]]:
    """A step starts from the state's master weights, so that who goes on from the averages says so to the state."""
    import jax.numpy as jnp

    init, step = module.sgd_step(**arguments)
    params = [jnp.asarray(w) for w in weights]
    state = init(params)

    def now() -> list[Array]:
        kept = state[1].master_weight or params
        return [np.array(w if m.dtype == w.dtype else m, np.float32) for m, w in zip(kept, params, strict=True)]

    for arrays in gradients[:-1]:
        params, state = step(params, [jnp.asarray(g) for g in arrays], state)
    found = [now()]
    params, exported = module.averaged_params(state, params), module.export_state(state)
    masters = [key for key in exported if key.startswith("slots/master_weight/")]
    averages = {key: exported[key.replace("master_weight", "weight_average")] for key in masters}
    state = module.import_state(state, {**exported, **averages})
    found.append(now())
    params, state = step(params, [jnp.asarray(g) for g in gradients[-1]], state)
    return [*found, now()]


WRITTEN = [
    ("pytorch", "written"), ("pytorch", "within a context"),
    ("tensorflow", "written"), ("tensorflow", "in another order"),
    ("jax", "written"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "finish"), WRITTEN)
def test_averages_that_are_written_are_written_to_master_weights_too(target: str, finish: str, tmp_path: Path) -> None:
    """What a run in float32 is at each point, whose parameters are the weights: training goes on from the averages, and
    after a context from what it was before."""
    found = _run(target, tmp_path, "bfloat16", True, finish)
    expected = _run(target, tmp_path, "float32", False, finish)
    assert [x.tobytes() for part in found for x in part] == [x.tobytes() for part in expected for x in part]
    before, averages, after = expected
    assert all((x != y).any() for x, y in zip(before, averages, strict=True))
    moves = [
        np.abs(x - y).max() for x, y in zip(after, before if finish == "within a context" else averages, strict=True)
    ]
    assert max(moves) < 1e-3
