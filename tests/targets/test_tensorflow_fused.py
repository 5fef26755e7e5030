"""fused=True in Keras: the bits of strict code, eager and in `tf.function`; what is refused, what is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from kernels import brings_nothing, printed
from optloom.codegen.compiler import Settings, discover, render
from optloom.codegen.conformance.protocol import load_module, numpy_dtype
from tensorflow_cases import (
    PRINTED,
    PROGRAMS,
    data,
    keras,
    load,
    numbers,
    rendered,
    slices,
    small_model,
    stepper,
    tf,
    variable,
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
SHAPES = ((4, 3), (5,), (), (2, 3, 4), (4099,), (0,))
RULES = sorted(set(brings_nothing("cpp")) & set(PRINTED))
STAGES = {
    "weight_decay": 0.1, "gradient_accumulation_steps": 2, "global_clipnorm": 3.0, "loss_scale_factor": 4.0,
    "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of a user's is found, and none that is built here stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("OPTLOOM_KERNEL_PATH", raising=False)
    monkeypatch.delenv("OPTLOOM_COMPILE", raising=False)


def module(rule: str) -> ModuleType:
    """The module of a rule, with its kernel beside it."""
    found = load(rule)
    place = Path(str(found.__file__)).with_suffix(".cpp")
    if not place.exists():
        place.write_text(render(discover()[rule], "cpp")[f"cpp/{rule}.cpp"])
    return found


def fused(rule: str, is_fused: bool | None = True, **arguments: Any) -> Any:
    return getattr(module(rule), PROGRAMS[rule].name)(fused=is_fused, **arguments)


def by_numpy(rule: str, arrays: list[np.ndarray], **arguments: Any) -> Any:
    """The strict class for NumPy arrays, with the bits that all strict code has."""
    return getattr(load(rule, "strict", "numpy"), PROGRAMS[rule].name)([np.array(w) for w in arrays], **arguments)


def array(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.asarray(numbers(seed, shape, "float64")).astype(numpy_dtype(dtype))


def assert_same_bits(
    rule: str, mode: str = "eager", dtype: str = "float32", shapes: Any = SHAPES, spoilt: int = -1, **arguments: Any
) -> None:
    """`spoilt`: the call whose last gradient but one is not finite."""
    arrays = [array(seed, shape, dtype) for seed, shape in enumerate(shapes)]
    reference, optimizer = by_numpy(rule, arrays, **arguments), fused(rule, **arguments)
    variables = [variable(w, dtype, name=f"w{i}") for i, w in enumerate(arrays)]
    optimizer.build(variables)
    step = stepper(optimizer, variables, mode)
    for call in range(4):
        gradients = [array(100 + 100 * call + i, w.shape, dtype) for i, w in enumerate(arrays)]
        if call == spoilt:
            gradients[-2][-1] = np.nan
        step(*map(tf.constant, gradients))
        reference.step(gradients)
        for v, w in zip(variables, reference.params, strict=True):
            np.testing.assert_array_equal(v.numpy(), w)


@pytest.mark.parametrize("rule", RULES)
def test_the_bits_of_strict_code(rule: str) -> None:
    assert_same_bits(rule, "function")


@pytest.mark.parametrize("rule", sorted({*printed("cpp")} - {*brings_nothing("cpp")}))
def test_a_kernel_that_multiplies_matrices_is_refused(rule: str) -> None:
    optimizer = getattr(module(rule), discover()[rule].__name__)(fused=True)
    with pytest.raises(Exception, match="takes a product function, which is not brought to it here"):
        optimizer.apply([tf.ones([3, 4])], [variable(np.ones((3, 4)))])


@pytest.mark.parametrize("mode", ["eager", "function"])
def test_all_stages(mode: str) -> None:
    assert_same_bits("adam", mode, amsgrad=True, **STAGES)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stochastic_rounding(dtype: str) -> None:
    assert_same_bits("adam", "function", dtype, stochastic_rounding=True)


@pytest.mark.parametrize("stages", [{}, STAGES], ids=["alone", "with all stages"])
def test_a_call_with_a_gradient_that_is_not_finite_is_skipped(stages: dict[str, Any]) -> None:
    assert_same_bits("adam", "function", spoilt=1, skip_nonfinite=True, **stages)


@pytest.mark.parametrize("is_fused", [True, False])
def test_a_skipped_call_holds_no_norm(is_fused: bool) -> None:
    """A variable beyond its constraint stays there, until a call is made."""
    v = keras.Variable(np.full((3, 2), 2.0, "float32"), name="w")
    v.constraint = keras.constraints.MaxNorm(1.0)
    optimizer = fused("adam", is_fused, skip_nonfinite=True)
    optimizer.build([v])
    step = stepper(optimizer, [v], "function")
    step(tf.fill([3, 2], np.inf))
    assert (v.numpy() == 2).all() and int(optimizer.skipped) == 1
    step(tf.ones([3, 2]))
    assert np.linalg.norm(v.numpy(), axis=0) == pytest.approx(1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype: str) -> None:
    assert_same_bits("adam", "function", dtype)


@pytest.mark.parametrize(("rule", "inputs"), [("polyak_sgd", ("loss",)), ("sophia", ("hessian",))])
def test_what_is_given_beside_gradients(rule: str, inputs: tuple[str, ...]) -> None:
    arrays = [numbers(1, (5, 7)), numbers(2, (3,))]
    reference, optimizer = by_numpy(rule, arrays), fused(rule)
    variables = [variable(w, name=f"w{i}") for i, w in enumerate(arrays)]
    gradients = [numbers(3, (5, 7)), numbers(4, (3,))]
    given = {name: 0.5 if name == "loss" else [np.abs(g) for g in gradients] for name in inputs}
    optimizer.apply([tf.constant(g) for g in gradients], variables, **given)
    reference.step(gradients, given)
    for v, w in zip(variables, reference.params, strict=True):
        np.testing.assert_array_equal(v.numpy(), w)


def test_gradients_of_lower_precision() -> None:
    w, g = numbers(1), tf.cast(numbers(2), "bfloat16")
    found = []
    for gradient in (g, tf.cast(g, "float32")):
        v = variable(w)
        fused("adam").apply([gradient], [v])
        found.append(v.numpy())
    np.testing.assert_array_equal(*found)


def operations(optimizer: Any, variables: list[Any], jit_compile: bool = False) -> list[str]:
    """What kernels a step runs, by the operations' names."""
    optimizer.build(variables)
    step = tf.function(
        lambda: optimizer.apply([tf.ones(v.shape) for v in variables], variables), jit_compile=jit_compile
    )
    types = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
    return [name for name in types if name.startswith("Optloom")]


def test_one_operation_for_all_variables() -> None:
    assert len(operations(fused("adam", **STAGES), [variable(np.ones(3), name=f"w{i}") for i in range(40)])) == 1


def test_xla_compiles_the_formula_itself() -> None:
    """It knows no other kernels: the formula's own bits, and no error."""
    assert operations(fused("adam"), [variable(np.ones(3))], jit_compile=True) == []
    found = []
    for is_fused in (True, False):
        v = variable(numbers(1))
        stepper(fused("adam", is_fused), [v], "xla")(numbers(2))
        found.append(v.numpy())
    np.testing.assert_array_equal(*found)


def test_a_schedule_a_constraint_and_variables_that_do_not_decay() -> None:
    """Against the formula: rates by step, a norm that is held, and patterns that exclude."""
    found = []
    for is_fused in (True, False):
        first, second = (keras.Variable(np.full((3, 2), 2.0, "float32"), name=name) for name in ("kernel", "bias"))
        first.constraint = keras.constraints.MaxNorm(1.0)
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
        optimizer = fused("adam", is_fused, learning_rate=schedule, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        step = stepper(optimizer, [first, second], "function")
        for call in range(3):
            step(*(numbers(10 * call + i, (3, 2)) for i in range(2)))
        found.append([first.numpy(), second.numpy()])
    for ours, formula in zip(*found, strict=True):
        np.testing.assert_allclose(ours, formula, rtol=1e-6)
    assert np.linalg.norm(found[0][0], axis=0).max() == pytest.approx(1)


def test_fit() -> None:
    found = []
    for is_fused in (True, False):
        model = small_model()
        model.compile(optimizer=fused("adam", is_fused, learning_rate=0.05, use_ema=True), loss="mse")
        found.append(model.fit(*data(), epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_a_loss_scale_around_it_skips_and_unscales() -> None:
    v, alone = variable([1.0]), variable([1.0])
    scaled = keras.optimizers.LossScaleOptimizer(fused("adam"), initial_scale=4.0)
    inner = fused("adam")
    step = stepper(scaled, [v], "function")
    for value in (1.0, np.inf, 0.5):
        step(np.array([value * float(scaled.scale_loss(1.0))], "float32"))
        if np.isfinite(value):
            inner.apply([tf.constant([value])], [alone])
    np.testing.assert_array_equal(v.numpy(), alone.numpy())
    assert int(scaled.inner_optimizer.iterations) == 2


def test_who_holds_a_value_keeps_it() -> None:
    """Variables share memory with what was read of them, and with what was assigned to them."""
    v = variable([1.0, 2.0])
    optimizer = fused("sgd", learning_rate=1.0, use_ema=True)
    optimizer.build([v])
    held, average = v.value.read_value(), optimizer._model_variables_moving_average[0]
    average.assign(held)
    v.assign(held)
    optimizer.apply([tf.ones(2)], [v])
    assert held.numpy().tolist() == [1, 2]
    assert v.numpy().tolist() == average.numpy().tolist() == [0, 1]


def test_sparse_gradients_are_made_dense_or_refused() -> None:
    found = []
    for gradient in (slices([[3.0, 0.0], [4.0, 1.0]], [1, 1], 3), tf.constant([[0.0, 0.0], [7.0, 1.0], [0.0, 0.0]])):
        v = variable(np.ones((3, 2)))
        fused("adam", sparse="dense").apply([gradient], [v])
        found.append(v.numpy())
    np.testing.assert_array_equal(*found)
    lazy = fused("adam")
    with pytest.raises(
        ValueError, match=r"the gradient of w is sparse, and fused kernels update all rows; pass sparse="
    ):
        lazy.apply([slices([[3.0, 0.0]], [1], 3)], [variable(np.ones((3, 2)))])
    fused("adam", None).apply([slices([[3.0, 0.0]], [1], 3)], [variable(np.ones((3, 2)))])


def refusal(optimizer: Any, gradient: Any, v: Any, error: type[Exception] = ValueError) -> str:
    """Why a step is refused; nothing has moved then."""
    optimizer.build([v])
    before = [x.numpy() for x in (v, *optimizer.variables)]
    with pytest.raises(error) as caught:
        optimizer.apply([gradient], [v])
    for x, kept in zip((v, *optimizer.variables), before, strict=True):
        np.testing.assert_array_equal(x.numpy(), kept)
    return str(caught.value)


def test_what_a_kernel_does_not_take_is_refused() -> None:
    v = keras.Variable(np.ones(3, "float32"), dtype="float8_e4m3fn", name="w")
    assert "variable w has dtype float8_e4m3fn" in refusal(fused("sgd"), tf.ones(3), v)
    v = variable(np.ones(3))
    assert "the gradient of w has dtype float64" in refusal(fused("sgd"), tf.ones(3, "float64"), v)

    class Own(type(fused("sgd"))):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            variable.assign_sub(gradient)

    assert "Own has an `update_step` of its own" in refusal(Own(fused=True), tf.ones(3), v)
    with pytest.raises(ValueError, match="a variable comes twice"):
        fused("sgd").apply([tf.ones(3)] * 2, [v, v])
    v, wide = variable(np.ones(3)), variable(np.ones(3), "float64", name="wide")
    with pytest.raises(ValueError, match="a sum over all variables spans dtypes"):
        fused("sgd", global_clipnorm=1.0).apply([tf.ones(3), tf.ones(3, "float64")], [v, wide])
    with pytest.raises(ValueError, match=r"`fused` must be one of \(True, False\) or None. Received: fused='yes'"):
        fused("sgd", "yes")  # type: ignore[arg-type]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """SGD in a folder of its own, whose kernel was never built; the cache is empty."""
    for path, text in (rendered("sgd", "fast") | render(discover()["sgd"], "cpp")).items():
        (tmp_path / Path(path).name).write_text(text)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return load_module(str(tmp_path / "sgd.py"))


def test_a_kernel_that_may_not_be_built(alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    message = refusal(alone.SGD(fused=True), tf.ones(3), variable(np.ones(3)), RuntimeError)
    assert "no fused kernel sgd-o" in message
    assert "OPTLOOM_COMPILE=0 forbids to build it" in message


def test_by_default_a_kernel_runs_that_is_there_and_none_is_built(
    alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operations(alone.SGD(), [variable(np.ones(3))]) == []
    assert not (tmp_path / "cache").exists()
    assert len(operations(alone.SGD(fused=True), [variable(np.ones(3))])) == 1
    assert len(operations(alone.SGD(), [variable(np.ones(3))])) == 1
    assert operations(alone.SGD(momentum=0.9), [variable(np.ones(3))]) == []
    assert operations(alone.SGD(fused=False), [variable(np.ones(3))]) == []
    (built,) = (tmp_path / "cache").glob("optloom/kernels/sgd*.so")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("OPTLOOM_KERNEL_PATH", str(tmp_path / "named"))
    (tmp_path / "named").mkdir()
    built.rename(tmp_path / "named" / f"{built.stem.rpartition('-')[0]}-x86-64.so")
    assert len(operations(alone.SGD(), [variable(np.ones(3))])) == 1


def test_the_operation_may_not_be_built_either(alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = alone._support.fused_steps()
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    with pytest.raises(
        RuntimeError, match=r"no OptloomUpdate\w+-tensorflow-.*\.so in .*, and OPTLOOM_COMPILE=0 forbids"
    ):
        steps.build(tmp_path)


def test_what_the_kernel_does_not_have_is_refused(alone: Any) -> None:
    """A kernel that was generated with fewer stages than the class."""
    text = render(discover()["sgd"], "cpp", settings=Settings(stages=()))["cpp/sgd.cpp"]
    Path(alone.__file__).with_suffix(".cpp").write_text(text)
    message = refusal(alone.SGD(fused=True, gradient_accumulation_steps=2), tf.ones(3), variable(np.ones(3)))
    assert "gradient_accumulation_steps=2: the fused kernel" in message


def test_without_the_files_of_kernels_the_class_works(tmp_path: Path) -> None:
    for path, text in rendered("sgd", "fast").items():
        if Path(path).name in ("sgd.py", "_support.py"):
            (tmp_path / Path(path).name).write_text(text)
    kind = load_module(str(tmp_path / "sgd.py")).SGD
    v = variable([1.0])
    kind(learning_rate=1.0).apply([tf.ones(1)], [v])
    assert v.numpy().tolist() == [0]
    with pytest.raises(ValueError, match=r"fused=True needs the files _fused.py, _kernels.py and _update.cpp"):
        kind(fused=True)


def test_a_config_holds_it() -> None:
    optimizer = fused("adam")
    assert optimizer.get_config()["fused"] is True
    assert type(optimizer).from_config(optimizer.get_config()).fused is True
