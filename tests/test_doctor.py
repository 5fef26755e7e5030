"""`optloom doctor`: its questions have known answers for code that is right, and for code that is not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen import doctor
from optloom.codegen.conformance import rendering

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_reference_is_exact() -> None:
    found = doctor.diagnose(["numpy"])
    assert not found.missing and found.arithmetic == [
        doctor.Arithmetic("numpy", "plain", False, False, True, "BIT", None)
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("w - k.learning_rate * g", "np.float32(np.float64(w) - np.float64(k.learning_rate) * np.float64(g))",
         (False, True, True, "BOUND")),
        ("w - k.learning_rate * g", "np.where(abs(w - k.learning_rate * g) < 2**-126, 0, w - k.learning_rate * g)",
         (True, False, True, "FTZ")),
        ("np.sqrt(g)", "np.nextafter(np.sqrt(g), np.float32(0))", (False, False, False, "BOUND")),
    ],
)  # fmt: skip
def test_other_arithmetic_is_told(monkeypatch: pytest.MonkeyPatch, old: str, new: str, expected: Any) -> None:
    """Fused products, flushed results, wrong roots: put into the code that is run."""
    render = rendering.rendered

    def changed(*arguments: Any) -> Path:
        file = render(*arguments)
        file.write_text(file.read_text().replace(old, new))
        return file

    monkeypatch.setattr(rendering, "rendered", changed)
    (found,) = doctor.diagnose(["numpy"]).arithmetic
    answers = found.flushes_subnormals, found.contracts_products, found.exact_square_root, found.strict
    assert answers == expected


def test_a_target_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = doctor.diagnose(["cpp"])
    assert not found.arithmetic and "g++" in found.missing["cpp"]
    assert set(found.machine.absent) == set(doctor.COMPILERS)


def test_the_command(optloom: Command) -> None:
    done = optloom("doctor", "-t", "numpy")
    assert (done.returncode, done.stderr) == (0, "")
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("numpy   plain"))
    assert row == ["numpy", "plain", "yes", "yes", "yes", "BIT", "-"]
    plain = json.loads(optloom("doctor", "-t", "numpy", "--json").stdout)
    assert plain["machine"]["python"] and plain["arithmetic"][0]["strict"] == "BIT"


def test_bad_input(optloom: Command) -> None:
    done = optloom("doctor", "-t", "nunpy")
    assert done.returncode == 2 and "did you mean numpy?" in done.stderr
