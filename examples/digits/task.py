"""What all three frameworks train: scikit-learn's digits, one network's weights, the batches, the settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

FRAMEWORKS = ("pytorch", "tensorflow", "jax")
HIDDEN = 32
BATCH = 64
SEED = 2015

SETTINGS: dict[str, dict[str, float]] = {
    "Adam": {"learning_rate": 0.005, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3},
    "Adamax": {"learning_rate": 0.005, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3},
    "Adagrad": {"learning_rate": 0.05, "initial_accumulator_value": 0.0, "epsilon": 1e-3},
}
"""By optimizer, in the rules' own names. The epsilons are of a size that people set for noisy gradients."""


@dataclass(frozen=True)
class Variant:
    """One way to make the optimizers: whose they are, and whether all settings are given or the learning rate alone."""

    label: str
    generated: bool
    all_settings: bool

    def settings(self, optimizer: str) -> dict[str, float]:
        given = SETTINGS[optimizer]
        return given if self.all_settings else {"learning_rate": given["learning_rate"]}


VARIANTS = (
    Variant("generated", generated=True, all_settings=True),
    Variant("peers", generated=False, all_settings=True),
    Variant("generated, as shipped", generated=True, all_settings=False),
    Variant("peers, as shipped", generated=False, all_settings=False),
)


@dataclass(frozen=True)
class Task:
    """Images (n, 64) in [0, 1], labels (n,), the rows of each step's batch, and the network to start from.

    The network is `tanh(x @ w1 + b1) @ w2 + b2`, all of it float32; the loss is the mean cross entropy.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    batches: NDArray[np.int32]
    weights: tuple[NDArray[np.float32], ...]


def make_task(steps: int) -> Task:
    """The same for the same number of steps, whichever process asks."""
    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    rng = np.random.default_rng(SEED)
    weights = (*_layer(rng, images.shape[1], HIDDEN), *_layer(rng, HIDDEN, 10))
    batches = np.stack([rng.choice(len(images), BATCH, replace=False) for _ in range(steps)]).astype(np.int32)
    return Task(images, digits.target.astype(np.int32), batches, weights)


def _layer(rng: np.random.Generator, inputs: int, outputs: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    kernel = rng.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
    return kernel, np.zeros(outputs, np.float32)
