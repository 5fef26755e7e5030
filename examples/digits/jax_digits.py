"""The digits in JAX, with optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optloom.generated.jax.adagrad import adagrad_step
from optloom.generated.jax.adam import adam_step
from optloom.generated.jax.adamax import adamax_step
from task import Task, Variant

GENERATED = {"Adam": adam_step, "Adamax": adamax_step, "Adagrad": adagrad_step}
PEERS = {"Adam": optax.adam, "Adamax": optax.adamax, "Adagrad": optax.adagrad}
RENAMED = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps"}

Step = tuple[Callable[[Any], Any], Callable[[Any, Any, Any], tuple[Any, Any]]]
Make = Callable[[], Step]


def optimizer(name: str, variant: Variant) -> Make:
    settings = {RENAMED.get(key, key): value for key, value in variant.settings(name).items()}
    if variant.generated:
        return lambda: GENERATED[name](**settings)
    return lambda: as_step(PEERS[name](**settings))


def as_step(peer: optax.GradientTransformation) -> Step:
    """An optax transformation in the form of the generated optimizers' `init` and `step(params, grads, state)`."""

    def step(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = peer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return peer.init, step


def train(task: Task, make: Make) -> list[float]:
    """The loss over all images before the first update and after each."""
    params = [jnp.asarray(weights) for weights in task.weights]
    images, labels = jnp.asarray(task.images), jnp.asarray(task.labels)
    init, update = make()

    def loss(params: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
        w1, b1, w2, b2 = params
        logits = jnp.tanh(images @ w1 + b1) @ w2 + b2
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params: list[jax.Array], state: Any, rows: jax.Array) -> tuple[list[jax.Array], Any, jax.Array]:
        grads = jax.grad(loss)(params, images[rows], labels[rows])
        params, state = update(params, grads, state)
        return params, state, loss(params, images, labels)

    state = init(params)
    losses = [float(loss(params, images, labels))]
    for rows in task.batches:
        params, state, whole_loss = step(params, state, rows)
        losses.append(float(whole_loss))
    return losses
