"""A leg of the journey in TensorFlow, with layers of Keras."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from task import Arrays


class Leg:
    def __init__(self, module: Any, rule: str, hypers: dict[str, float], weights: Arrays, state: Arrays | None) -> None:
        self.hidden = keras.layers.Dense(6, activation="tanh", name="hidden")
        self.output = keras.layers.Dense(10, name="output")
        self.hidden.build((None, 16))
        self.output.build((None, 6))
        variables = self.hidden.trainable_variables + self.output.trainable_variables
        self.variables = {variable.path: variable for variable in variables}
        for name, variable in self.variables.items():
            variable.assign(weights[name])
        self.optimizer = getattr(module, rule)(**hypers)
        self.optimizer.build(variables)
        if state:
            self.optimizer.import_state(state)

    def gradients(self, images: Any, labels: Any) -> tuple[float, Arrays]:
        """The loss of a batch, and its gradients."""
        with tf.GradientTape() as tape:
            logits = self.output(self.hidden(images))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_mean(losses)
        found = tape.gradient(loss, [variable.value for variable in self.variables.values()])
        return float(loss), {name: g.numpy() for name, g in zip(self.variables, found, strict=True)}

    def step(self, gradients: Arrays) -> None:
        self.optimizer.apply([tf.constant(gradients[name]) for name in self.variables])

    def weights(self) -> Arrays:
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def state(self) -> Arrays:
        return self.optimizer.export_state()
