"""Fused steps of optimizers whose kernels have slots of another dtype: refused by name, nothing is misread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.discovery import discover
from optloom.codegen.passes.dtypes import SlotDtype

FRAMEWORKS = ("pytorch", "tensorflow", "jax")
START = (1.0, -2.0, 3.0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of a user's is found, and none that is built here stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPTLOOM_KERNEL_PATH", raising=False)


def module_of(target: str, slot_dtype: SlotDtype, kernels: SlotDtype, folder: Path) -> Any:
    """The module of Adam, with kernels beside it."""
    own = render(discover()["adam"], target, settings=Settings(slot_dtype=slot_dtype))
    beside = render(discover()["adam"], "cpp", settings=Settings(conventions="all", slot_dtype=kernels))
    for path, text in (own | beside).items():
        (folder / Path(path).name).write_text(text)
    return load_module(str(folder / "adam.py"))


def stepper(target: str, module: Any, **arguments: Any) -> Callable[[], np.ndarray]:
    """A step of three numbers of bfloat16, which returns them."""
    if target == "pytorch":
        return pytorch_stepper(module, **arguments)
    return tensorflow_stepper(module, **arguments) if target == "tensorflow" else jax_stepper(module, **arguments)


def pytorch_stepper(module: Any, **arguments: Any) -> Callable[[], np.ndarray]:
    import torch

    w = torch.nn.Parameter(torch.tensor(START, dtype=torch.bfloat16))
    optimizer = module.Adam([w], lr=0.1, **arguments)

    def step() -> np.ndarray:
        w.grad = torch.ones_like(w)
        optimizer.step()
        return w.detach().float().numpy()

    return step


def tensorflow_stepper(module: Any, **arguments: Any) -> Callable[[], np.ndarray]:
    import keras
    import tensorflow as tf

    w = keras.Variable(START, dtype="bfloat16", name="w")
    optimizer = module.Adam(learning_rate=0.1, **arguments)

    def step() -> np.ndarray:
        optimizer.apply([tf.ones(3, tf.bfloat16)], [w])
        return np.asarray(tf.cast(w.value, tf.float32))

    return step


def jax_stepper(module: Any, **arguments: Any) -> Callable[[], np.ndarray]:
    import jax.numpy as jnp

    w = jnp.asarray(START, jnp.bfloat16)
    init, make_step = module.adam_step(0.1, **arguments)
    kept = [w, init(w)]

    def step() -> np.ndarray:
        kept[:] = make_step(kept[0], jnp.ones_like(w), kept[1])
        return np.asarray(kept[0], np.float32)

    return step


@pytest.mark.parametrize("target", FRAMEWORKS)
def test_fused_is_refused_when_an_optimizer_is_made(target: str, tmp_path: Path) -> None:
    module = module_of(target, "parameter", "parameter", tmp_path)
    with pytest.raises(NotImplementedError, match=r"fused=True is not implemented yet for .* dtype: pass fused=False"):
        stepper(target, module, fused=True)


@pytest.mark.parametrize("target", FRAMEWORKS)
def test_kernels_with_narrow_slots_are_refused_by_an_optimizer_without(target: str, tmp_path: Path) -> None:
    module = module_of(target, "compute", "parameter", tmp_path)
    step = stepper(target, module, fused=True)
    with pytest.raises(ValueError, match=r"dtype float32|dtype torch.float32") as refusal:
        step()
    for part in ("adam.cpp", "bfloat16", "--slot-dtype", "fused=False"):
        assert part in str(refusal.value)
    np.testing.assert_array_equal(stepper(target, module)(), stepper(target, module, fused=False)())


@pytest.mark.parametrize("target", FRAMEWORKS)
def test_kernels_that_were_built_are_left_alone_by_an_optimizer_with_narrow_slots(target: str, tmp_path: Path) -> None:
    for folder in ("wide", "narrow"):
        (tmp_path / folder).mkdir()
    stepper(target, module_of(target, "compute", "compute", tmp_path / "wide"), fused=True)()
    module = module_of(target, "parameter", "compute", tmp_path / "narrow")
    step, unfused = stepper(target, module), stepper(target, module, fused=False)
    for _ in range(3):
        np.testing.assert_array_equal(step(), unfused())


def test_a_group_of_pytorch_that_asks_for_a_kernel_later_is_refused(tmp_path: Path) -> None:
    import torch

    module = module_of("pytorch", "parameter", "parameter", tmp_path)
    w, other = (torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)) for _ in range(2))
    optimizer = module.Adam([w])
    with pytest.raises(NotImplementedError, match="exp_avg, exp_avg_sq, max_exp_avg_sq of the parameter's dtype"):
        optimizer.add_param_group({"params": [other], "fused": True})
    assert len(optimizer.param_groups) == 1
    optimizer.param_groups[0]["fused"] = True
    w.grad = torch.ones_like(w)
    with pytest.raises(NotImplementedError, match="of the parameter's dtype"):
        optimizer.step()
    assert (w == 1).all()
