"""Races of JAX optimizers under jit, their arguments donated: generated and optax's."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...bench.protocol import Entry
from ...conformance.protocol import Array


class Contestant:
    def __init__(self, start: list[Array], init: Callable[..., Any], call: Callable[..., Any]) -> None:
        self.params = [jnp.asarray(w) for w in start]
        self.state = init(self.params)
        self.call = jax.jit(call, donate_argnums=(0, 2))
        self.grads: list[Any] = []

    def give(self, gradients: list[Array]) -> None:
        self.grads = [jnp.asarray(g) for g in gradients]

    def step(self) -> None:
        self.params, self.state = self.call(self.params, self.grads, self.state)
        for leaf in jax.tree.leaves(self.params):
            leaf.block_until_ready()

    def weights(self) -> list[Array]:
        return [np.asarray(w) for w in self.params]


def contestants(entry: Entry, start: list[Array]) -> Mapping[str, Contestant]:
    """`factory`: the gradient transformation; `step`: the generated step function."""
    transformation = entry.load()(**entry.arguments)

    def apply(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    found = {"factory": Contestant(start, transformation.init, apply)}
    if entry.file:
        init, step = entry.load("_step")(**entry.arguments, fused=False)
        found["step"] = Contestant(start, init, step)
    return found
