"""Two replicas under tf.distribute.MirroredStrategy: one sum of gradients first, then as on one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

HERE = Path(__file__).parent
RULES = ["adam", "lamb", "sgd", "nadam", "prodigy", "dog", "polyak_sgd", "adafactor"]


@pytest.fixture(scope="module")
def found() -> Any:
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent / ".ci" / "importroot"), *sys.path])
    command = [sys.executable, str(HERE / "tensorflow_replicas.py")]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("rule", RULES)
def test_fit_on_two_replicas_is_fit_on_one_device(rule: str, found: Any) -> None:
    """Accumulation, decay, norms, rows of an embedding, constraints and counters."""
    single, replicas = found["fit"][rule]
    assert len(single) == len(replicas) >= 5  # three weights, and two numbers that every optimizer has
    for one, two in zip(single, replicas, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-5, atol=2e-6)
    assert single[3] == replicas[3] == 6  # iterations


def test_each_copy_is_that_of_the_whole_gradient(found: Any) -> None:
    for parts, expected in found["copies"]:
        assert len(parts) == 2
        assert parts[0] == parts[1]
        np.testing.assert_allclose(parts[0], expected, rtol=1e-6)


@pytest.mark.parametrize("stage", ["accumulation", "overwriting"])
def test_what_fails_in_fit_of_keras_itself_is_masked(stage: str, found: Any) -> None:
    """Keras merges its replicas within a `tf.cond`, which TensorFlow refuses; here updates are masked instead."""
    assert "merge_call" in found["masked"][stage]["keras"]
    single, replicas = found["masked"][stage]["here"]
    for one, two in zip(single, replicas, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("clip", "expected"), [("clipnorm", [-0.6, -0.8]), ("global_clipnorm", [-0.6, -0.8]), ("clipvalue", [-1, -1])]
)
def test_the_sum_over_replicas_is_clipped_and_not_its_parts(clip: str, expected: list[float], found: Any) -> None:
    """The sum of (300, 0) and (0, 400), at most 1 long. Keras cuts each part to a length of 1 before it adds them."""
    keras, here = found["clipped"][clip]
    np.testing.assert_allclose(here, expected, rtol=1e-6)
    assert clip == "clipvalue" or np.linalg.norm(keras) > 1.4


def test_a_fused_step_is_refused_before_anything_is_written(found: Any) -> None:
    for way in ("eager", "traced"):
        assert (
            "fused kernels update one copy of each variable, and here are 2; pass fused=False" in found["refused"][way]
        )
    assert found["refused"]["weights"] == [[1.0, 2.0]] * 2


@pytest.mark.parametrize("place", ["on replicas", "on one device"])
@pytest.mark.parametrize("way", ["restored", "imported"])
def test_averages_and_accumulators_of_replicas_are_saved_and_restored(way: str, place: str, found: Any) -> None:
    for kept, expected in zip(found["continued"][f"{way} {place}"], found["continued"]["without a break"], strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-6)
