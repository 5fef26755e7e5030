"""Makes `made_up` importable by the tests of this folder, and gives its run of the suite to those that ask for one."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_up import CLASSES, MARKUP, cell, run


@pytest.fixture
def every_class() -> dict[str, Any]:
    """Six rules in three targets, a class each; cpp did not run."""
    places = itertools.product(range(6), ("jax", "numpy", "pytorch"), ("float32", "bfloat16"))
    cells = []
    for number, target, dtype in places:
        kind = CLASSES[number] if target == "jax" else "BIT"
        note = MARKUP if kind == "FAIL" else "no such thing" if kind == "SKIP" else ""
        ratio = None if kind == "FAIL" else 0.0 if kind == "SKIP" else 0.1 * number + (dtype == "float32")
        made = cell(f"rule_{number}/plain/{target}/eager/strict/{dtype}/step", kind, ratio, note=note)
        cells.append(made | ({"worst": None, "histogram": {}} if kind == "SKIP" else {}))
    return run(cells, missing={"cpp": "not installed: g++"}, passed=False)


@pytest.fixture
def saved(tmp_path: Path, every_class: dict[str, Any]) -> Path:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(every_class))
    return file
