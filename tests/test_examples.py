"""The examples, with short settings, as a user starts them: in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROUNDOFF = 2.0**-24


def run(example: str, out: Path, *arguments: str) -> Any:
    """What `examples/<example>/run.py` writes as results.json. The example's own results stay as they are."""
    script = ROOT / "examples" / example / "run.py"
    paths = [str(ROOT / ".ci" / "importroot"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script), f"--out={out}", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=out,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "results.md").read_text().strip() in done.stdout
    return json.loads((out / "results.json").read_text())


def test_digits_coincide_with_generated_optimizers_alone(tmp_path: Path) -> None:
    variants = run("digits", tmp_path, "--optimizers=Adam", "--steps=6")["optimizers"]["Adam"]
    for variant in variants.values():
        assert set(variant["losses"]) == {"pytorch", "tensorflow", "jax"}
    assert variants["generated"]["greatest spread"] < 16 * ROUNDOFF
    assert variants["generated, as shipped"]["greatest spread"] < 16 * ROUNDOFF
    assert variants["peers"]["greatest spread"] > 1e-2
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow", "jax"])
def test_text_resumes_with_identical_bits(framework: str, tmp_path: Path) -> None:
    plan = [f"--frameworks={framework}", "--dtypes=bfloat16", "--steps=6", "--save-every=3"]
    [result] = run("text", tmp_path, *plan)
    assert (result["killed_in"], result["resumed_from"]) == (5, 3)
    assert result["uninterrupted"] == result["resumed"]
    assert result["loss_at_end"] < result["loss_at_start"]


def test_a_run_moves_between_frameworks_with_the_same_bits(tmp_path: Path) -> None:
    results = run("migrate", tmp_path, "--rules", "Adam", "Adam with stages")
    ways = results["digests"]
    assert set(ways) == {"stays in tensorflow", "stays in pytorch", "stays in jax", "moves at thirds"}
    for rule in ("Adam", "Adam with stages"):
        assert len({digests[rule] for digests in ways.values()}) == 1
    ends = [losses["Adam"][-1] for losses in results["losses"].values()]
    assert max(ends) - min(ends) < 1e-4 * max(ends)
    assert max(ends) < results["losses"]["moves at thirds"]["Adam"][0]
