"""What all frameworks train on: the text of Python's own help topics, and a small transformer's sizes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FRAMEWORKS = ("pytorch", "tensorflow", "jax")
DTYPES = ("float32", "bfloat16")
OPTIMIZERS = ("adam", "adamw")
WIDTH, HEADS, BLOCKS = 64, 4, 2
CONTEXT, BATCH = 48, 8
LEARNING_RATE = 3e-3
SEED = 2014

Tokens = NDArray[np.int32]


class Training(Protocol):
    """A model and its optimizer. Tokens are of shape (batch, CONTEXT + 1): each predicts the one after it."""

    def step(self, tokens: Tokens) -> None:
        """One update."""

    def loss(self, tokens: Tokens) -> float:
        """Nats per character."""

    def save(self, path: Path) -> None:
        """Writes all that `load` needs to go on as if nothing had happened, by the framework's own means."""

    def load(self, path: Path) -> int:
        """Takes up what `save` wrote. Returns the number of updates made before."""

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        """The weights and the optimizer's state, in one order."""


@cache
def text() -> tuple[str, Tokens]:
    """The characters that occur, and the whole text as indices into them."""
    whole = "\n".join(topics[name] for name in sorted(topics))
    alphabet = "".join(sorted(set(whole)))
    index = {character: i for i, character in enumerate(alphabet)}
    return alphabet, np.array([index[character] for character in whole], np.int32)


def characters() -> int:
    return len(text()[0])


def batch(step: int) -> Tokens:
    """The tokens of one step: they depend on its number alone, so that nothing of them need be saved."""
    rng = np.random.default_rng([SEED, step])
    return windows(rng.integers(0, training_length(), BATCH))


def held_out() -> Tokens:
    """64 windows that no batch has."""
    return windows(np.linspace(training_length() + CONTEXT, len(text()[1]) - CONTEXT - 1, 64).astype(int))


def training_length() -> int:
    return len(text()[1]) * 9 // 10


def windows(starts: Iterable[int]) -> Tokens:
    tokens = text()[1]
    return np.stack([tokens[start : start + CONTEXT + 1] for start in starts])


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`path` as `write` makes it, or as it was: a process killed meanwhile leaves no half of a file there."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    write(unfinished)
    os.replace(unfinished, path)


def digest(arrays: Iterable[NDArray[np.generic]]) -> str:
    """SHA-256 of the arrays' dtypes, shapes and bits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
