"""Steps of Keras's optimizers in `tf.function`, which benchmarks/step.py times."""

from __future__ import annotations

from typing import Any

import numpy as np
from _whole_steps import Step, WholeStep

COMPILED_BY_XLA = 100
"""The most tensors that XLA is given: it takes minutes to compile a step over thousands."""


def adam(count: int, size: int) -> dict[str, Step]:
    """Fused, beside Keras's own with XLA and without."""
    import keras
    import tensorflow as tf
    from optloom.generated.tensorflow.adam import Adam

    def stepped(optimizer: Any, jit_compile: bool = False) -> Step:
        variables = [keras.Variable(np.full(size, 0.5, np.float32)) for _ in range(count)]
        gradients = [tf.fill([size], 0.01) for _ in range(count)]
        optimizer.build(variables)
        return tf.function(lambda: optimizer.apply(gradients, variables), jit_compile=jit_compile)

    made = {"ours": stepped(Adam(fused=True)), "keras": stepped(keras.optimizers.Adam())}
    return made | ({"keras, XLA": stepped(keras.optimizers.Adam(), True)} if count <= COMPILED_BY_XLA else {})


IN_KERAS = (WholeStep("Adam, Keras", 28, adam),)
