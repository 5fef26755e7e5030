"""Steps on a CUDA device beside PyTorch's: `make bench-gpu`. Without one everything is counted as skipped.

Every round runs every candidate once, in random order, between events of one stream; figures are medians over rounds of
the ratio within a round. The limit is a copy within the device of as many bytes as the step moves. Prints a table;
writes results/gpu.json.
"""

from __future__ import annotations

import importlib
import json
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results" / "gpu.json"
ROUNDS = 15
SIZES = {"1 of 50M": (1, 50_000_000), "100 of 100k": (100, 100_000), "2000 of 1k": (2000, 1000)}
RULES = {
    "sgd.SGD": (12, "SGD"), "adagrad.Adagrad": (20, "Adagrad"), "adam.Adam": (28, "Adam"), "adamw.AdamW": (28, "AdamW"),
    "lion.Lion": (20, ""), "adamax.Adamax": (28, "Adamax"), "rmsprop.RMSprop": (20, "RMSprop"),
}  # fmt: skip
"""Bytes per parameter that a step must move in float32, counted by hand, and the peer in torch.optim."""

FUSED = {"SGD", "Adagrad", "Adam", "AdamW"}


def optimizer(factory: Any, count: int, size: int, **arguments: Any) -> Callable[[], Any]:
    """The step of an optimizer of its own tensors."""
    params = [torch.randn(size, device="cuda", requires_grad=True) for _ in range(count)]
    for w in params:
        w.grad = torch.randn_like(w)
    step: Callable[[], Any] = factory(params, lr=1e-3, **arguments).step
    return step


def milliseconds(work: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def rounds(candidates: dict[str, Callable[[], Any]]) -> list[dict[str, float]]:
    for work in candidates.values():
        for _ in range(3):
            work()
    found = []
    for _ in range(ROUNDS):
        names = random.sample(list(candidates), len(candidates))
        found.append({name: milliseconds(candidates[name]) for name in names})
    return found


def figures(rule: str, count: int, size: int) -> dict[str, float]:
    """Ours in milliseconds; the limit's share of it; the peer's time in units of ours."""
    module, name = rule.split(".")
    moved, peer = RULES[rule]
    ours = getattr(importlib.import_module(f"optloom.generated.pytorch.{module}"), name)
    source = torch.empty(count * size * moved // 8, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    candidates = {"ours": optimizer(ours, count, size, fused=True), "limit": lambda: target.copy_(source)}
    if peer:
        way = {"fused": True} if peer in FUSED else {"foreach": True}
        candidates["peer"] = optimizer(getattr(torch.optim, peer), count, size, **way)
    found = rounds(candidates)
    ratios = {name: statistics.median(each[name] / each["ours"] for each in found) for name in candidates}
    return {"milliseconds": statistics.median(each["ours"] for each in found), **ratios}


def main() -> int:
    if not torch.cuda.is_available():
        skipped = len(RULES) * len(SIZES)
        print(json.dumps({"gpu": None, "measured": 0, "skipped": skipped}))
        print(f"no CUDA device: 0 measured, {skipped} skipped ({len(RULES)} rules at {len(SIZES)} sizes)")
        return 0
    results: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "rounds": ROUNDS, "figures": {}}
    for rule in RULES:
        for label, (count, size) in SIZES.items():
            found = figures(rule, count, size)
            results["figures"][f"{rule}, {label}"] = found
            print(f"{rule:<20}{label:<14}" + "  ".join(f"{name} {value:.3f}" for name, value in found.items()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
