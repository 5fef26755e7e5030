"""What moves: a small network for scikit-learn's digits, its batches, a recorded run, and where state and weights lie.

Weights are named and laid out as in Keras here, and in every file between two legs but the states of PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

FRAMEWORKS = ("tensorflow", "pytorch", "jax")
"""In the order of the journey."""
RULES: dict[str, dict[str, float]] = {
    "Adam": {"learning_rate": 0.01},
    "Adam with stages": {
        "learning_rate": 0.01,
        "clipvalue": 0.02,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.9,
    },
    "Adamax": {"learning_rate": 0.01},
    "Adagrad": {"learning_rate": 0.1},
    "SGD": {"learning_rate": 0.1, "momentum": 0.9},
}
"""What is run, the rule's class first, with its numbers."""
SHAPES = {"hidden/kernel": (16, 6), "hidden/bias": (6,), "output/kernel": (6, 10), "output/bias": (10,)}
STEPS = 24
BATCH = 64
SEED = 1964
RECORDING = Path(__file__).with_name("recording.txt")

Arrays = dict[str, NDArray[np.float32]]


def class_of(rule: str) -> str:
    """The class that a key of RULES is run with."""
    return rule.partition(" ")[0]


def start() -> Arrays:
    """The weights that every run starts from."""
    rng = np.random.default_rng(SEED)
    return {
        name: (rng.normal(0, shape[0] ** -0.5, shape) if len(shape) == 2 else np.zeros(shape)).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def batches() -> list[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """Images (BATCH, 16), means over 2 by 2 pixels in [0, 1], and labels, for each step."""
    digits = load_digits()
    images = (digits.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 16).reshape(-1, 16).astype(np.float32)
    rng = np.random.default_rng(SEED)
    rows = [rng.choice(len(images), BATCH, replace=False) for _ in range(STEPS)]
    return [(images[row], digits.target[row].astype(np.int32)) for row in rows]


def recorded() -> list[Arrays]:
    """The gradients of each step of the recorded run, exactly."""
    steps: list[Arrays] = [{} for _ in range(STEPS)]
    for line in RECORDING.read_text().splitlines():
        step, name, *numbers = line.split()
        steps[int(step)][name] = np.array([*map(float.fromhex, numbers)], np.float32).reshape(SHAPES[name])
    return steps


def recording_of(steps: list[Arrays]) -> Iterator[str]:
    """The lines of the file: step, name, hexadecimal floats."""
    for step, gradients in enumerate(steps):
        for name, array in gradients.items():
            yield " ".join((str(step), name, *(float(x).hex() for x in array.ravel())))


def digest(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """SHA-256 of names, dtypes, shapes and bits."""
    made = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        made.update(f"{name} {array.dtype.name} {array.shape} ".encode())
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()
