"""The transformer in TensorFlow, as a Keras model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import task
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from optloom.generated.tensorflow.adam import Adam
from optloom.generated.tensorflow.adamw import AdamW

CHECKPOINT = "checkpoint.keras"
OPTIMIZERS = {"adam": Adam, "adamw": AdamW}
HEAD_WIDTH = task.WIDTH // task.HEADS


@keras.saving.register_keras_serializable("optloom-examples")
class AddPositions(layers.Layer):
    """Adds a vector of its own to every position."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.positions = self.add_weight(shape=shape[1:], initializer="zeros", name="positions")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + self.positions


def transformer() -> keras.Model:
    tokens = keras.Input((task.CONTEXT,), dtype="int32")
    x = AddPositions()(layers.Embedding(task.characters(), task.WIDTH)(tokens))
    for _ in range(task.BLOCKS):
        normed = layers.LayerNormalization()(x)
        x += layers.MultiHeadAttention(task.HEADS, HEAD_WIDTH)(normed, normed, use_causal_mask=True)
        hidden = layers.Dense(4 * task.WIDTH, "gelu")(layers.LayerNormalization()(x))
        x += layers.Dense(task.WIDTH)(hidden)
    return keras.Model(tokens, layers.Dense(task.characters())(layers.LayerNormalization()(x)))


class Training:
    def __init__(self, dtype: str, optimizer: str) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(task.SEED)
        keras.config.set_dtype_policy(dtype)
        self.model = transformer()
        self.model.compile(OPTIMIZERS[optimizer](learning_rate=task.LEARNING_RATE))
        self.model.optimizer.build(self.model.trainable_variables)
        self._step = tf.function(self._update)

    def step(self, tokens: task.Tokens) -> None:
        self._step(tf.constant(tokens))

    def loss(self, tokens: task.Tokens) -> float:
        return float(self._loss(tf.constant(tokens)))

    def _loss(self, tokens: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self.model(tokens[:, :-1], training=True), tf.float32)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[:, 1:], logits))

    def _update(self, tokens: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = self._loss(tokens)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # An embedding's gradient is sparse, which the generated optimizers do not take yet.
        self.model.optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)

    def save(self, path: Path) -> None:
        task.write_whole(path, self.model.save)

    def load(self, path: Path) -> int:
        self.model = keras.models.load_model(path)
        self._step = tf.function(self._update)
        return int(self.model.optimizer.iterations)

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        for variable in (*self.model.variables, *self.model.optimizer.variables):
            yield np.asarray(variable.value)
