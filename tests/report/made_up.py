"""Runs of the suite, made up: every class, a cell without bound, and texts that would be markup if they were let."""

from __future__ import annotations

from typing import Any

CLASSES = ("BIT", "BOUND", "FTZ", "DEV", "SKIP", "FAIL")
MARKUP = "off by <b>much</b></script><script>document.title='taken'</script> & more"


def cell(identifier: str, kind: str = "BIT", ratio: float | None = 0.5, **more: Any) -> dict[str, Any]:
    """A cell as `optloom conform --json` writes it."""
    worst = {
        "element": "update/001", "output": "m", "step": 10, "actual": "-0x1.8000000000000p-3",
        "expected": "-1.8750000000000000000000000000001e-1", "bound": 1.5e-9, "part": "one step", "numbers": "other",
        "inputs": {"w": "0x1.0000000000000p+0", "g": "0x1.0000000000000p-1074", "m": "-0x1.fffffffffffffp+1023"},
        "shape": [8, 6], "index": [1, 2],
        "hyperparameters": {"learning_rate": "0x1.0624dd2f1a9fcp-10", "steps": 3}, "options": {"amsgrad": False},
    }  # fmt: skip
    made = {
        "id": identifier, "class": kind, "ratio": ratio, "median_bound_ulp": 3.5, "median_error_ulp": 0.25,
        "elements": 100, "unbounded": 0, "decided_either_way": 0, "digest": "", "note": "", "complaints": [],
        "histogram": {"-16": 3, "-2": 60, "-1": 30, "0": 7}, "worst": worst,
    }  # fmt: skip
    return made | more


def run(cells: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A report of the suite."""
    made: dict[str, Any] = {
        "schema": 2, "passed": True, "extent": "usual", "corpus": "c0ffee" * 8, "counts": {}, "missing": {},
        "stale_deviations": [], "cells": cells, "digests": {},
    }  # fmt: skip
    return made | more
