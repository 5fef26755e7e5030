"""The NumPy target's own contract, beside what the conformance suite holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from optloom.codegen.compiler import render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.discovery import discover


def optimizer(name: str, folder: Path) -> type:
    files = render(discover()[name], "numpy")
    for path, text in files.items():
        (folder / Path(path).name).write_text(text)
    made: type = getattr(load_module(str(folder / f"{name}.py")), discover()[name].__name__)
    return made


def test_none_turns_off_a_stage_that_the_rule_turns_on(tmp_path: Path) -> None:
    decayed, adam = optimizer("adamw", tmp_path), optimizer("adam", tmp_path)
    weights = [np.linspace(-1, 1, 5) for _ in range(2)]
    for made, w in zip((decayed, adam), weights, strict=True):
        instance = made([w], weight_decay=None)
        for _ in range(3):
            instance.step([np.linspace(2, -1, 5)])
    assert np.array_equal(*weights)
    with_default = np.linspace(-1, 1, 5)
    decayed([with_default]).step([np.linspace(2, -1, 5)])
    assert not np.array_equal(with_default, weights[0])


@pytest.mark.parametrize("name", ["adafactor", "sm3"])
def test_matrices_without_numbers_keep_their_slots(name: str, tmp_path: Path) -> None:
    """A mean of no numbers would be NaN from the first step on, and of none is there a largest."""
    instance = optimizer(name, tmp_path)([np.zeros((0, 3)), np.zeros((3, 0)), np.ones((2, 3))])
    instance.step([np.zeros((0, 3)), np.zeros((3, 0)), np.ones((2, 3))])
    empty, other, full = instance.slots
    assert not any(slot.any() for each in (empty, other) for slot in (each.r, each.c))
    assert full.r.all()
