"""A run from recorded gradients ends in one hash in every target, also with value clip, decay and average on.

The gradients are those of the example `migrate`. The runners of the conformance suite make the calls: a process has one
framework, that of its target alone, and NumPy's run beside it.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import discover
from optloom.codegen.conformance.protocol import Episode, Job, Skip, Snapshot, load_module
from optloom.codegen.conformance.rendering import rendered

TARGETS = ("cpp", "cuda", "jax", "numpy", "pytorch", "tensorflow")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "migrate"
RULES: dict[str, dict[str, Any]] = {"adam": {}, "adamax": {}, "adagrad": {}, "sgd": {"momentum": 0.9}}
STAGES: dict[str, Any] = {"clipvalue": 0.02, "weight_decay": 0.1, "ema_momentum": 0.9, "ema_overwrite_frequency": 5}
LEFT_OUT = ("compile", "step-op-by-op", "factory")
"""What compiles a step as a whole takes ten seconds; optax rounds once more where it adds."""


def _runs(target: str, rule: str, hypers: dict[str, Any], use_ema: bool, folder: Path) -> dict[str, list[Snapshot]]:
    """The states after each call, by mode of strict code."""
    task = load_module(str(EXAMPLE / "task.py"))
    start, recorded = task.start(), task.recorded()
    runner, kind = importlib.import_module(f"optloom.codegen.targets.{target}.runner"), discover()[rule]
    file = rendered(kind, rule, target, "strict", folder)
    found = {}
    for mode in runner.MODES:
        if "strict" not in mode.numerics or mode.name in LEFT_OUT:
            continue
        episode = Episode([start[name] for name in start], [[step[name] for name in start] for step in recorded])
        job = Job(
            str(file), kind.__name__, mode.name, "float32", [episode], {"learning_rate": 0.01} | hypers,
            {"use_ema": use_ema},
        )  # fmt: skip
        try:
            (found[mode.name],) = runner.run(job)
        except Skip:  # no device
            continue
    return found


def _digest(run: list[Snapshot]) -> str:
    """SHA-256 of the parameters and of each slot by name, after every call."""
    made = hashlib.sha256()
    for snapshot in run:
        for name, arrays in [("", snapshot.parameters), *sorted(snapshot.slots.items())]:
            made.update(name.encode())
            for array in arrays:
                made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


@pytest.mark.parametrize("stages", [{}, STAGES], ids=["alone", "staged"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_recorded_run_has_one_hash(target: str, rule: str, stages: dict[str, Any], tmp_path: Path) -> None:
    hypers = RULES[rule] | stages
    ours = _runs(target, rule, hypers, bool(stages), tmp_path)
    (theirs,) = _runs("numpy", rule, hypers, bool(stages), tmp_path).values()
    assert ours and {mode: _digest(run) for mode, run in ours.items()} == dict.fromkeys(ours, _digest(theirs))
    assert len(theirs) == 24 and ("weight_average" in theirs[-1].slots) == bool(stages)


@pytest.mark.parametrize("left_out", STAGES)
def test_every_stage_counts_in_the_hash(left_out: str, tmp_path: Path) -> None:
    """So that a target which leaves one out has another."""
    some = {name: value for name, value in STAGES.items() if name != left_out}
    (whole,), (part,) = (_runs("numpy", "adam", stages, True, tmp_path).values() for stages in (STAGES, some))
    assert _digest(whole) != _digest(part)
