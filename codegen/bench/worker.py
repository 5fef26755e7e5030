"""The process that races one target's optimizers: `python -m optloom.codegen.bench.worker TARGET`.

It reads pickled races from its standard input, and writes one pickled outcome for each to its standard output.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..conformance.protocol import Array
from .protocol import Contestant, Outcome, Race

SHAPE, STEPS = (32, 48), 10
WORKLOADS: Mapping[str, tuple[int, int]] = {"one of 1M": (1, 1 << 20), "50 of 1k": (50, 1000)}
ROUNDS, LEAST = 9, 0.01
"""Rounds in which all have their turn, and the seconds that a turn lasts at least."""


def gradients(step: int) -> Array:
    """Of many sizes, the same for everyone."""
    rng = np.random.default_rng(step)
    made: Array = (rng.normal(size=SHAPE) * np.exp(rng.normal(-3, 2, SHAPE))).astype(np.float32)
    return made


def hold(race: Race, build: Any) -> Outcome:
    """Runs one race; an optimizer that does not run is told of, and left out."""
    failed: dict[str, str] = {}
    weights: dict[tuple[str, str], Array] = {}
    seconds: dict[str, dict[tuple[str, str], list[float]]] = {}
    for (path, way), one in _built(race, build, [np.zeros(SHAPE, np.float32)], failed).items():
        for step in range(STEPS):
            one.give([gradients(step)])
            one.step()
        weights[path, way] = one.weights()[0]
    for name, (count, size) in WORKLOADS.items():
        start = [np.full((size // 40, 40), 0.5, np.float32) for _ in range(count)]
        contestants = _built(race, build, start, failed)
        for one in contestants.values():
            one.give([np.full_like(w, 1e-3) for w in start])
        seconds[name] = _timed(contestants)
    return Outcome(weights, seconds, failed)


def _built(race: Race, build: Any, start: list[Array], failed: dict[str, str]) -> dict[tuple[str, str], Contestant]:
    found: dict[tuple[str, str], Contestant] = {}
    for entry in (race.generated, *race.peers):
        try:
            found |= {(entry.path, way): one for way, one in build(entry, start).items()}
        except Exception as error:
            failed[entry.path] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return found


def _timed(contestants: Mapping[tuple[str, str], Contestant]) -> dict[tuple[str, str], list[float]]:
    """Seconds per step, round by round; all take their turns within each round."""
    repeats = {}
    for key, one in contestants.items():
        one.step()
        one.step()
        start = time.perf_counter()
        one.step()
        repeats[key] = max(1, int(LEAST / max(time.perf_counter() - start, 1e-9)))
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    for _ in range(ROUNDS):
        for key, one in contestants.items():
            start = time.perf_counter()
            for _ in range(repeats[key]):
                one.step()
            seconds[key].append((time.perf_counter() - start) / repeats[key])
    return seconds


def main() -> None:
    """Takes the pipes for itself, and points standard output at standard error for everybody else."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    build = importlib.import_module(f"optloom.codegen.targets.{sys.argv[1]}.contestants").contestants
    while True:
        try:
            race: Race = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(hold(race, build), replies)
        replies.flush()


if __name__ == "__main__":
    main()
