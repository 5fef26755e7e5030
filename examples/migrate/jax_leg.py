"""A leg of the journey in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from task import SHAPES, Arrays


def tree(arrays: Arrays) -> Any:
    """`hidden/kernel` as the leaf `kernel` of the layer `hidden`."""
    made: dict[str, dict[str, jax.Array]] = {}
    for name, array in arrays.items():
        layer, _, part = name.partition("/")
        made.setdefault(layer, {})[part] = jnp.asarray(array)
    return made


def loss_of(params: Any, images: Any, labels: Any) -> jax.Array:
    hidden = jnp.tanh(images @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    logits = hidden @ params["output"]["kernel"] + params["output"]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class Leg:
    def __init__(self, module: Any, rule: str, hypers: dict[str, float], weights: Arrays, state: Arrays | None) -> None:
        self.module = module
        self.params = tree(weights)
        self.optimizer = getattr(module, f"{rule.lower()}_step")(**hypers)
        self.own_state = self.optimizer.init(self.params)
        if state:
            self.own_state = module.import_state(self.own_state, state)

    def gradients(self, images: Any, labels: Any) -> tuple[float, Arrays]:
        """The loss of a batch, and its gradients."""
        loss, found = jax.value_and_grad(loss_of)(self.params, images, labels)
        return float(loss), self.flat(found)

    def step(self, gradients: Arrays) -> None:
        self.params, self.own_state = self.optimizer.step(self.params, tree(gradients), self.own_state)

    @staticmethod
    def flat(params: Any) -> Arrays:
        return {name: np.array(params[layer][part]) for name in SHAPES for layer, part in [name.split("/")]}

    def weights(self) -> Arrays:
        return self.flat(self.params)

    def state(self) -> Arrays:
        return self.module.export_state(self.own_state)
