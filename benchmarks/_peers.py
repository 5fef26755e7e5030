"""One Adam step of the hand-written peers, from a given state. Each framework is run in a process of its own.

Run as `python benchmarks/_peers.py FRAMEWORK`, with a pickled Request on standard input; writes the pickled parameters.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

FRAMEWORKS = {"torch.optim.Adam": "torch", "keras.optimizers.Adam": "keras", "optax.adam": "optax"}
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class Request:
    """One step at each of `steps` (and on, for `calls` calls) of float arrays `w`, `g`, `m`, `v`, cast to `dtype`.

    `as_shipped`: with the peer's own defaults, epsilon above all.
    """

    dtype: str
    steps: tuple[int, ...]
    w: np.ndarray
    g: np.ndarray
    m: np.ndarray
    v: np.ndarray
    calls: int = 1
    as_shipped: bool = False

    @property
    def arguments(self) -> tuple[float, ...]:
        """Of the peer's constructor: all of ours, or none."""
        return () if self.as_shipped else (LEARNING_RATE, BETA_1, BETA_2, EPSILON)


def run(peer: str, request: Request) -> list[np.ndarray]:
    """The parameters, as float64, after the calls from each of the request's steps."""
    command = [sys.executable, __file__, FRAMEWORKS[peer]]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, input=pickle.dumps(request), capture_output=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{peer}:\n{done.stderr.decode()}")
    found: list[np.ndarray] = pickle.loads(done.stdout)
    return found


def exact_step(peer: str, request: Request, t: int) -> list[mpmath.mpf]:
    """One step by the peer's own formula, at 50 digits: epsilon is Keras's "epsilon hat", or the textbook's."""
    mp = mpmath.mp.clone()
    mp.dps = 50
    lr, b1, b2, eps = (mp.mpf(x) for x in (LEARNING_RATE, BETA_1, BETA_2, EPSILON))
    c1, c2 = 1 - b1**t, 1 - b2**t
    steps = []
    for w, g, m, v in zip(
        *(map(mp.mpf, x.tolist()) for x in (request.w, request.g, request.m, request.v)), strict=True
    ):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        is_hat = FRAMEWORKS[peer] == "keras"
        steps.append(
            w - (lr * mp.sqrt(c2) / c1 * m / (mp.sqrt(v) + eps) if is_hat else lr * m / c1 / (mp.sqrt(v / c2) + eps))
        )
    return steps


def _torch(request: Request) -> list[np.ndarray]:
    import torch

    dtype = getattr(torch, request.dtype)
    found = []
    for t in request.steps:
        w = torch.nn.Parameter(torch.tensor(request.w).to(dtype))
        lr, beta_1, beta_2, eps = request.arguments or (LEARNING_RATE, BETA_1, BETA_2, 1e-8)
        optimizer = torch.optim.Adam([w], lr, (beta_1, beta_2), eps)
        optimizer.state[w] = {
            "step": torch.tensor(float(t - 1)),
            "exp_avg": torch.tensor(request.m).to(dtype),
            "exp_avg_sq": torch.tensor(request.v).to(dtype),
        }
        w.grad = torch.tensor(request.g).to(dtype)
        for _ in range(request.calls):
            optimizer.step()
        found.append(w.detach().double().numpy())
    return found


def _keras(request: Request) -> list[np.ndarray]:
    import keras
    import tensorflow as tf

    found = []
    for t in request.steps:
        w = keras.Variable(request.w, dtype=request.dtype)
        optimizer = keras.optimizers.Adam(*request.arguments)
        optimizer.build([w])
        optimizer._iterations.assign(t - 1)
        optimizer._momentums[0].assign(tf.cast(request.m, request.dtype))
        optimizer._velocities[0].assign(tf.cast(request.v, request.dtype))
        for _ in range(request.calls):
            optimizer.apply([tf.cast(request.g, request.dtype)], [w])
        found.append(tf.cast(w.value, "float64").numpy())
    return found


def _optax(request: Request) -> list[np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", request.dtype == "float64")
    import jax.numpy as jnp
    import optax

    transformation = optax.adam(*(request.arguments or (LEARNING_RATE,)))

    @jax.jit
    def call(w: Any, g: Any, state: Any) -> tuple[Any, Any]:
        updates, state = transformation.update(g, state, w)
        return optax.apply_updates(w, updates), state

    found = []
    for t in request.steps:
        w, g, m, v = (jnp.asarray(x).astype(request.dtype) for x in (request.w, request.g, request.m, request.v))
        adam, *rest = transformation.init(w)
        state = (adam._replace(count=jnp.int32(t - 1), mu=m, nu=v), *rest)
        for _ in range(request.calls):
            w, state = call(w, g, state)
        found.append(np.asarray(w.astype("float64" if request.dtype == "float64" else "float32"), np.float64))
    return found


if __name__ == "__main__":
    answer = {"torch": _torch, "keras": _keras, "optax": _optax}[sys.argv[1]](pickle.load(sys.stdin.buffer))
    sys.stdout.buffer.write(pickle.dumps(answer))
