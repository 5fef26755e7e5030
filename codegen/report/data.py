"""What `optloom conform --json` wrote, read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NEWEST = 2
"""The newest schema that is read; 1 lacks histograms and the worst elements' inputs."""
KINDS = ("FAIL", "DEV", "FTZ", "BOUND", "BIT", "SKIP")
"""Classes, the one to look at first in front."""
DTYPES = ("float16", "bfloat16", "float32", "float64")


class ReportError(Exception):
    """A file that is no report of the suite, or one that does not go with the others."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `ratio`: the worst error over its bound, infinite where no bound holds. `worst`: as in the JSON."""

    rule: str
    variant: str
    target: str
    mode: str
    numerics: str
    dtype: str
    part: str
    kind: str
    ratio: float
    median_error: float
    median_bound: float
    elements: int
    digest: str
    note: str
    complaints: Sequence[str]
    histogram: Mapping[str, int]
    worst: Mapping[str, Any] | None

    @property
    def id(self) -> str:
        return "/".join((self.rule, self.variant, self.target, self.mode, self.numerics, self.dtype, self.part))


@dataclass(frozen=True)
class Conformance:
    """One run of the suite, or several of different targets. `extent`: how much was run; empty if it is not known."""

    cells: Sequence[Cell]
    corpus: str
    extent: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    stale: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        return bool(self.cells) and not self.stale and all(cell.kind != "FAIL" for cell in self.cells)

    @property
    def rules(self) -> list[str]:
        return sorted({cell.rule for cell in self.cells})

    @property
    def targets(self) -> list[str]:
        return sorted({cell.target for cell in self.cells} | set(self.missing))

    def counts(self) -> dict[str, int]:
        """How many cells of each class there are, in the order of `KINDS`."""
        counted = Counter(cell.kind for cell in self.cells)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def command(self, cell: Cell) -> str:
        """What runs a cell again."""
        extent = f" --{self.extent}" if self.extent in ("quick", "stages") else ""
        return f"optloom conform {cell.rule} -t {cell.target} -d {cell.dtype} --numerics {cell.numerics}{extent}"


def load(paths: Sequence[Path]) -> Conformance:
    """The reports of `paths` as one. Raises ReportError, and OSError for a file that cannot be read."""
    cells: dict[str, Cell] = {}
    corpora, extents, stale = set(), set(), list[str]()
    missing: dict[str, str] = {}
    for path in paths:
        plain = _read(path)
        for made in (_cell(entry, path) for entry in plain["cells"]):
            if made.id in cells and cells[made.id] != made:
                raise ReportError(f"{path}: the cell {made.id} is in another file too, and another one there")
            cells[made.id] = made
        corpora.add(plain["corpus"])
        extents.add(plain.get("extent", ""))
        missing |= plain.get("missing", {})
        stale += [sentence for sentence in plain.get("stale_deviations", []) if sentence not in stale]
    if len(corpora) > 1:
        raise ReportError(f"{', '.join(map(str, paths))}: these runs had different corpora")
    extent = extents.pop() if len(extents) == 1 else ""
    return Conformance([cells[key] for key in sorted(cells)], "".join(corpora), extent, missing, stale)


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReportError(f"{path}: no JSON: {error}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("schema"), int) or "cells" not in plain:
        raise ReportError(f"{path}: no report of the suite; `optloom conform --json > {path.name}` writes one")
    if plain["schema"] > NEWEST:
        raise ReportError(f"{path}: schema {plain['schema']} is newer than this optloom, which reads {NEWEST}")
    return plain


def _cell(entry: Mapping[str, Any], path: Path) -> Cell:
    try:
        rule, variant, target, mode, numerics, dtype, part = entry["id"].split("/")
        ratio = entry["ratio"]
        return Cell(
            rule, variant, target, mode, numerics, dtype, part, entry["class"],
            float("inf") if ratio is None else ratio,
            entry["median_error_ulp"], entry["median_bound_ulp"], entry["elements"], entry["digest"], entry["note"],
            entry["complaints"], entry.get("histogram", {}), entry["worst"],
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        name = entry.get("id") if isinstance(entry, dict) else entry
        raise ReportError(f"{path}: the cell {name!r} cannot be read: {error}") from error
