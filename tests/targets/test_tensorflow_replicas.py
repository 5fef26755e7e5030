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
