"""What an optimizer cannot use is refused when it is made, or when its step is called, in the same words everywhere."""

from __future__ import annotations

import ctypes
import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.api import Selection, generate
from optloom.codegen.c_family.native import State

HEAD = """\
from optloom.spec import *

class {name}(Rule):
    \"\"\"A rule for some parameters.\"\"\"

    learning_rate = Hyper(0.1, ge=0)
"""
RULES = {
    "only_matrices": HEAD.format(name="OnlyMatrices") + """\
    matrices = Takes(has_axes(2, exactly=True))

    def step(self, w, g, t):
        return w - self.learning_rate * matmul(matmul(g, transpose(g)), g)
""",
    "by_rows": HEAD.format(name="ByRows") + """\
    factored = Option(True, doc="one second moment for each row")
    r = Slot("second moments", shape="rows", when=factored)
    rows = Takes(has_axes(2), when=factored)

    def step(self, w, g, t):
        self.r = self.r + mean(g**2, axis=-1)
        return w - self.learning_rate * where(self.factored, g / sqrt(self.r + 1), g)
""",
    "by_diagonal": HEAD.format(name="ByDiagonal") + """\
    loss = Input("the loss")
    diagonal = Input("a diagonal", shape="parameter")

    def step(self, w, g, t):
        return w - self.learning_rate * self.loss * g / self.diagonal
""",
}  # fmt: skip
MATRICES = "OnlyMatrices takes parameters with exactly 2 axes"
ROWS = "ByRows takes parameters with at least 2 axes where factored=True"
TARGETS = ("numpy", "pytorch", "tensorflow", "jax", "cpp", "cuda")
SHAPES = ((2, 3), (3,))
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("refused")
    done: set[tuple[str, str]] = set()

    def file(rule: str, target: str) -> Path:
        if (rule, target) not in done:
            (folder / f"{rule}.py").write_text(RULES[rule])
            generate(Selection((str(folder / f"{rule}.py"),), (target,)), folder / "out_refused", force=True)
            done.add((rule, target))
        return next((folder / "out_refused" / target).glob(f"{rule}.*"))

    return file


def loaded(file: Path) -> Any:
    sys.path.insert(0, str(file.parents[2]))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(f"out_refused.{file.parent.name}.{file.stem}")
    finally:
        sys.path.pop(0)


def class_name(rule: str) -> str:
    return rule.title().replace("_", "")


def build(target: str, file: Path, shapes: tuple[tuple[int, ...], ...], **options: bool) -> Any:
    """An optimizer of parameters of `shapes`, as far as it is before its first step. In frameworks they have names."""
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    if target == "numpy":
        return getattr(loaded(file), class_name(file.stem))(arrays, **options)
    if target == "pytorch":
        import torch

        named = [(name, torch.tensor(array)) for name, array in zip(("kernel", "bias"), arrays, strict=False)]
        return getattr(loaded(file), class_name(file.stem))(named, **options)
    if target == "tensorflow":
        import keras

        optimizer = getattr(loaded(file), class_name(file.stem))(**options)
        names = zip(("kernel", "bias"), arrays, strict=False)
        optimizer.build([keras.Variable(array, name=name) for name, array in names])
        return optimizer
    if target == "jax":
        transformation = getattr(loaded(file), file.stem)(**options)
        return transformation, transformation.init(dict(zip(("kernel", "bias"), arrays, strict=False)))
    runner = importlib.import_module(f"optloom.codegen.targets.{target}.runner")
    library = runner.library(str(file))
    state = State(library, {}, options, arrays)
    if target == "cpp":
        flags = f"g++ {runner.FLAGS} -DOPTLOOM_OPTIONS={state.bits}".replace("-O3", "-O1")
        state = State(runner.library(str(file), flags), {}, options, arrays)
    return state


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rule", "words"), [("only_matrices", MATRICES), ("by_rows", ROWS)])
def test_a_shape_that_the_rule_does_not_take(rule: str, words: str, target: str, made: Make) -> None:
    if target in ("cpp", "cuda") and shutil.which("g++") is None:
        pytest.skip("no g++")
    file = made(rule, target)
    if target == "cpp":
        refused, taken = build(target, file, SHAPES), build(target, file, SHAPES[:1])
        assert (status(refused), status(taken)) == (3, 0)  # OTHER_AXES
        assert all((w == 1).all() for w in refused.parameters)
        if rule == "only_matrices":  # 1 - 0.1 * 6: of ones, g g^T has threes
            np.testing.assert_allclose(taken.parameters[0], 0.4, rtol=1e-6)
        return
    if target == "cuda":
        with pytest.raises(ValueError) as caught:
            launched(build(target, file, SHAPES))
        assert str(caught.value) == f"{words}, and parameter 1 has 1"
        return
    build(target, file, SHAPES[:1])
    with pytest.raises(ValueError) as caught:
        build(target, file, SHAPES)
    name = "1" if target == "numpy" else "bias"
    assert str(caught.value) == f"{words}, and parameter {name} has shape (3,)"


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "cuda"])
def test_an_option_that_asks_for_less_takes_more(target: str, made: Make) -> None:
    if target == "cpp" and shutil.which("g++") is None:
        pytest.skip("no g++")
    state = build(target, made("by_rows", target), ((3,), ()), factored=False)
    assert target != "cpp" or status(state) == 0


def status(state: State) -> int:
    """What a step in C++ returns."""
    state.set_gradients([np.ones_like(w) for w in state.parameters])
    slots = [np.zeros((*w.shape[:-1], 1), np.float32) for w in state.parameters]
    for tensor, slot in zip(state.tensors, slots, strict=True):
        if hasattr(tensor, "r"):
            tensor.r = slot.ctypes.data
    callbacks = (ctypes.c_void_p(),) * 2 * len(state.library.interface.get("callbacks", ()))
    rest = (ctypes.byref(state.row), len(state.parameters), state.tensors, ctypes.c_double(1), *callbacks)
    found = state.library.call("step_float32", state.bits, 1, *rest, returns=ctypes.c_int)
    return int(found)


def launched(state: State) -> None:
    from optloom.codegen.targets.cuda.runner import call

    state.set_gradients([np.ones_like(w) for w in state.parameters])
    call(state, "step_float32")


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_input_is_named(target: str, made: Make) -> None:
    if target in ("cpp", "cuda") and shutil.which("g++") is None:
        pytest.skip("no g++")
    built = build(target, made("by_diagonal", target), SHAPES)
    if target == "cpp":
        assert status(built) == 3  # NO_DIAGONAL
        assert "OTHER_COUNTERS, NO_DIAGONAL }" in made("by_diagonal", target).read_text()
        return
    gradients = [np.ones(shape, np.float32) for shape in SHAPES]
    with pytest.raises(TypeError) as caught:
        step(target, built, gradients)
    said = str(caught.value)
    own = (
        "a step needs `diagonal`, and parameter 0 has none"
        if target == "cuda"
        else "a step of ByDiagonal needs `loss`: "
    )
    assert said.startswith(own), said


def step(target: str, built: Any, gradients: list[Any]) -> None:
    """A step that is given nothing but gradients."""
    if target == "numpy":
        built.step(gradients, {})
    elif target == "pytorch":
        import torch

        for w, g in zip(built.param_groups[0]["params"], gradients, strict=True):
            w.grad = torch.tensor(g)
        built.step()
    elif target == "tensorflow":
        built.apply(gradients)
    elif target == "jax":
        transformation, state = built
        named = dict(zip(("kernel", "bias"), gradients, strict=True))
        transformation.update(named, state, named)
    else:
        launched(built)
