"""The transformer in JAX, as functions of a dictionary of weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import task
from jax.tree_util import keystr
from numpy.typing import NDArray
from optloom.generated.jax.adam import adam_step
from optloom.generated.jax.adamw import adamw_step

CHECKPOINT = "checkpoint.npz"
OPTIMIZERS = {"adam": adam_step, "adamw": adamw_step}

Weights = dict[str, Any]


def transformer(dtype: str) -> Weights:
    """The weights to start from."""
    rng = np.random.default_rng(task.SEED)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(0, shape[0] ** -0.5, shape), dtype)

    def dense(inputs: int, outputs: int) -> Weights:
        return {"kernel": normal(inputs, outputs), "bias": jnp.zeros(outputs, dtype)}

    def norm() -> Weights:
        return {"scale": jnp.ones(task.WIDTH, dtype), "offset": jnp.zeros(task.WIDTH, dtype)}

    def block() -> Weights:
        return {
            "attention norm": norm(),
            "queries, keys, values": dense(task.WIDTH, 3 * task.WIDTH),
            "attended": dense(task.WIDTH, task.WIDTH),
            "norm": norm(),
            "hidden": dense(task.WIDTH, 4 * task.WIDTH),
            "out": dense(4 * task.WIDTH, task.WIDTH),
        }

    return {
        "characters": normal(task.characters(), task.WIDTH),
        "positions": jnp.zeros((task.CONTEXT, task.WIDTH), dtype),
        "blocks": [block() for _ in range(task.BLOCKS)],
        "norm": norm(),
        "logits": dense(task.WIDTH, task.characters()),
    }


def apply_dense(weights: Weights, x: jax.Array) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"]


def apply_norm(weights: Weights, x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x) * weights["scale"] + weights["offset"]


def apply_block(weights: Weights, x: jax.Array) -> jax.Array:
    heads = apply_dense(weights["queries, keys, values"], apply_norm(weights["attention norm"], x))
    queries, keys, values = jnp.moveaxis(heads.reshape(*x.shape[:2], 3, task.HEADS, -1), 2, 0)
    attended = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    x = x + apply_dense(weights["attended"], attended.reshape(x.shape))
    return x + apply_dense(weights["out"], jax.nn.gelu(apply_dense(weights["hidden"], apply_norm(weights["norm"], x))))


@jax.jit
def loss_of(weights: Weights, tokens: jax.Array) -> jax.Array:
    x = weights["characters"][tokens[:, :-1]] + weights["positions"]
    for block in weights["blocks"]:
        x = apply_block(block, x)
    logits = apply_dense(weights["logits"], apply_norm(weights["norm"], x)).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


class Training:
    def __init__(self, dtype: str, optimizer: str) -> None:
        init, update = OPTIMIZERS[optimizer](learning_rate=task.LEARNING_RATE)
        self.weights = transformer(dtype)
        self.state = init(self.weights)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(weights: Weights, state: Any, tokens: task.Tokens) -> tuple[Weights, Any]:
            return update(weights, jax.grad(loss_of)(weights, tokens), state)

        self._step = step

    def step(self, tokens: task.Tokens) -> None:
        self.weights, self.state = self._step(self.weights, self.state, tokens)

    def loss(self, tokens: task.Tokens) -> float:
        return float(loss_of(self.weights, tokens))

    def save(self, path: Path) -> None:
        task.write_whole(path, self._write)

    def _write(self, path: Path) -> None:
        """An archive of the leaves by their paths, each as its bytes: a .npy file knows no bfloat16."""
        leaves = jax.tree.leaves_with_path((self.weights, self.state))
        as_bytes = {keystr(key): np.frombuffer(leaf.tobytes(), np.uint8) for key, leaf in leaves}
        with path.open("wb") as file:
            np.savez(file, **as_bytes)

    def load(self, path: Path) -> int:
        with np.load(path) as archive:
            self.weights, self.state = jax.tree.map_with_path(
                lambda key, leaf: jnp.asarray(archive[keystr(key)].view(leaf.dtype).reshape(leaf.shape)),
                (self.weights, self.state),
            )
        return int(optax.tree.get(self.state, "count"))

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        yield from map(np.asarray, jax.tree.leaves((self.weights, self.state)))
