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
from optloom.codegen.conformance.protocol import Array, Dtype, Episode, Job, Mode, Skip, Snapshot, numpy_dtype
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
