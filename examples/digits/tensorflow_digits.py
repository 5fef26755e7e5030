"""The digits in TensorFlow, with Keras."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from optloom.generated.tensorflow.adagrad import Adagrad
from optloom.generated.tensorflow.adam import Adam
from optloom.generated.tensorflow.adamax import Adamax
from task import Task, Variant

GENERATED = {"Adam": Adam, "Adamax": Adamax, "Adagrad": Adagrad}
PEERS = {"Adam": keras.optimizers.Adam, "Adamax": keras.optimizers.Adamax, "Adagrad": keras.optimizers.Adagrad}

Make = Callable[[], keras.optimizers.Optimizer]


def optimizer(name: str, variant: Variant) -> Make:
    kind = (GENERATED if variant.generated else PEERS)[name]
    return lambda: kind(**variant.settings(name))


def train(task: Task, make: Make) -> list[float]:
    """The loss over all images before the first update and after each."""
    w1, b1, w2, b2 = variables = [keras.Variable(weights) for weights in task.weights]
    images, labels = tf.constant(task.images), tf.constant(task.labels)
    optimizer = make()
    optimizer.build(variables)

    def loss(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = tf.tanh(images @ w1.value + b1.value) @ w2.value + b2.value
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    @tf.function
    def step(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            batch_loss = loss(tf.gather(images, rows), tf.gather(labels, rows))
        optimizer.apply(tape.gradient(batch_loss, [variable.value for variable in variables]), variables)
        return loss(images, labels)

    return [float(loss(images, labels)), *(float(step(rows)) for rows in tf.constant(task.batches))]
