"""Races of Keras optimizers inside `tf.function`: generated and Keras's own."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...bench.protocol import Entry
from ...conformance.protocol import Array


class Contestant:
    def __init__(self, start: list[Array], optimizer: Any) -> None:
        self.variables = [keras.Variable(w, dtype="float32", name=f"w{i}") for i, w in enumerate(start)]
        optimizer.build(self.variables)
        self.call = tf.function(lambda gradients: optimizer.apply(gradients, self.variables))
        self.gradients: list[Any] = []

    def give(self, gradients: list[Array]) -> None:
        self.gradients = [tf.constant(g) for g in gradients]

    def step(self) -> None:
        self.call(self.gradients)

    def weights(self) -> list[Array]:
        return [np.array(w) for w in self.variables]


def contestants(entry: Entry, start: list[Array]) -> Mapping[str, Contestant]:
    return {"function": Contestant(start, entry.load()(**entry.arguments))}
