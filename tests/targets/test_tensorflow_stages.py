"""The whole training step in Keras's own arguments, as Keras documents them; and where Keras itself does otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow_cases import keras, make, slices, stepper, tf, variable

HUGE = 1e30
"""Its square is infinite in float32."""


def one(value: float) -> Any:
    return tf.constant([value], "float32")


def averages_of(optimizer: Any, calls: int) -> list[float]:
    """Rate 1, gradient 1: the average of the weights after each call."""
    v = variable([0.0])
    optimizer.build([v])
    found = []
    for _ in range(calls):
        optimizer.apply([one(1.0)], [v])
        found.append(float(optimizer._model_variables_moving_average[0][0]))
    return found


AVERAGED = {"learning_rate": 1.0, "use_ema": True, "ema_momentum": 0.5, "gradient_accumulation_steps": 2}
BY_HAND = [0, -1, -1, -1.5, -1.5, -2.25]
"""The weights after updates are -1, -2, -3; the average starts as the first and moves once per update."""


def test_the_average_moves_once_per_update() -> None:
    assert averages_of(make("sgd", **AVERAGED), 6) == BY_HAND


def test_keras_moves_it_once_per_call() -> None:
    assert averages_of(keras.optimizers.SGD(**AVERAGED), 6) != BY_HAND


def clipped(optimizer: Any, clip: float) -> bool:
    """Whether a gradient within the limit moves the weights as it is, bit for bit."""
    g = np.random.default_rng(0).normal(size=1000).astype("float32")
    v = variable(np.zeros(1000))
    optimizer.apply([tf.constant(g)], [v])
    return bool(np.array_equal(v.numpy(), -g)) and float(np.linalg.norm(g)) < clip


@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_within_its_limit_a_gradient_keeps_its_bits(clip: str) -> None:
    assert clipped(make("sgd", learning_rate=1.0, **{clip: 49.0}), 49.0)


def test_keras_changes_bits_of_gradients_within_the_limit() -> None:
    assert not clipped(keras.optimizers.SGD(1.0, clipnorm=49.0), 49.0)


def moved_by_huge(optimizer: Any) -> np.ndarray:
    v = variable(np.zeros(4))
    optimizer.apply([tf.constant([HUGE] * 4)], [v])
    return np.array(v.numpy())


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_a_norm_that_overflows_still_scales(clip: str) -> None:
    np.testing.assert_allclose(moved_by_huge(make("sgd", learning_rate=1.0, **{clip: 2.0})), [-1] * 4, rtol=1e-6)


def test_keras_loses_the_gradient_there() -> None:
    for clip in ("clipnorm", "global_clipnorm"):
        assert not np.allclose(moved_by_huge(keras.optimizers.SGD(1.0, **{clip: 2.0})), -1)


@pytest.mark.parametrize("sparse", [None, "lazy", "dense"])
def test_sparse_gradients_are_summed_scaled_and_clipped(sparse: str | None) -> None:
    """Rows 1 and 1 of a gradient that was scaled by 8: (3 + 4, 0) is of norm 7."""
    v = variable(np.zeros((3, 2)))
    optimizer = make("sgd", learning_rate=1.0, loss_scale_factor=8.0, clipnorm=3.5, sparse=sparse)
    optimizer.apply([slices([[24.0, 0.0], [32.0, 0.0]], [1, 1], 3)], [v])
    np.testing.assert_allclose(v.numpy(), [[0, 0], [-3.5, 0], [0, 0]], rtol=1e-6)


def test_keras_clips_the_rows_of_sparse_gradients_before_it_sums_them() -> None:
    """Rows 1 and 1, (3, 0) and (4, 0): of norm 7 together, of norm 5 beside each other."""
    found = []
    for optimizer in (keras.optimizers.SGD(1.0, clipnorm=5.0), make("sgd", learning_rate=1.0, clipnorm=5.0)):
        v = variable(np.zeros((3, 2)))
        optimizer.apply([slices([[3.0, 0.0], [4.0, 0.0]], [1, 1], 3)], [v])
        found.append(float(v.numpy()[1, 0]))
    keras_moves, ours_moves = found
    assert keras_moves == pytest.approx(-7) and ours_moves == pytest.approx(-5)


def test_keras_cannot_scale_sparse_gradients() -> None:
    v = variable(np.zeros((3, 2)))
    with pytest.raises(TypeError):
        keras.optimizers.SGD(1.0, loss_scale_factor=8.0).apply([slices([[1.0, 0.0]], [1], 3)], [v])


@pytest.mark.parametrize("mode", ["eager", "function"])
def test_the_global_norm_is_of_all_variables_after_accumulation(mode: str) -> None:
    first, second = variable([0.0]), variable([0.0])
    optimizer = make("sgd", learning_rate=1.0, global_clipnorm=1.0, gradient_accumulation_steps=2)
    step = stepper(optimizer, [first, second], mode)
    for a, b in ((2.0, 1.0), (4.0, 7.0)):
        step(one(a), one(b))
    np.testing.assert_allclose([first.numpy()[0], second.numpy()[0]], [-0.6, -0.8], rtol=1e-6)


def test_update_step_alone_does_not_know_the_global_norm() -> None:
    v = variable([0.0])
    optimizer = make("sgd", global_clipnorm=1.0)
    optimizer.build([v])
    with pytest.raises(RuntimeError, match="runs inside of `apply` only"):
        optimizer.update_step(one(1.0), v, 0.1)


def test_weights_are_overwritten_and_at_the_end_finalized() -> None:
    v = variable([0.0])
    optimizer = make("sgd", learning_rate=1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    found = []
    for _ in range(4):
        optimizer.apply([one(1.0)], [v])
        found.append(float(v.numpy()[0]))
    assert found == [-1, -1.5, -2.5, -2.75]
    optimizer.apply([one(1.0)], [v])
    average = float(optimizer._model_variables_moving_average[0][0])
    optimizer.finalize_variable_values([v])
    assert float(v.numpy()[0]) == average == (-2.75 - 3.75) / 2


OVERWRITTEN = AVERAGED | {"ema_overwrite_frequency": 2}


def weights_of(optimizer: Any, calls: int) -> list[float]:
    """Rate 1, gradient 1: the weights after each call."""
    v = variable([0.0])
    found = []
    for _ in range(calls):
        optimizer.apply([one(1.0)], [v])
        found.append(float(v.numpy()[0]))
    return found


def test_overwriting_counts_updates() -> None:
    """Weights of -1, -2 whose average is -1.5: the second update overwrites them, and no call before it does."""
    assert weights_of(make("sgd", **OVERWRITTEN), 5) == [0, -1, -1, -1.5, -1.5]


def test_keras_overwrites_in_calls_without_an_update_too() -> None:
    """The third call makes no update; an average of -3 moves halfway to the weight of -1, and overwrites it."""
    optimizer = keras.optimizers.SGD(**OVERWRITTEN)
    v = variable([0.0])
    for _ in range(2):
        optimizer.apply([one(1.0)], [v])
    optimizer._model_variables_moving_average[0].assign([-3.0])
    optimizer.apply([one(1.0)], [v])
    assert float(v.numpy()[0]) == -2


def test_patterns_are_searched_for_in_the_whole_path() -> None:
    model = keras.Sequential([keras.layers.Dense(1, name="first"), keras.layers.Dense(1, name="second")])
    model.build((None, 1))
    optimizer = make("sgd", learning_rate=1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["first/kernel"])
    before = [np.array(v.numpy()) for v in model.trainable_variables]
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    for v, old in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(v.numpy(), old if "first/kernel" in v.path else old / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipvalue": 1.0, "clipnorm": 2.0},
         "only one of clipvalue, clipnorm and global_clipnorm may be set, got clipvalue=1.0, clipnorm=2.0"),
        ({"clipnorm": 0.0}, "clipnorm must be > 0, got 0.0"),
        ({"global_clipnorm": -1.0}, "global_clipnorm must be > 0, got -1.0"),
        ({"ema_momentum": 1.5, "use_ema": True}, "ema_momentum must be >= 0 and <= 1, got 1.5"),
        ({"ema_overwrite_frequency": 0, "use_ema": True}, "ema_overwrite_frequency must be an integer >= 1, got 0"),
        ({"ema_overwrite_frequency": 2.5, "use_ema": True}, "ema_overwrite_frequency must be an integer >= 1, got 2.5"),
        ({"ema_overwrite_frequency": 2}, "ema_overwrite_frequency means nothing without use_ema=True"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be an integer >= 2, got 1"),
        ({"loss_scale_factor": 0.0}, "loss_scale_factor must be > 0, got 0.0"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("adam", **arguments)


def test_an_overflow_on_the_second_of_four_calls_is_skipped() -> None:
    """LossScaleOptimizer leaves such a call out whole: weights, slots, accumulators and counters."""
    with_overflow, without = variable([1.0]), variable([1.0])
    inner = make("sgd", learning_rate=1.0, gradient_accumulation_steps=4, use_ema=True)
    alone = make("sgd", learning_rate=1.0, gradient_accumulation_steps=4, use_ema=True)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    for value in (1.0, np.inf, 0.5, -1.0, 2.0):
        scale = float(scaled.scale_loss(1.0))
        scaled.apply([one(scale * value)], [with_overflow])
        if np.isfinite(value):
            alone.apply([one(value)], [without])
    np.testing.assert_allclose(with_overflow.numpy(), without.numpy(), rtol=1e-6)
    assert int(inner._iterations) == 4 and int(inner.iterations) == 1


@pytest.mark.parametrize("mode", ["eager", "function"])
def test_one_gradient_that_is_not_finite_stops_all_variables_and_is_counted(mode: str) -> None:
    """Rows of a sparse gradient are looked at too; a constraint is not applied once more."""
    first, second = variable([[3.0, 4.0], [1.0, 1.0]], name="rows"), variable([1.0])
    optimizer = make("sgd", learning_rate=1.0, momentum=0.5, skip_nonfinite=True)
    step = stepper(optimizer, [first, second], mode)
    for row, value in ((1.0, 1.0), (np.inf, 1.0), (1.0, np.nan)):
        step(slices([[row, 1.0]], [0], 2), one(value))
    np.testing.assert_array_equal(first.numpy(), [[2.0, 3.0], [1.0, 1.0]])
    assert (int(optimizer.iterations), int(optimizer.skipped), float(second.numpy()[0])) == (1, 2, 0.0)
    again = type(optimizer).from_config(optimizer.get_config())
    again.build([first, second])
    again.import_state(optimizer.export_state())
    assert int(again.skipped) == 2 and again.skip_nonfinite
    with pytest.raises(ValueError, match="the state has no 'skipped'"):
        plain = make("sgd", learning_rate=1.0, momentum=0.5)
        plain.build([first, second])
        again.import_state(plain.export_state())


def test_a_skipped_call_does_not_constrain() -> None:
    """A constraint that moves what it is given twice is seen."""
    v = variable([8.0])
    v.constraint = lambda w: w / 2
    optimizer = make("sgd", learning_rate=1.0, skip_nonfinite=True)
    for value in (0.0, np.nan):
        optimizer.apply([one(value)], [v])
    assert v.numpy()[0] == 4.0


def test_a_scaler_skips_before_the_optimizer_does() -> None:
    """What LossScaleOptimizer leaves out is no call, so that it is not counted."""
    v, inner = variable([0.0]), make("sgd", learning_rate=1.0, skip_nonfinite=True)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    for value in (1.0, np.inf, 0.5):
        scaled.apply([one(float(scaled.scale_loss(1.0)) * value)], [v])
    assert (v.numpy()[0], int(inner.iterations), int(inner.skipped)) == (-1.5, 2, 0)
