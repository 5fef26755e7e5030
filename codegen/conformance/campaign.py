"""A run of the suite over rules and targets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, RLock

from optloom.spec.rule import Rule

from .cases import composition_of
from .corpus import digest
from .coverage import Extent, Share, shares
from .deviations import deviations
from .pool import Failed, Skipped, Worker
from .protocol import DTYPES, NUMERICS, REFERENCE, Dtype, Job, Mode, Numerics, Snapshot
from .rendering import OPEN, OWN, arguments_kept, rendered
from .report import Report
from .suite import Cell, Result, RuleSuite, run_cell

DEVIATES = {"BOUND": "BOUND", "FTZ": "FTZ", "FAIL": "DEV", "SKIP": "SKIP"}
"""What a line of deviations calls a cell that is not as it should be."""


@dataclass(frozen=True)
class Task:
    """One cell to be run."""

    suite: RuleSuite
    target: str
    mode: Mode
    numerics: Numerics
    dtype: Dtype
    share: Share

    @property
    def label(self) -> str:
        return (
            f"{self.suite.name}/{self.share.variant.name}/{self.target}/{self.mode.name}/{self.numerics}/{self.dtype}"
        )


@dataclass
class _Progress:
    """Tells the caller what comes next; targets share it."""

    total: int
    tell: Callable[[int, int, str], None] | None
    _done: int = 0
    _lock: Lock = field(default_factory=Lock)

    def next(self, label: str) -> None:
        with self._lock:
            if self.tell:
                self.tell(self._done, self.total, label)
            self._done += 1


@dataclass
class Campaign:
    """`dtypes`, `numerics`: empty for all."""

    rules: dict[str, type[Rule]]
    targets: tuple[str, ...]
    dtypes: tuple[str, ...] = ()
    numerics: tuple[str, ...] = ()
    extent: Extent = "usual"
    _workers: dict[str, Worker] = field(default_factory=dict)
    _folder: Path = Path()
    _files: dict[tuple[str, str, str, bool], Path] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def run(self, progress: Callable[[int, int, str], None] | None = None) -> Report:
        """Targets run side by side, each in a process of its own; what they compute is judged here."""
        with TemporaryDirectory() as folder, ExitStack() as stack:
            self._folder = Path(folder)
            for target in dict.fromkeys((REFERENCE, *self.targets)):
                self._workers[target] = Worker(target)
                stack.callback(self._workers[target].close)
            suites = [
                RuleSuite(name, rule, self._reference(name, rule), REFERENCE) for name, rule in self.rules.items()
            ]
            missing: dict[str, str] = {}
            plan: dict[str, list[Task]] = {}
            for target in self.targets:
                try:
                    plan[target] = list(self._tasks(suites, target, self._workers[target].modes()))
                except (Skipped, Failed) as reason:
                    missing[target] = str(reason)
            told = _Progress(sum(map(len, plan.values())), progress)
            with ThreadPoolExecutor(max(os.cpu_count() or 1, 1)) as pool:
                found = list(pool.map(lambda tasks: self._results_of(tasks, told), plan.values()))
        results = [result for results in found for result in results]
        return Report(results, self._settle(results), digest(), missing, self.extent)

    def _tasks(self, suites: list[RuleSuite], target: str, modes: tuple[Mode, ...]) -> Iterator[Task]:
        for suite, mode, numerics in product(suites, modes, NUMERICS):
            for dtype in mode.dtypes:
                wanted = dtype in (self.dtypes or DTYPES) and numerics in (self.numerics or NUMERICS)
                if numerics in mode.numerics and wanted:
                    kept = arguments_kept(suite.rule, target)
                    every = suite.combined if self.extent == "stages" else suite.variants
                    variants = [variant for variant in every if variant.needs <= kept]
                    for share in shares(variants, mode, mode is modes[0], numerics, dtype, self.extent):
                        yield Task(suite, target, mode, numerics, dtype, share)

    def _results_of(self, tasks: list[Task], told: _Progress) -> list[Result]:
        results = []
        for task in tasks:
            told.next(task.label)
            results += self._results(task)
        return results

    def _results(self, task: Task) -> list[Result]:
        suite, worker = task.suite, self._workers[task.target]
        try:
            file = self._file(suite.rule, suite.name, task.target, task.numerics)
        except Skipped as reason:
            where = (suite.name, task.share.variant.name, task.target, task.mode.name, task.numerics, task.dtype)
            return [Result(Cell(*where, "step"), "SKIP", True, note=str(reason))]
        return run_cell(suite, worker, file, task.mode, task.numerics, task.dtype, task.share)

    def _file(self, rule: type[Rule], name: str, target: str, numerics: Numerics, *, is_open: bool = False) -> Path:
        """Rendered once. Raises Skipped where the target does not print the rule."""
        key = name, target, numerics, is_open
        with self._lock:
            if key not in self._files:
                folder, settings = (self._folder / "open", OPEN) if is_open else (self._folder / "own", OWN)
                self._files[key] = rendered(rule, name, target, numerics, folder, settings)
            return self._files[key]

    def _reference(self, name: str, rule: type[Rule]) -> Callable[[Job], list[list[Snapshot]]]:
        worker = self._workers[REFERENCE]

        own = arguments_kept(rule, REFERENCE)
        conventions = {d.name for d in composition_of(rule).declarations.values() if getattr(d, "convention", False)}

        def run(job: Job) -> list[list[Snapshot]]:
            is_open = not conventions.isdisjoint({*job.options, *job.hypers} - own)
            file = self._file(rule, name, REFERENCE, "strict", is_open=is_open)
            return worker.run(replace(job, file=str(file), mode=worker.modes()[0].name))

        return run

    def _settle(self, results: list[Result]) -> list[str]:
        """Cells that are not as they should be fail, unless they are listed; lines that no cell needs are told."""
        stale = []
        for target in self.targets:
            of_target = [result for result in results if result.cell.target == target]
            for line in deviations(target):
                covered = [result for result in of_target if line.covers(result.cell.id) and not result.accepted]
                needing = [result for result in covered if DEVIATES[result.kind] == line.kind]
                for result in needing:
                    result.kind = "DEV" if line.kind == "DEV" else result.kind
                    result.accepted, result.note = True, line.reason
                if not needing and self._is_whole():
                    stale.append(
                        f"{target}/deviations.txt:{line.line}: no cell needs `{line.glob} {line.kind}` any more"
                    )
        for result in results:
            if not result.accepted:
                result.note = f"{result.kind}, not expected: {result.note}".rstrip(": ")
                result.kind = "FAIL"
        return stale

    def _is_whole(self) -> bool:
        """Whether every cell that a line of deviations may be for has been run."""
        from ..discovery import discover

        is_narrow = self.dtypes or self.numerics or self.extent in ("quick", "stages")
        return not is_narrow and set(self.rules) >= set(discover())
