"""The tables of results.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from task import STEPS


def is_one(results: dict[str, Any]) -> bool:
    """Whether every rule ends in the same bits on every way."""
    return all(digests == next(iter(results["digests"].values())) for digests in results["digests"].values())


def markdown(results: dict[str, Any]) -> str:
    ways = list(results["digests"])
    rules = list(results["digests"][ways[0]])
    bits = [[rule, *(results["digests"][way][rule][:16] for way in ways)] for rule in rules]
    losses = []
    for rule in rules:
        first, *last = results["losses"][ways[0]][rule][0], *(results["losses"][way][rule][-1] for way in ways)
        ends = [f"{loss:.7f}" for loss in last]
        losses.append([rule, f"{first:.4f}", *ends, f"{_spread(results['losses'], rule):.1e}"])
    return "\n".join(
        [
            f"SHA-256 of weights, slots and counters after {STEPS} steps with the recorded gradients:", "",
            *_table(["", *ways], bits), "",
            f"Loss of the first batch and of batch {STEPS}, with each framework's own gradients, and the greatest",
            "distance between the ways at any step, as a share of the loss:", "",
            *_table(["", "first", *ways, "distance"], losses), "",
        ]
    )  # fmt: skip


def _spread(losses: dict[str, dict[str, list[float]]], rule: str) -> float:
    steps = zip(*(way[rule] for way in losses.values()), strict=True)
    return max((max(step) - min(step)) / max(step) for step in steps)


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
