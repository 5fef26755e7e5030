"""The pytest plugin `optloom.pytest`: the conformance cells of a project's own rules, as tests.

    pytest --optloom tiger.py          beside whatever else is collected
    optloom_rules = rules/             in pytest.ini or [tool.pytest.ini_options]: rule files, or folders of them
    optloom_targets = numpy pytorch    the targets; all that can run here if not given
    optloom_full = true                all variants and numbers that a release is judged by, instead of the quick run

A test is a rule in one target, one kind of code and one dtype, and fails with the cells that do. It is skipped where
the framework is not installed, or the target does not print the rule. Nothing is imported until it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conformance.coverage import Extent
    from .conformance.report import Report
    from .conformance.suite import Result


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("optloom", "conformance of optimizer rules")
    group.addoption(
        "--optloom", action="append", default=[], metavar="RULE", help="judge this rule file (may be repeated)"
    )
    parser.addini("optloom_rules", "rule files, or folders of them, to judge", type="paths")
    parser.addini("optloom_targets", "targets to judge them in (all)", type="args")
    parser.addini("optloom_full", "judge all variants and numbers", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> RuleFile | None:
    """A rule file on pytest's way; one that is named as an argument comes by way of `pytest_pycollect_makemodule`."""
    if parent.session.isinitpath(file_path) or file_path not in _configured(parent.config):
        return None
    return RuleFile.from_parent(parent, path=file_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> RuleFile | None:
    if module_path not in _configured(parent.config):
        return None
    return RuleFile.from_parent(parent, path=module_path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Rule files that pytest's arguments do not lead to: those of --optloom always, the project's in a whole run."""
    met = {item.path for item in items if isinstance(item, Cells)}
    wanted = _files(config, config.getoption("optloom"))
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        wanted += _files(config, config.getini("optloom_rules"))
    for path in dict.fromkeys(wanted):
        if path not in met:
            items.extend(RuleFile.from_parent(session, path=path).collect())


class RuleFile(pytest.File):
    """The tests of one rule file."""

    def collect(self) -> Iterator[Cells]:
        from .api import UnknownName, targets_named
        from .conformance.protocol import DTYPES, NUMERICS
        from .discovery import target

        try:
            targets = targets_named(self.config.getini("optloom_targets"))
        except UnknownName as error:
            raise pytest.UsageError(f"optloom_targets: {error}") from error
        for name in targets:
            # The kind of code that a target has by default comes first.
            for numerics in sorted(NUMERICS, key=lambda kind, name=name: kind != target(name).numerics):  # type: ignore[misc]
                for dtype in DTYPES:
                    cells = (name, numerics, dtype)
                    yield Cells.from_parent(self, name="-".join(cells), cells=cells)


class Cells(pytest.Item):
    """The cells of a rule in one target, one kind of code and one dtype."""

    def __init__(self, *, cells: tuple[str, str, str], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.target, self.numerics, self.dtype = cells

    def runtest(self) -> None:
        report = _report(self.config, self.path, self.target)
        if self.target in report.missing:
            pytest.skip(report.missing[self.target])
        found = [r for r in report.results if (r.cell.numerics, r.cell.dtype) == (self.numerics, self.dtype)]
        if not found:
            pytest.skip(f"{self.target} has no {self.numerics} code for {self.dtype}")
        if failures := [result for result in found if result.kind == "FAIL"]:
            raise NonConforming(_told(failures, self))
        if all(result.kind == "SKIP" for result in found):
            pytest.skip(found[0].note)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        from optloom.spec.errors import SpecError

        if isinstance(excinfo.value, (NonConforming, SpecError, ModuleNotFoundError)):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.stem}: {self.name}"


class NonConforming(Exception):
    """Cells fail; the message says which, and how to see it again."""


_REPORTS = pytest.StashKey[dict[tuple[Path, str], "Report"]]()


def _report(config: pytest.Config, path: Path, target: str) -> Report:
    """One run of the suite serves all cells of a rule in a target."""
    from .conformance import conform
    from .discovery import discover

    known = config.stash.setdefault(_REPORTS, {})
    if (path, target) not in known:
        extent: Extent = "usual" if config.getini("optloom_full") else "quick"
        known[path, target] = conform(discover(path), [target], extent=extent)
    return known[path, target]


def _told(failures: Iterable[Result], cells: Cells) -> str:
    lines = []
    for result in failures:
        lines += [f"{result.cell.id}: {result.note}", *(f"  {text}" for text in result.judgement.complaints)]
    quick = "" if cells.config.getini("optloom_full") else " --quick"
    again = f"optloom conform {cells.path} -t {cells.target} -d {cells.dtype} --numerics {cells.numerics}{quick}"
    return "\n".join([*lines, f"to see it again: {again}"])


def _configured(config: pytest.Config) -> set[Path]:
    return {*_files(config, config.getoption("optloom")), *_files(config, config.getini("optloom_rules"))}


def _files(config: pytest.Config, paths: Iterable[str | Path]) -> list[Path]:
    """Rule files; a path on the command line starts at the working folder, one of the ini file at that file's."""
    files: list[Path] = []
    for path in (config.invocation_params.dir / given for given in paths):
        if not path.exists():
            raise pytest.UsageError(f"optloom: there is no rule file {path}")
        found = sorted(path.glob("[!_]*.py")) if path.is_dir() else [path]
        files += [file.resolve() for file in found]
    return files
