from __future__ import annotations

from dataclasses import replace

import pytest
from optloom.codegen.passes.locality import locality
from programs import RULES, program_before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("adam", ""),
        ("sgd", ""),
        ("nadam", "`product` is not of the parameter's shape"),
        ("lookahead", ""),
        ("lamb", "`w_norm` is taken from the whole tensor"),
        ("adafactor", "`r` is not of the parameter's shape"),
        ("muon", "is taken from the whole tensor"),
    ],
)
def test_only_elementwise_rules_may_run_on_some_rows(name: str, reason: str) -> None:
    found = locality(program_before(RULES[name], "legalise"))
    assert reason in found and bool(reason) == bool(found)


def test_a_sum_over_all_tensors_is_named_as_such() -> None:
    program = program_before(RULES["prodigy"], "legalise")
    arrays = replace(program, slots=tuple(slot for slot in program.slots if slot.shape == "parameter"))
    assert "is taken from all tensors" in locality(arrays)
