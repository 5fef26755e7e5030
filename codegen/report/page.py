"""The page: one HTML file with its data, style and script in it. It loads nothing."""

from __future__ import annotations

import html as markup
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data import DTYPES, KINDS, Cell, Conformance

FOLDER = Path(__file__).parent / "page"
MEANINGS = {
    "FAIL": "not what it should be",
    "DEV": "another number, for a reason that is listed",
    "FTZ": "right, if subnormal numbers are flushed to zero",
    "BOUND": "within the error bound",
    "BIT": "within the bound, and the reference's bits",
    "SKIP": "not in this target",
}
SYMBOLS = {"FAIL": "✕", "DEV": "◇", "FTZ": "▽", "BOUND": "◐", "BIT": "●", "SKIP": "–"}  # noqa: RUF001
"""A sign beside each colour, so that nobody needs the colour."""


def html(run: Conformance) -> str:
    """The whole page as text."""
    data = json.dumps(_data(run), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "STYLE": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "VERDICT": markup.escape("passed" if run.passed else "failed" if run.cells else "judged nothing"),
        "DATA": data,
    }
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part, 1)
    return text


class _Once:
    """Values, each of them once: a call gives the place of one."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def __call__(self, value: Any) -> int:
        place = self._places.setdefault(json.dumps(value, allow_nan=False), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def _data(run: Conformance) -> dict[str, Any]:
    """What the script reads: cells as rows; of what many share, their place in a list."""
    text, histogram, worst = _Once(), _Once(), _Once()
    rows = [_row(run, cell, text, histogram, worst) for cell in run.cells]
    return {
        "passed": run.passed,
        "corpus": run.corpus,
        "extent": run.extent,
        "kinds": [[kind, SYMBOLS[kind], MEANINGS[kind]] for kind in KINDS],
        "dtypes": [dtype for dtype in DTYPES if any(cell.dtype == dtype for cell in run.cells)],
        "rules": run.rules,
        "targets": run.targets,
        "missing": dict(run.missing),
        "stale": list(run.stale),
        "cells": rows,
        "texts": text.values,
        "histograms": histogram.values,
        "worst": worst.values,
    }


def _row(run: Conformance, cell: Cell, text: _Once, histogram: _Once, worst: _Once) -> list[Any]:
    note = "\n".join([cell.note, *cell.complaints]).strip()
    names = (cell.rule, cell.variant, cell.target, cell.mode, cell.numerics, cell.dtype, cell.part, cell.kind)
    ratio = round(cell.ratio, 4) if math.isfinite(cell.ratio) else -1
    return [
        *map(text, names), ratio, cell.median_error, cell.median_bound, cell.elements, text(note),
        text(run.command(cell)), histogram([[int(k), n] for k, n in cell.histogram.items()]),
        None if cell.worst is None else worst(_worst(cell.worst, text)),
    ]  # fmt: skip


def _worst(worst: Mapping[str, Any], text: _Once) -> list[Any]:
    """In the order in which the script reads them."""
    settings = {**worst.get("hyperparameters", {}), **worst.get("options", {})}
    return [
        text(worst["element"]), text(worst["output"]), worst["step"], worst["actual"], worst["expected"],
        worst.get("bound"), text(worst.get("part", "")), text(worst.get("numbers", "")), worst.get("inputs", {}),
        worst.get("shape", []), worst.get("index", []), text(settings),
    ]  # fmt: skip
