"""Numbers of the generated Keras optimizers: strict bits, and what dtypes promise. The oracle's tests are elsewhere."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.ir.nodes import Program, Reduce, walk
from tensorflow_cases import (
    DTYPES,
    MODE_OF,
    MODES,
    PEERS,
    PROGRAMS,
    RULES,
    digest,
    keras,
    load,
    make,
    numbers,
    rendered,
    stepper,
    tf,
    variable,
)


def is_bit_exact(program: Program) -> bool:
    """Strict code without sums over a tensor, whose order is TensorFlow's."""
    parts = (part for statement in program.update.statements for part in walk(statement.value))
    return bool(rendered(Path(program.source).stem, "strict")) and not any(isinstance(part, Reduce) for part in parts)


WITHOUT_A_START = ["ftrl"]
"""Rules whose weights follow from the sums of gradients alone: as long as these are zero, so are the weights."""

BIT_EXACT = [rule for rule in RULES if is_bit_exact(PROGRAMS[rule])]


COUNTING = [rule for rule in PROGRAMS if any(h.integer and not h.stage for h in PROGRAMS[rule].hypers)]
"""Rules with whole numbers of their own, which strict scalars do not read as pairs."""


@pytest.mark.parametrize("rule", COUNTING)
def test_strict_files_pass_ruff(rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "-"]
    text = rendered(rule, "strict")[f"tensorflow/{rule}.py"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", BIT_EXACT)
def test_strict_bits_are_numpys(rule: str, dtype: str) -> None:
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
def test_strict_scalars_have_the_same_bits_in_graphs(dtype: str) -> None:
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


@pytest.mark.parametrize("rule", RULES)
def test_float64_variables_get_float64_accuracy(rule: str) -> None:
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
def test_small_dtypes_train_with_float32_slots(rule: str, dtype: str) -> None:
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
def test_zero_gradients_give_no_nan(rule: str, dtype: str) -> None:
    v = variable([1.0, 0.0, -2.0], dtype)
    optimizer = make(rule, weight_decay=None)
    for _ in range(2):
        optimizer.apply([tf.zeros(3, dtype)], [v])
    start = [0.0, 0.0, 0.0] if rule in WITHOUT_A_START else [1.0, 0.0, -2.0]
    np.testing.assert_array_equal(v.numpy().astype("float64"), start)


@pytest.mark.parametrize("rule", WITHOUT_A_START)
def test_keras_too_forgets_where_the_weights_start(rule: str) -> None:
    v = variable([1.0, 0.0, -2.0])
    getattr(keras.optimizers, PEERS[rule])().apply([tf.zeros(3)], [v])
    np.testing.assert_array_equal(v.numpy(), [0.0, 0.0, 0.0])


@pytest.mark.parametrize("mode", MODES)
def test_maximum_keeps_nan(mode: str) -> None:
    v = variable([1.0, 1.0])
    optimizer = make("adam", amsgrad=True)
    stepper(optimizer, [v], mode)(np.array([np.nan, 1], "float32"))
    (largest,) = optimizer._v_hat
    assert np.isnan(largest.numpy()[0])
    assert np.isfinite(largest.numpy()[1])


def test_learning_rate_keeps_its_digits() -> None:
    optimizer = make("sgd", learning_rate=0.1)
    assert optimizer.learning_rate.dtype == "float64"
    assert float(optimizer.learning_rate.numpy()) == 0.1
    assert optimizer.get_config()["learning_rate"] == 0.1
    v = variable([0.0], "float64")
    optimizer.apply([tf.ones(1, tf.float64)], [v])
    assert v.numpy()[0] == -0.1


def test_initial_values_keep_their_digits() -> None:
    v = variable([0.0], "float64")
    optimizer = make("adagrad", initial_accumulator_value=0.1)
    optimizer.build([v])
    assert optimizer.variables[2].numpy()[0] == 0.1


@pytest.mark.parametrize("mode", MODES)
def test_accumulation_updates_by_the_mean(mode: str) -> None:
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
