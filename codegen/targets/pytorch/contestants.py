"""Races of PyTorch optimizers, generated and its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...bench.protocol import Entry
from ...conformance.protocol import Array

WAYS: Mapping[str, Mapping[str, bool]] = {"eager": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


class Contestant:
    def __init__(self, parameters: list[torch.nn.Parameter], optimizer: Any) -> None:
        self.parameters, self.optimizer = parameters, optimizer

    def give(self, gradients: list[Array]) -> None:
        for w, g in zip(self.parameters, gradients, strict=True):
            w.grad = torch.from_numpy(g.copy())

    def step(self) -> None:
        self.optimizer.step()

    def weights(self) -> list[Array]:
        return [w.detach().numpy() for w in self.parameters]


def contestants(entry: Entry, start: list[Array]) -> Mapping[str, Contestant]:
    """Eagerly as it comes, and in those ways that the class takes and can run here."""
    made, found = entry.load(), {}
    taken = inspect.signature(made).parameters
    for way, ways in WAYS.items():
        if set(ways) <= set(taken):
            arguments = {**entry.arguments, **ways}
            try:
                trial = _made(made, start, arguments)
                trial.give([np.zeros_like(w) for w in start])
                trial.step()
            except (NotImplementedError, RuntimeError):
                if not ways:
                    raise
                continue
            found[way] = _made(made, start, arguments)
    return found


def _made(kind: Any, start: list[Array], arguments: Mapping[str, Any]) -> Contestant:
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    return Contestant(parameters, kind(parameters, **arguments))
