"""What the runs gave, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TITLES = {"pytorch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX"}
COLUMNS = (
    "framework", "dtype", "optimizer", "loss at start", "at end", "killed in step", "resumed from",
    "SHA-256 uninterrupted", "SHA-256 resumed", "equal",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Losses in nats per character of held-out text; SHA-256 of the weights and the optimizer's state."""

    framework: str
    dtype: str
    optimizer: str
    steps: int
    loss_at_start: float
    loss_at_end: float
    killed_in: int
    resumed_from: int
    uninterrupted: str
    resumed: str

    @property
    def equal(self) -> bool:
        return self.uninterrupted == self.resumed


def markdown(results: Sequence[Result]) -> str:
    return "\n".join(["# Text: killed and resumed\n", *_table(results)])


def _table(results: Iterable[Result]) -> Iterator[str]:
    yield _row(COLUMNS)
    yield _row(["---"] * len(COLUMNS))
    for result in results:
        yield _row([
            TITLES[result.framework],
            result.dtype,
            result.optimizer,
            f"{result.loss_at_start:.3f}",
            f"{result.loss_at_end:.3f}",
            f"{result.killed_in} of {result.steps}",
            str(result.resumed_from),
            f"`{result.uninterrupted[:16]}`",
            f"`{result.resumed[:16]}`",
            "yes" if result.equal else "NO",
        ])  # fmt: skip


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(results: Sequence[Result], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(markdown(results) + "\n")
    (folder / "results.json").write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
