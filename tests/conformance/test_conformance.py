"""Every rule in every target against the oracle: the quick extent, a process for each target. One rule of each kind in
both kinds of code and in float32 and bfloat16, the others as the target ships them, in float32; with `--every-rule`
all alike. The whole table is `optloom conform`'s."""

from __future__ import annotations

import pytest
from kinds import representatives
from optloom.codegen.conformance import conform
from optloom.codegen.conformance.report import Report
from optloom.codegen.discovery import discover, targets
from optloom.codegen.discovery import target as load_target


@pytest.mark.parametrize("target", targets())
def test_every_rule_conforms(target: str, request: pytest.FixtureRequest) -> None:
    whole = {name for name in discover() if request.config.getoption("--every-rule") or name in representatives()}
    chosen = {name: rule for name, rule in discover().items() if name in whole}
    others = {name: rule for name, rule in discover().items() if name not in whole}
    shipped = [load_target(target).numerics]
    _check(conform(chosen, [target], extent="quick"))
    if others:
        _check(conform(others, [target], extent="quick", dtypes=["float32"], numerics=shipped))


def _check(report: Report) -> None:
    print(report.counts())
    assert not report.missing
    assert not [f"{result.cell.id}: {result.note}" for result in report.failures]
    assert not report.stale
    assert report.counts().keys() <= {"BIT", "BOUND", "FTZ", "DEV", "SKIP"}
    assert report.counts().get("BIT", 0) + report.counts().get("BOUND", 0) > 0
