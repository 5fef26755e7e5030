"""Training by `fit`."""

from __future__ import annotations

from typing import Any

import pytest
from tensorflow_cases import data, keras, make, small_model, tf


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}])
def test_fit(how: dict[str, bool]) -> None:
    (x, y), model = data(), small_model()
    model.compile(optimizer=make("adamw", learning_rate=0.02, gradient_accumulation_steps=2), loss="mse", **how)
    losses = model.fit(x, y, batch_size=16, epochs=6, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_a_schedule_and_callbacks_move_the_learning_rate_in_fit() -> None:
    (x, y), model = data(), small_model()
    optimizer = make("adam", learning_rate=0.5)
    model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    seen: list[float] = []
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / 2**epoch),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(float(optimizer.learning_rate.numpy()))),
    ]
    model.fit(x, y, batch_size=64, epochs=3, verbose=0, callbacks=callbacks)
    assert seen == [0.5, 0.25, 0.125]


def test_keras_scales_the_loss_around_it() -> None:
    """Mixed precision: Keras wraps the optimizer, and calls it inside a condition."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        (x, y), model = data(), small_model()
        model.compile(optimizer=make("adam", learning_rate=0.02), loss="mse", jit_compile=False)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        losses = model.fit(x, y, batch_size=16, epochs=6, verbose=0, shuffle=False).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < 0.7 * losses[0]
    assert 0 < int(model.optimizer.inner_optimizer.iterations) <= 24


def test_a_loop_of_ones_own() -> None:
    (x, y), model = data(), small_model()
    model.build((None, 4))
    optimizer = make("lamb", learning_rate=0.1)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    losses = [float(step(tf.constant(x), tf.constant(y))) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]
