"""What the runs gave, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from task import FRAMEWORKS, SETTINGS, VARIANTS, Variant

Losses = dict[str, dict[str, list[float]]]
"""Optimizer -> variant's label -> the loss before the first update and after each, in one framework."""

COLUMNS = 6  # steps shown in a table, after the start
TITLES = {
    ("pytorch", True): "PyTorch, generated",
    ("tensorflow", True): "TensorFlow, generated",
    ("jax", True): "JAX, generated",
    ("pytorch", False): "torch.optim",
    ("tensorflow", False): "keras.optimizers",
    ("jax", False): "optax",
}


@dataclass(frozen=True)
class Results:
    """(optimizer, variant's label) -> the losses of the frameworks, of shape (frameworks, steps + 1)."""

    losses: Mapping[tuple[str, str], NDArray[np.float64]]

    @classmethod
    def of(cls, by_framework: Mapping[str, Losses]) -> Results:
        cells = [(name, label) for name, variants in by_framework[FRAMEWORKS[0]].items() for label in variants]
        return cls(
            {(name, label): np.array([by_framework[f][name][label] for f in FRAMEWORKS]) for name, label in cells}
        )

    @property
    def optimizers(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.losses))

    def spread(self, name: str, variant: Variant) -> NDArray[np.float64]:
        """How far the frameworks are apart at each step: (greatest - least) / mean."""
        losses = self.losses[name, variant.label]
        return np.ptp(losses, axis=0) / losses.mean(axis=0)

    @property
    def shown(self) -> list[int]:
        """The steps that a table shows."""
        last = next(iter(self.losses.values())).shape[1] - 1
        return [round(last * i / COLUMNS) for i in range(COLUMNS + 1)]

    def markdown(self) -> str:
        parts = ["# Digits: the loss over all images\n", *self._spreads()]
        for name in self.optimizers:
            parts += self._losses(name)
        return "\n".join(parts)

    def _spreads(self) -> Iterator[str]:
        yield "How far the three frameworks are apart, (greatest - least) / mean, at the step where it is most:\n"
        yield from table_head("", *(variant.label for variant in VARIANTS))
        for name in self.optimizers:
            yield row(name, *(f"{self.spread(name, variant).max():.1e}" for variant in VARIANTS))

    def _losses(self, name: str) -> Iterator[str]:
        for variant in VARIANTS:
            settings = ", ".join(f"{key}={value:g}" for key, value in variant.settings(name).items())
            yield f"\n## {name}, {variant.label}: {settings}\n"
            yield from table_head("step", *map(str, self.shown))
            for framework, losses in zip(FRAMEWORKS, self.losses[name, variant.label], strict=True):
                yield row(TITLES[framework, variant.generated], *(f"{losses[step]:.7f}" for step in self.shown))

    def json(self) -> str:
        """What the tables hold, with all digits."""
        data = {
            "settings": {name: SETTINGS[name] for name in self.optimizers},
            "steps": self.shown,
            "optimizers": {
                name: {variant.label: self._cell(name, variant) for variant in VARIANTS} for name in self.optimizers
            },
        }
        return json.dumps(data, indent=1) + "\n"

    def _cell(self, name: str, variant: Variant) -> dict[str, object]:
        losses = zip(FRAMEWORKS, self.losses[name, variant.label], strict=True)
        return {
            "greatest spread": self.spread(name, variant).max(),
            "losses": {framework: [values[step] for step in self.shown] for framework, values in losses},
        }

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.md").write_text(self.markdown() + "\n")
        (folder / "results.json").write_text(self.json())


def table_head(*titles: str) -> Iterator[str]:
    yield row(*titles)
    yield row(*("---" if column == 0 else "--:" for column in range(len(titles))))


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
