"""Every rule in every target against the oracle: the quick extent, a process for each target. The whole table is
`optloom conform`'s."""

from __future__ import annotations

import pytest
from optloom.codegen.conformance import conform
from optloom.codegen.discovery import discover, targets


@pytest.mark.parametrize("target", targets())
def test_every_rule_conforms(target: str) -> None:
    report = conform(discover(), [target], extent="quick")
    print(report.counts())
    assert not report.missing
    assert not [f"{result.cell.id}: {result.note}" for result in report.failures]
    assert not report.stale
    assert report.counts().keys() <= {"BIT", "BOUND", "FTZ", "DEV", "SKIP"}
    assert report.counts().get("BIT", 0) + report.counts().get("BOUND", 0) > 0
