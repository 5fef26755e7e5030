"""Whole runs: what is run, what is caught, and what becomes of expected deviations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen.conformance import campaign, conform
from optloom.codegen.conformance.campaign import REFERENCE, Campaign
from optloom.codegen.conformance.deviations import Deviation, deviations
from optloom.codegen.conformance.judge import Judgement
from optloom.codegen.conformance.pool import Failed, Worker
from optloom.codegen.conformance.rendering import rendered
from optloom.codegen.conformance.report import Report
from optloom.codegen.conformance.suite import Cell, Kind, Result
from optloom.codegen.discovery import discover

RULES = dict(sorted(discover().items())[1:2])
"""One of the small ones."""


def _report(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> Report:
    """The report on code in which a piece of text was replaced."""

    def broken(*arguments: Any, **options: Any) -> Path:
        file = rendered(*arguments, **options)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return file

    monkeypatch.setattr(campaign, "rendered", broken)
    return conform(RULES, [REFERENCE], dtypes=["float32"], extent="quick")


def test_right_code_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _report(monkeypatch, "np.sqrt(", "np.sqrt(")
    assert report.passed and report.counts().keys() == {"BIT"}
    assert all(result.judgement.median_bound() < 16 for result in report.results)
    assert any(result.digest for result in report.results)


@pytest.mark.parametrize(
    ("old", "new", "sign"),
    [
        ("np.sqrt(", "np.cbrt(", "error"),
        ("np.sqrt(", "np.float32(1.000002) * np.sqrt(", "error"),
        ("self.updates += 1", "self.updates += 2", "updates"),
        ("self.updates += 1", "self.updates += no_such_name", "NameError"),
        ("np.sqrt(", "np.float64(1) * np.sqrt(", "error"),
    ],
)
def test_wrong_code_fails(monkeypatch: pytest.MonkeyPatch, old: str, new: str, sign: str) -> None:
    report = _report(monkeypatch, old, new)
    assert not report.passed and {result.kind for result in report.results} == {"FAIL"}
    texts = [result.note + " ".join(result.judgement.complaints) for result in report.results]
    assert sign == "error" or all(sign in text for text in texts)


def test_the_report_is_plain_and_the_same_every_time() -> None:
    runs = [conform(RULES, [REFERENCE], dtypes=["float32"], extent="quick").as_json() for _ in range(2)]
    text = json.dumps(runs[0], allow_nan=False)
    assert runs[0] == runs[1]
    assert runs[0]["passed"] and runs[0]["corpus"] and runs[0]["cells"]
    assert str(Path.home()) not in text and "/tmp" not in text


def test_progress_counts_every_cell() -> None:
    told: list[tuple[int, int, str]] = []
    conform(RULES, [REFERENCE], dtypes=["float32"], extent="quick", progress=lambda *what: told.append(what))
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert {total for _, total, _ in told} == {len(told)}


def test_a_worker_that_dies_is_started_anew() -> None:
    worker = Worker(REFERENCE)
    try:
        modes = worker.modes()
        assert worker.process is not None
        worker.process.kill()
        with pytest.raises(Failed, match="ended with status"):
            worker.modes()
        assert worker.modes() == modes
    finally:
        worker.close()


def test_a_target_that_cannot_run_is_told() -> None:
    report = conform(RULES, ["no_such_target"], extent="quick")
    assert "no_such_target" in report.missing and not report.results


def _result(kind: Kind, accepted: bool, part: str = "step") -> Result:
    cell = Cell("rule", "plain", "target", "mode", "strict", "float32", part)  # type: ignore[arg-type]
    return Result(cell, kind, accepted, Judgement())


def _settled(monkeypatch: pytest.MonkeyPatch, results: list[Result], lines: list[Deviation]) -> list[str]:
    monkeypatch.setattr(campaign, "deviations", lambda target: lines)
    return Campaign(discover(), ("target",))._settle(results)


def test_an_unlisted_deviation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _result("BOUND", accepted=False)
    assert not _settled(monkeypatch, [result], [])
    assert result.kind == "FAIL" and "BOUND" in result.note


@pytest.mark.parametrize(
    ("kind", "named", "becomes"), [("BOUND", "BOUND", "BOUND"), ("FTZ", "FTZ", "FTZ"), ("FAIL", "DEV", "DEV")]
)
def test_a_listed_deviation_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, named: str, becomes: str
) -> None:
    result = _result(kind, accepted=False)
    assert not _settled(monkeypatch, [result], [Deviation("rule/*", named, "why", 3)])
    assert (result.kind, result.note, result.accepted) == (becomes, "why", True)


def test_a_deviation_of_another_class_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _result("FAIL", accepted=False)
    stale = _settled(monkeypatch, [result], [Deviation("rule/*", "BOUND", "why", 3)])
    assert result.kind == "FAIL" and len(stale) == 1


@pytest.mark.parametrize("glob", ["rule/*", "nothing/*"])
def test_a_deviation_that_no_cell_needs_is_stale(monkeypatch: pytest.MonkeyPatch, glob: str) -> None:
    stale = _settled(monkeypatch, [_result("BIT", accepted=True)], [Deviation(glob, "BOUND", "why", 3)])
    assert stale == [f"target/deviations.txt:3: no cell needs `{glob} BOUND` any more"]


def test_a_partial_run_judges_no_deviation_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "deviations", lambda target: [Deviation("x", "BOUND", "why", 3)])
    assert not Campaign(discover(), ("target",), dtypes=("float32",))._settle([_result("BIT", accepted=True)])


def test_deviations_are_read_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "deviations.txt"
    file.write_text("# a comment\n\na/*/b  FTZ  flushes to zero\n")
    assert deviations("any", tmp_path) == [Deviation("a/*/b", "FTZ", "flushes to zero", 3)]
    for wrong in ("a/* BIT reason", "a/* FTZ", "a/*"):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"deviations\.txt:1"):
            deviations("any", tmp_path)
    assert deviations("any", tmp_path / "nowhere") == []
