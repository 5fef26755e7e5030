"""`optloom bench`: one step of generated optimizers beside their peers, how exact and how fast.

Exactness: ten steps in float32 from weights of 0, so that the updates themselves are seen, against the same formula in
float64 by the NumPy target. Speed: times of all are taken in turn within one run, and only their ratios mean anything
on another machine.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import optloom.codegen
from optloom.spec.declarations import Peer
from optloom.spec.rule import Rule

from ..compare import compare
from ..compiler import DEFAULT, Settings, dialect_of, frozen, render, render_kernels
from ..discovery import target as load_target
from ..printing import UnsupportedOperation

if TYPE_CHECKING:
    from ..conformance.protocol import Array
    from .protocol import Entry, Outcome, Race

RATE = "learning_rate"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}  # fmt: skip
"""Unless the environment says otherwise: threads that wait for each other on a busy machine tell nothing."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`median`, `worst`: of all elements, in units in the last place of the largest value that an element had."""

    target: str
    who: str
    way: str
    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class Speed:
    """`ratio`: the peer's time over ours, the median of all rounds; None without a peer. `ns`: ours, per element."""

    target: str
    way: str
    workload: str
    peer: str
    ratio: float | None
    ns: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One rule. `missing`: by target, or by peer's path, why it was not measured."""

    rule: str
    accuracy: list[Accuracy] = field(default_factory=list)
    speed: list[Speed] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def bench(
    rules: Mapping[str, type[Rule]],
    targets: Sequence[str],
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Benchmark]:
    """Races the rules, by file name, in those targets that have races; each target in a process of its own.

    Raises SpecError for a rule that is wrong, ModuleNotFoundError without NumPy.
    """
    found = {name: Benchmark(name) for name in rules}
    done, count = 0, len(rules) * len(targets)
    for target in targets:
        with TemporaryDirectory() as folder, _Worker(target) as worker:
            for name, rule in rules.items():
                if progress:
                    progress(done, count, f"{target}/{name}")
                done += 1
                reason = worker.missing or _race(rule, name, target, Path(folder), worker, found[name])
                if reason:
                    found[name].missing[target] = reason
    return list(found.values())


def _race(rule: type[Rule], name: str, target: str, folder: Path, worker: _Worker, found: Benchmark) -> str:
    """Runs one race and enters what it gave; why there is none, or ""."""
    if frozen(rule).inputs:
        return "the rule has inputs beside the gradient, which a race does not give"
    try:
        race = _entries(rule, name, target, folder)
    except UnsupportedOperation as reason:
        return str(reason)
    outcome = worker.hold(race)
    if isinstance(outcome, str):
        return outcome
    found.missing.update({f"{target}: {path}": why for path, why in outcome.failed.items()})
    peers = {peer.path: peer for peer in rule.peers}
    for (path, way), weights in outcome.weights.items():
        found.accuracy.append(Accuracy(target, path, way, *_in_ulp(weights, *_exact(rule, peers.get(path)))))
    found.speed.extend(_speeds(race, outcome, target))
    return ""


def _entries(rule: type[Rule], name: str, target: str, folder: Path) -> Race:
    from .protocol import Entry, Race

    files = render(rule, target)
    with suppress(UnsupportedOperation):  # then there is no fused way
        files |= render_kernels(rule, target)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    ecosystem = load_target(target).ecosystem
    own = next(file for file in (folder / target).iterdir() if file.stem == name)
    called = rule.__name__ if re.search(rf"^class {rule.__name__}\b", own.read_text(encoding="utf-8"), re.M) else name
    peers = [peer for peer in rule.peers if ecosystem and peer.ecosystem == ecosystem]
    rates = {one.name: one.peers for one in compare(rule).arguments}.get(RATE, {})
    return Race(
        Entry(str(own), called),
        tuple(
            Entry("", peer.path, {rates[peer.path][0]: rates[peer.path][1] or 0.0} if peer.path in rates else {})
            for peer in peers
        ),
    )


def _exact(rule: type[Rule], peer: Peer | None) -> tuple[Array, Array]:
    """The weights after the same steps in float64, of the rule or in a peer's dialect with its defaults; and the
    largest size that each had on the way."""
    import numpy as np

    from ..trajectories import generated_class
    from .worker import SHAPE, STEPS, gradients

    settings: Settings = dialect_of(rule, peer.path) if peer else DEFAULT
    w, largest = np.zeros(SHAPE), np.zeros(SHAPE)
    optimizer = generated_class(rule, settings)([w], **(peer.defaults if peer else {}))
    for step in range(STEPS):
        optimizer.step([gradients(step).astype(np.float64)])
        largest = np.maximum(largest, np.abs(w))
    return w, largest


def _in_ulp(weights: Array, exact: Array, largest: Array) -> tuple[float, float]:
    import numpy as np

    units = np.spacing(largest.astype(np.float32)).astype(np.float64)
    off = np.abs(weights.astype(np.float64) - exact) / units
    return round(float(np.median(off)), 3), round(float(off.max()), 3)


def _speeds(race: Race, outcome: Outcome, target: str) -> Iterator[Speed]:
    from .worker import WORKLOADS

    for workload, seconds in outcome.seconds.items():
        count, size = WORKLOADS[workload]
        for (path, way), ours in seconds.items():
            if path != race.generated.path:
                continue
            ns = round(median(ours) / (count * size) * 1e9, 3)
            rivals = [(peer, _same_way(peer, way, seconds)) for peer in race.peers]
            raced = [(peer, times) for peer, times in rivals if times]
            if not raced:
                yield Speed(target, way, workload, "", None, ns)
            for peer, times in raced:
                ratio = median(theirs / mine for theirs, mine in zip(times, ours, strict=True))
                yield Speed(target, way, workload, peer.path, round(ratio, 3), ns)


def _same_way(peer: Entry, way: str, seconds: Mapping[tuple[str, str], list[float]]) -> list[float]:
    """The peer's times in the same way, else in its first."""
    ways = {its: times for (path, its), times in seconds.items() if path == peer.path}
    return ways.get(way) or next(iter(ways.values()), [])


class _Worker:
    """The process of one target's races. `missing`: why there is none."""

    def __init__(self, target: str) -> None:
        module = f"optloom.codegen.targets.{target}.contestants"
        self.missing = "" if importlib.util.find_spec(module) else "the target has no races"
        self.target = target
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()

    def hold(self, race: Race) -> Outcome | str:
        """The outcome, or why there is none: the framework is not installed, or the process ended."""
        process = self.process = self.process or self._started()
        assert process.stdin and process.stdout
        try:
            pickle.dump(race, process.stdin)
            process.stdin.flush()
            outcome: Outcome = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            told = process.communicate()[1].decode(errors="replace").strip()
            self.missing = told.rpartition("\n")[2] or f"the process of {self.target} ended"
            self.process = None
            return self.missing
        return outcome

    def _started(self) -> subprocess.Popen[bytes]:
        root = str(Path(optloom.codegen.__file__ or "").parent.parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", f"{__package__}.worker", self.target]
        pipe = subprocess.PIPE
        environment = ONE_THREAD | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
