"""The suite tests itself: most wrong versions of a rule must be caught. Here every third of two rules;
`benchmarks/wrong_versions.py` tries all of all rules."""

from __future__ import annotations

from itertools import islice

import pytest
from optloom.codegen.conformance.wrong_versions import scaled_versions, tried, wrong_versions
from optloom.codegen.discovery import discover

SAMPLE = ("adagrad", "adamax")
EVERY = 3


@pytest.mark.parametrize("rule", SAMPLE)
def test_wrong_versions_are_caught(rule: str) -> None:
    found = tried(discover()[rule], rule, islice(wrong_versions(discover()[rule]), None, None, EVERY))
    assert len(found.caught) > 20
    assert found.share() >= 0.95, found.missed


@pytest.mark.parametrize("rule", SAMPLE)
def test_one_operation_off_by_sixteen_units_is_caught(rule: str) -> None:
    found = tried(discover()[rule], rule, islice(scaled_versions(discover()[rule]), None, None, EVERY))
    assert found.share() >= 0.9, found.missed
