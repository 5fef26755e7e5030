"""A rule on two functions of the plane, beside others tuned alike: an illustration, not a ranking.

The budget is the same for every rule: each learning rate of `RATES` once from each start, for `STEPS` steps; the one
with the lowest mean of the last values is shown. All other hyperparameters have the rule's defaults. A rule without a
learning rate is run as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optloom.spec.rule import Rule

from ..compiler import frozen
from ..discovery import discover
from ..ir.nodes import Program
from ..trajectories import generated_class

Point = NDArray[np.float64]

STEPS = 100
SEEDS = (3, 4)
RATES = tuple(10 ** (exponent / 2) for exponent in range(-8, 1))
BESIDE = tuple((Path(__file__).parent / "beside.txt").read_text(encoding="utf-8").split())
"""The rules that every other is shown beside."""
RATE = "learning_rate"


@dataclass(frozen=True)
class Landscape:
    """A function of the plane: its values, gradient and Hessian's diagonal, its lowest point, and what is shown of it.

    `levels`: of the contours, relative to the lowest value. `box`: the ranges of x and of y.
    """

    name: str
    value: Callable[[Any, Any], Any]
    gradient: Callable[[Point], Point]
    curvature: Callable[[Point], Point]
    lowest: tuple[float, float]
    box: tuple[tuple[float, float], tuple[float, float]]
    levels: Sequence[float]

    def start(self, seed: int) -> Point:
        """A point of the box, not at its edge."""
        low, high = np.array(self.box).T
        share: Point = np.random.default_rng(seed).uniform(0.1, 0.9, 2)
        start: Point = low + share * (high - low)
        return start


@dataclass(frozen=True)
class Run:
    """`rate`: the learning rate that was chosen; None for a rule that has none. `paths`: by seed, (steps + 1, 2)."""

    rule: str
    rate: float | None
    paths: Sequence[Point]

    def values(self, landscape: Landscape) -> list[NDArray[np.float64]]:
        """The function's values along each path."""
        with np.errstate(all="ignore"):
            return [np.asarray(landscape.value(*path.T), np.float64) for path in self.paths]


def _rosenbrock_gradient(p: Point) -> Point:
    x, y = p
    return np.array([2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)])


def _rosenbrock_curvature(p: Point) -> Point:
    x, y = p
    return np.array([2 - 400 * (y - 3 * x * x), 200.0])


LANDSCAPES = (
    Landscape(
        "Rosenbrock",
        lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
        _rosenbrock_gradient,
        _rosenbrock_curvature,
        (1.0, 1.0),
        ((-2.0, 2.0), (-1.0, 3.0)),
        (0.3, 2, 10, 40, 120, 300, 700, 1500),
    ),
    Landscape(
        "Rastrigin",
        lambda x, y: 20 + x * x + y * y - 10 * np.cos(2 * np.pi * x) - 10 * np.cos(2 * np.pi * y),
        lambda p: 2 * p + 20 * np.pi * np.sin(2 * np.pi * p),
        lambda p: 2 + 40 * np.pi**2 * np.cos(2 * np.pi * p),
        (0.0, 0.0),
        ((-4.5, 4.5), (-4.5, 4.5)),
        (8, 20, 36),
    ),
)


def tuned(rule: type[Rule], landscape: Landscape) -> Run:
    """The best of the budget's runs. Raises ValueError where the rule takes no vector of two numbers."""
    made, program = generated_class(rule), frozen(rule)
    has_rate = any(hyper.name == RATE for hyper in program.hypers)
    runs = [
        Run(rule.__name__, rate, [_path(made, program, {RATE: rate} if rate else {}, landscape, s) for s in SEEDS])
        for rate in (RATES if has_rate else (None,))
    ]
    return min(runs, key=lambda run: _last(run, landscape))


@cache
def beside(landscape: Landscape) -> tuple[Run, ...]:
    """The runs of the rules that every other is shown beside."""
    known = discover()
    return tuple(tuned(known[name], landscape) for name in BESIDE)


def _last(run: Run, landscape: Landscape) -> float:
    last = float(np.mean([values[-1] for values in run.values(landscape)]))
    return last if np.isfinite(last) else np.inf


def _path(made: Any, program: Program, numbers: Mapping[str, float], landscape: Landscape, seed: int) -> Point:
    w = landscape.start(seed)
    optimizer = made([w], **numbers)
    path = [w.copy()]
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            extra = {
                source.name: float(landscape.value(*w)) if source.shape == "scalar" else [landscape.curvature(w)]
                for source in program.inputs
            }
            optimizer.step([landscape.gradient(w)], *([extra] if extra else []))
            path.append(w.copy())
    return np.array(path)
