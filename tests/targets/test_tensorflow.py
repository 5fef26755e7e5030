"""The generated Keras optimizers, as their users meet them. Their numbers are the conformance suite's."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, compile_rule, discover, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.ir.nodes import Program, Reduce, walk
from optloom.codegen.printing import UnsupportedOperation

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

MODES = ("eager", "function", "xla")
DTYPES = ("float16", "bfloat16", "float32", "float64")


def rendered(rule: str, numerics: str) -> dict[str, str]:
    try:
        return render(discover()[rule], "tensorflow", numerics)  # type: ignore[arg-type]
    except UnsupportedOperation:
        return {}


RULES = [rule for rule in discover() if rendered(rule, "fast")]
PROGRAMS: dict[str, Program] = {rule: compile_rule(discover()[rule]) for rule in RULES}


def is_bit_exact(program: Program) -> bool:
    """Strict code without sums over a tensor, whose order is TensorFlow's."""
    parts = (part for statement in program.update.statements for part in walk(statement.value))
    return bool(rendered(Path(program.source).stem, "strict")) and not any(isinstance(part, Reduce) for part in parts)


BIT_EXACT = [rule for rule in RULES if is_bit_exact(PROGRAMS[rule])]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModuleType]:
    """The module of a rule, rendered with the numerics asked for."""
    folder = tmp_path_factory.mktemp("rendered")

    def load(rule: str, numerics: str = "fast", target: str = "tensorflow") -> ModuleType:
        for path, text in render(discover()[rule], target, numerics).items():  # type: ignore[arg-type]
            file = folder / numerics / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return load_module(str(folder / numerics / target / f"{rule}.py"))

    return load


@pytest.fixture(scope="session")
def make(load: Callable[..., ModuleType]) -> Callable[..., Any]:
    """An optimizer: `make("adam", beta_1=0.5)`."""

    def make(rule: str, numerics: str = "fast", **arguments: Any) -> Any:
        return getattr(load(rule, numerics), PROGRAMS[rule].name)(**arguments)

    return make


def variable(values: Any, dtype: str = "float32", name: str = "w") -> Any:
    return keras.Variable(np.asarray(values, "float64"), dtype=dtype, name=name)


def stepper(optimizer: Any, variables: list[Any], mode: str) -> Callable[..., None]:
    def step(*gradients: Any) -> None:
        optimizer.apply(list(gradients), variables)

    if mode == "eager":
        return step
    compiled = tf.function(step, jit_compile=mode == "xla")
    return lambda *gradients: compiled(*(tf.convert_to_tensor(g) for g in gradients))


def numbers(seed: int, shape: tuple[int, ...] = (37,), dtype: str = "float32") -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) * 10 ** random.uniform(-3, 1, shape)).astype(dtype)


# Strict code: one sequence of bits.


def digest(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", BIT_EXACT)
def test_strict_bits_are_numpys(
    rule: str, dtype: str, load: Callable[..., ModuleType], make: Callable[..., Any]
) -> None:
    """From the start, and late: where powers of beta are small, and where float32 has no such whole numbers."""
    options = {option.name: True for option in PROGRAMS[rule].options}
    hypers = {"weight_decay": 0.01, "gradient_accumulation_steps": 2}
    hypers |= {hyper.name: 0.9 for hyper in PROGRAMS[rule].hypers if hyper.off is not None}
    starts = (0, 998, 2**24, 2**31 - 4)
    gradients = [numbers(seed, dtype=dtype) for seed in range(6)]
    w = numbers(99, dtype=dtype)
    reference = getattr(load(rule, "strict", "numpy"), PROGRAMS[rule].name)([w.copy()], **hypers, **options)
    expected = []
    for start in starts:
        reference.updates, reference.calls = start, 2 * start
        for g in gradients:
            reference.step([g])
        expected.append(digest(reference.params))

    for mode in MODES:
        v = keras.Variable(w, dtype=dtype, name="w")
        optimizer = make(rule, "strict", **hypers, **options)
        optimizer.build([v])
        step = stepper(optimizer, [v], mode)
        found = []
        for start in starts:
            optimizer._iterations.assign(2 * start)
            for g in gradients:
                step(g)
            found.append(digest([v.numpy()]))
        assert found == expected, mode


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_strict_scalars_have_the_same_bits_in_graphs(dtype: str, make: Callable[..., Any]) -> None:
    """A guard that is missing in the double words shows at few steps only: so at many, low words included.

    Low words count as zero where graphs flush a part of them: far below the last place of any high word.
    """
    optimizer = make("adam", "strict", beta_1=0.99999, weight_decay=0.01, gradient_accumulation_steps=3)
    optimizer.build([variable([0.0], dtype)])
    words = importlib.import_module(type(optimizer).__module__)._DoubleWords

    def scalars() -> Any:
        kept = optimizer._scalars(optimizer.learning_rate, tf.as_dtype(dtype))
        values = [value for name, value in sorted(vars(kept).items()) if name not in ("dtype", "exact")]
        double = words(optimizer.iterations + 1, tf.as_dtype(dtype))
        power = double.one_minus_power(double.pair(0.99999), optimizer.iterations + 1)
        rest = double.divide(double.root(power), double.multiply(double.pair(optimizer.learning_rate), power))
        return tf.stack([*values, *power, *rest])

    flushed = np.finfo(dtype).tiny / np.finfo(dtype).eps ** 2
    random = np.random.default_rng(0)
    steps = [*range(40), *np.exp(random.uniform(np.log(40), np.log(2**31), 60)).astype("int64"), 2**24, 2**31 - 2]
    for compiled in (tf.function(scalars), tf.function(scalars, jit_compile=True)):
        for step in steps:
            optimizer._iterations.assign(3 * int(step))
            found, expected = (np.where(np.abs(x) < flushed, 0, x) for x in (compiled(), scalars()))
            assert found.tobytes() == expected.tobytes(), step


# Numbers of the default code. The oracle's tests are elsewhere; these say what dtypes promise.


MODE_OF = {rule: MODES[number % len(MODES)] for number, rule in enumerate(RULES)}
"""One mode of execution for each rule, in turn: the suite runs them all."""


@pytest.mark.parametrize("rule", RULES)
def test_float64_variables_get_float64_accuracy(
    rule: str, load: Callable[..., ModuleType], make: Callable[..., Any]
) -> None:
    w = np.zeros(50)
    v = variable(w, "float64")
    step = stepper(make(rule), [v], MODE_OF[rule])
    reference = getattr(load(rule, "strict", "numpy"), PROGRAMS[rule].name)([w])
    for seed in range(3):
        g = numbers(seed, (50,), "float64")
        step(g)
        reference.step([g])
    np.testing.assert_allclose(v.numpy(), w, rtol=1e-13, atol=1e-18)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rule", RULES)
def test_small_dtypes_train_with_float32_slots(rule: str, dtype: str, make: Callable[..., Any]) -> None:
    v = variable(np.linspace(-1, 1, 8), dtype)
    start = v.numpy().astype("float32")
    optimizer = make(rule, learning_rate=0.5)
    step = stepper(optimizer, [v], MODE_OF[rule])
    for _ in range(2):
        step(np.full(8, 1e-2, v.numpy().dtype))
    end = v.numpy().astype("float32")
    assert np.isfinite(end).all()
    assert (end < start).any()
    assert v.dtype == dtype
    assert {slot.dtype for slot in optimizer.variables[2:]} <= {"float32"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_zero_gradients_give_no_nan(rule: str, dtype: str, make: Callable[..., Any]) -> None:
    v = variable([1.0, 0.0, -2.0], dtype)
    optimizer = make(rule, weight_decay=None)
    for _ in range(2):
        optimizer.apply([tf.zeros(3, dtype)], [v])
    np.testing.assert_array_equal(v.numpy().astype("float64"), [1.0, 0.0, -2.0])


@pytest.mark.parametrize("mode", MODES)
def test_maximum_keeps_nan(mode: str, make: Callable[..., Any]) -> None:
    v = variable([1.0, 1.0])
    optimizer = make("adam", amsgrad=True)
    stepper(optimizer, [v], mode)(np.array([np.nan, 1], "float32"))
    (largest,) = optimizer._v_hat
    assert np.isnan(largest.numpy()[0])
    assert np.isfinite(largest.numpy()[1])


def test_learning_rate_keeps_its_digits(make: Callable[..., Any]) -> None:
    optimizer = make("sgd", learning_rate=0.1)
    assert optimizer.learning_rate.dtype == "float64"
    assert float(optimizer.learning_rate.numpy()) == 0.1
    assert optimizer.get_config()["learning_rate"] == 0.1
    v = variable([0.0], "float64")
    optimizer.apply([tf.ones(1, tf.float64)], [v])
    assert v.numpy()[0] == -0.1


def test_initial_values_keep_their_digits(make: Callable[..., Any]) -> None:
    v = variable([0.0], "float64")
    optimizer = make("adagrad", initial_accumulator_value=0.1)
    optimizer.build([v])
    assert optimizer.variables[2].numpy()[0] == 0.1


# The surface of a Keras optimizer.


@pytest.mark.parametrize("rule", RULES)
def test_variables_are_keras_own(rule: str, make: Callable[..., Any]) -> None:
    """Names, shapes and order, so that a stock optimizer's state loads."""
    program = PROGRAMS[rule]
    if not any(peer.path.startswith("keras.") for peer in program.peers):
        pytest.skip("no peer in Keras")
    arguments: dict[str, Any] = {option.name: True for option in program.options}
    arguments |= {hyper.name: 0.9 for hyper in program.hypers if hyper.off is not None}
    arguments |= {"gradient_accumulation_steps": 2, "name": "same"}
    variables = [variable(np.ones((2, 3)), name="a"), variable(1.0, name="b")]

    def described(optimizer: Any) -> list[tuple[str, tuple[int, ...]]]:
        optimizer.build(variables)
        return [(v.path, tuple(v.shape)) for v in optimizer.variables]

    assert described(make(rule, **arguments)) == described(getattr(keras.optimizers, program.name)(**arguments))


@pytest.mark.parametrize("rule", RULES)
def test_arguments_are_keras_own(rule: str, make: Callable[..., Any]) -> None:
    program = PROGRAMS[rule]
    if not any(peer.path.startswith("keras.") for peer in program.peers):
        pytest.skip("no peer in Keras")

    def described(cls: type) -> list[tuple[str, Any]]:
        return [(p.name, p.default) for p in inspect.signature(cls).parameters.values()]

    assert described(type(make(rule))) == described(getattr(keras.optimizers, program.name))


@pytest.mark.parametrize("rule", RULES)
def test_config_round_trip(rule: str, make: Callable[..., Any]) -> None:
    program = PROGRAMS[rule]
    arguments: dict[str, Any] = {hyper.name: 0.25 for hyper in program.hypers if not hyper.stage}
    arguments |= {option.name: True for option in program.options}
    arguments |= {"weight_decay": 0.1, "gradient_accumulation_steps": 3, "name": "mine"}
    optimizer = make(rule, **arguments)
    config = json.loads(json.dumps(optimizer.get_config()))
    assert {name: config[name] for name in arguments} == arguments
    again = type(optimizer).from_config(config)
    assert again.get_config() == optimizer.get_config()


def test_schedule_round_trip(make: Callable[..., Any]) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = make("adam", learning_rate=schedule)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again._learning_rate.get_config() == schedule.get_config()


def test_learning_rate_may_be_a_schedule_a_callable_or_be_set(make: Callable[..., Any]) -> None:
    def run(optimizer: Any, set_to: float | None = None) -> list[float]:
        v = variable([0.0])
        step = stepper(optimizer, [v], "function")
        seen = []
        for _ in range(2):
            step(np.ones(1, "float32"))
            seen.append(float(v.numpy()[0]))
            if set_to is not None:
                optimizer.learning_rate = set_to
        return seen

    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 2.0])
    assert run(make("sgd", learning_rate=schedule)) == [-1.0, -3.0]
    assert run(make("sgd", learning_rate=lambda: 0.5)) == [-0.5, -1.0]
    assert run(make("sgd", learning_rate=1.0), set_to=0.5) == [-1.0, -1.5]


@pytest.mark.parametrize("mode", MODES)
def test_accumulation_updates_by_the_mean(mode: str, make: Callable[..., Any]) -> None:
    v, single = variable([1.0, 2.0]), variable([1.0, 2.0])
    optimizer = make("adam", gradient_accumulation_steps=4, learning_rate=0.1)
    step = stepper(optimizer, [v], mode)
    plain = make("adam", learning_rate=0.1)
    gradients = [np.array(g, "float32") for g in ([1, 2], [3, 4], [-2, 1], [6, 5])]
    for _ in range(2):
        before = v.numpy()
        for number, g in enumerate(gradients):
            np.testing.assert_array_equal(v.numpy(), before)
            step(g)
            assert int(optimizer._iterations) % 4 == (number + 1) % 4
        plain.apply([tf.constant(np.mean(gradients, axis=0))], [single])
        np.testing.assert_allclose(v.numpy(), single.numpy(), rtol=1e-6)
    assert int(optimizer.iterations) == 2 == int(plain.iterations)
    np.testing.assert_array_equal(optimizer._accumulated_gradients[0].numpy(), [0, 0])


def test_weight_decay_is_decoupled_and_can_be_excluded(make: Callable[..., Any]) -> None:
    a, b = variable([1.0], name="kernel"), variable([1.0], name="bias")
    optimizer = make("sgd", learning_rate=0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([tf.zeros(1), tf.zeros(1)], [a, b])
    assert (a.numpy()[0], b.numpy()[0]) == (0.75, 1.0)


def test_missing_gradients_are_skipped(make: Callable[..., Any]) -> None:
    a, b = variable([1.0], name="a"), variable([1.0], name="b")
    optimizer = make("sgd", learning_rate=0.5)
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        optimizer.apply([None, tf.ones(1)], [a, b])
    assert (a.numpy()[0], b.numpy()[0]) == (1.0, 0.5)


def test_constraints_are_applied(make: Callable[..., Any]) -> None:
    v = variable([0.25])
    v.constraint = keras.constraints.NonNeg()
    make("sgd", learning_rate=1.0).apply([tf.ones(1)], [v])
    assert v.numpy()[0] == 0


def test_plain_tensorflow_variables_are_taken(make: Callable[..., Any]) -> None:
    v = tf.Variable([1.0])
    make("adam", learning_rate=0.5).apply_gradients([(tf.ones(1), v)])
    assert v.numpy()[0] == pytest.approx(0.5, rel=1e-5)


def test_a_subclass_may_override_update_step(load: Callable[..., ModuleType]) -> None:
    class Doubled(load("sgd").SGD):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(2 * gradient, variable, learning_rate)

    v = variable([0.0])
    optimizer = Doubled(learning_rate=1.0)
    optimizer.apply([tf.ones(1)], [v])
    assert v.numpy()[0] == -2
    optimizer.update_step(tf.ones(1), v, 0.5)
    assert v.numpy()[0] == -3


# Training.


@pytest.fixture
def model() -> Iterator[Any]:
    keras.utils.set_random_seed(0)
    yield keras.Sequential([keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)])
    keras.backend.clear_session()


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}])
def test_fit(how: dict[str, bool], model: Any, make: Callable[..., Any]) -> None:
    x, y = data()
    model.compile(optimizer=make("adamw", learning_rate=0.02, gradient_accumulation_steps=2), loss="mse", **how)
    losses = model.fit(x, y, batch_size=16, epochs=6, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_a_saved_model_goes_on_with_the_same_bits(model: Any, make: Callable[..., Any], tmp_path: Path) -> None:
    x, y = data()

    def train(model: Any) -> None:
        model.fit(x, y, batch_size=16, epochs=1, verbose=0, shuffle=False)

    model.compile(optimizer=make("adam", amsgrad=True, learning_rate=0.02), loss="mse", jit_compile=False)
    train(model)
    model.save(tmp_path / "model.keras")
    train(model)
    again = keras.models.load_model(tmp_path / "model.keras")
    train(again)
    assert digest(again.get_weights()) == digest(model.get_weights())
    kept, loaded = ([v.numpy() for v in m.optimizer.variables] for m in (model, again))
    assert digest(kept) == digest(loaded)


def test_a_tensorflow_checkpoint_holds_the_state(make: Callable[..., Any], tmp_path: Path) -> None:
    v = variable([1.0, 2.0])
    optimizer, again = make("adam", amsgrad=True), make("adam", amsgrad=True)
    optimizer.apply([tf.ones(2)], [v])
    again.build([v])
    path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / "state"))
    tf.train.Checkpoint(optimizer=again).restore(path).assert_existing_objects_matched()
    assert digest([x.numpy() for x in again.variables]) == digest([x.numpy() for x in optimizer.variables])


def test_state_that_does_not_fit_is_refused(make: Callable[..., Any]) -> None:
    store: dict[str, Any] = {}
    other = make("adam")
    other.build([variable(np.ones(3))])
    other.save_own_variables(store)
    optimizer = make("adagrad")
    optimizer.build([variable(np.ones(3))])
    with pytest.raises(ValueError, match=r"the state to load has 4 variables, optimizer 'adagrad.*' has 3"):
        optimizer.load_own_variables(store)
    smaller = make("adam")
    smaller.build([variable(np.ones(2))])
    with pytest.raises(ValueError, match="shape"):
        smaller.load_own_variables(store)


# Bad input.

BOUNDS = [
    (rule, hyper.name, bad)
    for rule in RULES
    for hyper in PROGRAMS[rule].hypers
    for bad in (-1.0, float("nan"), float("inf"))
]


@pytest.mark.parametrize(("rule", "name", "value"), BOUNDS)
def test_out_of_bounds_is_refused(rule: str, name: str, value: float, make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}={value}"):
        make(rule, **{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta_1": 1.0}, "`beta_1` must be a number >= 0 and < 1. Received: beta_1=1.0"),
        ({"beta_1": "0.9"}, "`beta_1` must be a number >= 0 and < 1. Received: beta_1='0.9'"),
        ({"amsgrad": "no"}, r"`amsgrad` must be one of \(False, True\). Received: amsgrad='no'"),
        ({"gradient_accumulation_steps": 2.5}, "must be an integer >= 2 or None. Received: .*=2.5"),
        ({"gradient_accumulation_steps": 1}, "must be an integer >= 2 or None. Received: .*=1"),
        ({"learning_rate": 1}, "Argument `learning_rate` should be float"),
        ({"lr": 0.1}, "not recognized: {'lr': 0.1}"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str, make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=message):
        make("adam", **arguments)


@pytest.mark.parametrize(
    "later",
    [
        {"clipnorm": 1.0},
        {"clipvalue": 1.0},
        {"global_clipnorm": 1.0},
        {"use_ema": True},
        {"ema_momentum": 0.5},
        {"ema_overwrite_frequency": 2},
        {"loss_scale_factor": 8.0},
    ],
)
def test_what_is_not_there_yet_says_so(later: dict[str, Any], make: Callable[..., Any]) -> None:
    (name,) = later
    with pytest.raises(NotImplementedError, match=f"`{name}` is not supported yet"):
        make("adam", **later)


def test_a_stage_left_out_says_so(tmp_path: Path) -> None:
    for path, text in render(discover()["sgd"], "tensorflow", "fast", Settings(stages=())).items():
        (tmp_path / Path(path).name).write_text(text)
    module = load_module(str(tmp_path / "sgd.py"))
    for argument in ({"weight_decay": 0.1}, {"gradient_accumulation_steps": 2}):
        with pytest.raises(NotImplementedError, match="is not supported yet"):
            module.SGD(**argument)
    v = variable([1.0])
    module.SGD(learning_rate=0.5).apply([tf.ones(1)], [v])
    assert v.numpy()[0] == 0.5


def test_sparse_gradients_are_refused(make: Callable[..., Any]) -> None:
    v = variable(np.ones((3, 2)))
    slices = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([3, 2]))
    with pytest.raises(NotImplementedError, match=r"tf.IndexedSlices.* as w has one"):
        make("adam").apply([slices], [v])


def test_several_replicas_are_refused(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, v = make("adam"), variable([1.0])
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(NotImplementedError, match="several replicas"):
        optimizer.apply([tf.ones(1)], [v])


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([None], "No gradients provided for any variable"),
        ([], "received 0 for 1 variables"),
        ([np.ones(2), np.ones(2)], "received 2 for 1 variables"),
        ([np.ones(1, "float32")], r"the gradient of w must have its shape \(2,\), not \(1,\)"),
        ([np.ones((2, 2), "float32")], r"the gradient of w must have its shape \(2,\), not \(2, 2\)"),
        ([np.ones(2, "int32")], "the gradient of w must be of a floating dtype, not int32"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(gradients: list[Any], message: str, make: Callable[..., Any]) -> None:
    v = variable([1.0, 2.0])
    optimizer = make("adam")
    with pytest.raises(ValueError, match=message):
        optimizer.apply(gradients, [v])
    np.testing.assert_array_equal(v.numpy(), [1, 2])
    assert int(optimizer.iterations) == 0


def test_variables_must_be_known(make: Callable[..., Any]) -> None:
    optimizer = make("adam")
    with pytest.raises(ValueError, match="the first call of `apply` needs the variables"):
        optimizer.apply([tf.ones(1)])
    optimizer.build([variable([1.0])])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([tf.ones(1)], [variable([1.0])])


def test_another_backend_is_named(load: Callable[..., ModuleType]) -> None:
    file = load("sgd").__file__
    assert file is not None
    program = f"from optloom.codegen.conformance.protocol import load_module; load_module({file!r})"
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: these optimizers are for Keras on tensorflow, and its backend here is numpy" in done.stderr
