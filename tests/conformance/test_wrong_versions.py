"""The suite tests itself: most wrong versions of a rule must be caught. All rules: `benchmarks/wrong_versions.py`."""

from __future__ import annotations

import pytest
from optloom.codegen.conformance.wrong_versions import scaled_versions, tried, wrong_versions
from optloom.codegen.discovery import discover

SAMPLE = ("adagrad", "adamax")


@pytest.mark.parametrize("rule", SAMPLE)
def test_wrong_versions_are_caught(rule: str) -> None:
    found = tried(discover()[rule], rule, wrong_versions(discover()[rule]))
    assert len(found.caught) > 20
    assert found.share() >= 0.95, found.missed


@pytest.mark.parametrize("rule", SAMPLE)
def test_one_operation_off_by_sixteen_units_is_caught(rule: str) -> None:
    found = tried(discover()[rule], rule, scaled_versions(discover()[rule]))
    assert found.share() >= 0.9, found.missed
