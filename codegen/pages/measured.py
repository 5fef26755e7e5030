"""What was measured, as the repository keeps it in `benchmarks/results/`: the pages show it, and measure nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import optloom.codegen

CONFORMANCE, BENCH = "conformance.json", "rules.json"


@dataclass(frozen=True)
class Measured:
    """`conformance`: by rule and target, what `optloom report --summary` wrote. `bench`: by rule, what
    `optloom bench --json` wrote. `machine`: where the latter ran. All empty where nothing was measured."""

    conformance: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    extent: str = ""
    bench: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)


@cache
def measured() -> Measured:
    """What the checkout holds; nothing where optloom is installed."""
    folder = Path(next(iter(optloom.codegen.__path__))).resolve().parent / "benchmarks" / "results"
    cells, raced = _read(folder / CONFORMANCE), _read(folder / BENCH)
    return Measured(cells.get("rules", {}), cells.get("extent", ""), raced.get("rules", {}), raced.get("machine", {}))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
