"""Races of the generated NumPy optimizers; they have no peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...bench.protocol import Entry
from ...conformance.protocol import Array


class Contestant:
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.gradients: list[Array] = []

    def give(self, gradients: list[Array]) -> None:
        self.gradients = gradients

    def step(self) -> None:
        self.optimizer.step(self.gradients)

    def weights(self) -> list[Array]:
        return list(self.optimizer.params)


def contestants(entry: Entry, start: list[Array]) -> Mapping[str, Contestant]:
    return {"plain": Contestant(entry.load()([w.copy() for w in start], **entry.arguments))}
