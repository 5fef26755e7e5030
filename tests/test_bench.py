"""`optloom bench`: what it measures is right; times are figures, and no test hangs on one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optloom.codegen.bench import bench
from optloom.codegen.bench.measure import _exact, _in_ulp, _speeds
from optloom.codegen.bench.protocol import Entry, Outcome, Race
from optloom.codegen.bench.worker import SHAPE, STEPS, WORKLOADS, gradients, hold
from optloom.codegen.discovery import discover

Command = Callable[..., subprocess.CompletedProcess[str]]
RULES = discover()


def test_the_exact_run_is_the_rule() -> None:
    """Adagrad by hand, in float64."""
    w, accumulator, largest = np.zeros(SHAPE), np.full(SHAPE, 0.1), np.zeros(SHAPE)
    for step in range(STEPS):
        g = gradients(step).astype(np.float64)
        accumulator += g * g
        w -= 0.001 * g / np.sqrt(accumulator + 1e-7)
        largest = np.maximum(largest, np.abs(w))
    exact, peak = _exact(RULES["adagrad"], None)
    assert exact == pytest.approx(w, rel=1e-12)
    assert peak == pytest.approx(largest, rel=1e-12)


def test_units_in_the_last_place() -> None:
    exact = np.array([1.0, 2.0, 0.0])
    off = np.array([1 + 2.0**-23, 2 + 3 * 2.0**-22, 2.0**-24], np.float32)
    assert _in_ulp(off, exact, np.array([1.0, 2.0, 0.5])) == (1.0, 3.0)


def test_ratios_are_of_the_same_way_round_by_round() -> None:
    ours, theirs = Entry("made.py", "Ours"), Entry("", "torch.optim.Theirs")
    workload = next(iter(WORKLOADS))
    seconds = {
        ("Ours", "eager"): [1.0, 2.0, 4.0], ("Ours", "fused"): [1.0, 1.0, 1.0],
        ("torch.optim.Theirs", "eager"): [2.0, 6.0, 4.0], ("torch.optim.Theirs", "foreach"): [9.0, 9.0, 9.0],
    }  # fmt: skip
    found = {one.way: one for one in _speeds(Race(ours, (theirs,)), Outcome({}, {workload: seconds}, {}), "pytorch")}
    assert found["eager"].ratio == 2.0
    assert found["fused"].ratio == 4.0  # the peer's first way: it has no such one
    count, size = WORKLOADS[workload]
    assert found["eager"].ns == pytest.approx(2e9 / (count * size), abs=1e-3)


class Still:
    """A contestant that counts its steps."""

    def __init__(self, start: list[np.ndarray]) -> None:
        self.start, self.steps, self.given = start, 0, 0

    def give(self, gradients: list[np.ndarray]) -> None:
        assert [g.shape for g in gradients] == [w.shape for w in self.start]
        self.given += 1

    def step(self) -> None:
        self.steps += 1

    def weights(self) -> list[np.ndarray]:
        return [w + self.steps for w in self.start]


def test_one_that_does_not_run_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optloom.codegen.bench.worker.LEAST", 0.0)

    def build(entry: Entry, start: list[np.ndarray]) -> dict[str, Still]:
        if not entry.file:
            raise TypeError("it takes no such argument\nmore")
        return {"plain": Still(start)}

    outcome = hold(Race(Entry("made.py", "Ours"), (Entry("", "torch.optim.Theirs"),)), build)
    assert outcome.failed == {"torch.optim.Theirs": "TypeError: it takes no such argument"}
    assert (outcome.weights["Ours", "plain"] == STEPS).all()
    assert set(outcome.seconds) == set(WORKLOADS)


def test_a_rule_of_ones_own(optloom: Command, tmp_path: Path) -> None:
    assert optloom("new", "tiger", cwd=tmp_path).returncode == 0
    done = optloom("bench", "./tiger.py", "-t", "numpy", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["cores"] >= 1
    (accuracy,) = told["rules"]["tiger"]["accuracy"]
    assert accuracy["median"] <= 2
    assert [one["workload"] for one in told["rules"]["tiger"]["speed"]] == list(WORKLOADS)


def test_nothing_raced_is_status_1(optloom: Command) -> None:
    done = optloom("bench", "adam", "-t", "cuda")
    assert (done.returncode, "cuda: the target has no races" in done.stdout) == (1, True)


@pytest.mark.parametrize("target", ["pytorch", "jax", "tensorflow"])
def test_peers_take_part(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer and ours, of the same numbers: as exact as float32 lets them be, a wrong dialect is off by thousands."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # a kernel in the user's cache would be found by others
    (found,) = bench({"adagrad": RULES["adagrad"]}, [target])
    assert found.missing == {}
    peers = [peer.path for peer in RULES["adagrad"].peers]
    assert {one.peer for one in found.speed} <= set(peers)
    assert {one.ratio is not None for one in found.speed} == {True}
    assert max(one.median for one in found.accuracy) < 100
    assert len(found.accuracy) >= 2
