"""A run of the suite over rules and targets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from optloom.spec.rule import Rule

from .cases import Variant
from .corpus import digest
from .deviations import deviations
from .pool import Failed, Skipped, Worker
from .protocol import NUMERICS, Dtype, Job, Mode, Numerics, Snapshot
from .rendering import rendered
from .report import Report
from .suite import Cell, Result, RuleSuite, run_cell

REFERENCE = "numpy"
"""The readable target, strict in everything: its bits are what strict code of all others is compared with."""
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
    variant: Variant

    @property
    def label(self) -> str:
        return f"{self.suite.name}/{self.variant.name}/{self.target}/{self.mode.name}/{self.numerics}/{self.dtype}"


@dataclass
class Campaign:
    """`dtypes`, `numerics`: empty for all. `quick`: fewer variants and numbers."""

    rules: dict[str, type[Rule]]
    targets: tuple[str, ...]
    dtypes: tuple[str, ...] = ()
    numerics: tuple[str, ...] = ()
    quick: bool = False
    _workers: dict[str, Worker] = field(default_factory=dict)
    _folder: Path = Path()
    _files: dict[tuple[str, str, str], Path] = field(default_factory=dict)

    def run(self, progress: Callable[[int, int, str], None] | None = None) -> Report:
        with TemporaryDirectory() as folder, ExitStack() as stack:
            self._folder = Path(folder)
            for target in dict.fromkeys((REFERENCE, *self.targets)):
                self._workers[target] = Worker(target)
                stack.callback(self._workers[target].close)
            modes, missing = self._modes()
            suites = [RuleSuite(name, rule, self._reference(name, rule), REFERENCE) for name, rule in self.rules.items()]
            plan = [self._tasks(suite, modes) for suite in suites]
            total, done = sum(map(len, plan)), 0
            results: list[Result] = []
            for tasks in plan:
                while tasks:
                    task = tasks.pop(0)
                    if progress:
                        progress(done, total, task.label)
                    results += self._results(task)
                    done += 1
                # What the targets shared about this rule is not needed any more.
                suites.pop(0)
        return Report(results, self._settle(results), digest(), missing)

    def _modes(self) -> tuple[dict[str, tuple[Mode, ...]], dict[str, str]]:
        """The modes of each target; and why a target cannot run at all."""
        modes, missing = {}, {}
        for target in self.targets:
            try:
                modes[target] = self._workers[target].modes()
            except (Skipped, Failed) as reason:
                missing[target] = str(reason)
        return modes, missing

    def _tasks(self, suite: RuleSuite, modes: dict[str, tuple[Mode, ...]]) -> list[Task]:
        return [
            Task(suite, target, mode, numerics, dtype, variant)
            for target, offered in modes.items()
            for mode in offered
            for numerics, dtype in product(NUMERICS, mode.dtypes)
            if numerics in mode.numerics
            and (not self.numerics or numerics in self.numerics)
            and (not self.dtypes or dtype in self.dtypes)
            for variant in suite.variants_for(mode, dtype, self.quick)
        ]

    def _results(self, task: Task) -> list[Result]:
        suite, worker = task.suite, self._workers[task.target]
        try:
            file = self._file(suite.rule, suite.name, task.target, task.numerics)
        except Skipped as reason:
            parts = (suite.name, task.variant.name, task.target, task.mode.name, task.numerics, task.dtype)
            return [Result(Cell(*parts, part), "SKIP", True, note=str(reason)) for part in ("step", "run")]
        return run_cell(suite, worker, file, task.mode, task.numerics, task.dtype, task.variant, self.quick)

    def _file(self, rule: type[Rule], name: str, target: str, numerics: Numerics) -> Path:
        """Rendered once. Raises Skipped where the target does not print the rule."""
        key = name, target, numerics
        if key not in self._files:
            self._files[key] = rendered(rule, name, target, numerics, self._folder)
        return self._files[key]

    def _reference(self, name: str, rule: type[Rule]) -> Callable[[Job], list[list[Snapshot]]]:
        worker = self._workers[REFERENCE]

        def run(job: Job) -> list[list[Snapshot]]:
            file = self._file(rule, name, REFERENCE, "strict")
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
                    stale.append(f"{target}/deviations.txt:{line.line}: no cell needs `{line.glob} {line.kind}` any more")
        for result in results:
            if not result.accepted:
                result.note = f"{result.kind}, not expected: {result.note}".rstrip(": ")
                result.kind = "FAIL"
        return stale

    def _is_whole(self) -> bool:
        """Whether every cell that a line of deviations may be for has been run."""
        from ..discovery import discover

        return not (self.dtypes or self.numerics or self.quick) and set(self.rules) >= set(discover())
