"""What the judge lets pass, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optloom.codegen.conformance.judge import ENOUGH, Judgement, judge
from optloom.codegen.conformance.oracle import Expected, Outcome
from optloom.codegen.conformance.protocol import Snapshot

IDS = tuple(f"update/{index:03d}" for index in range(40))
STEPS = np.array([1])
DTYPES = "float32", {"m": "float32", "v": "float32"}


def _expected(head: np.ndarray, bound: float) -> Expected:
    full = np.full(head.shape, bound, np.longdouble)
    return Expected(head, np.zeros(head.shape), full, np.zeros(head.shape, np.uint8))


def _judged(actual: np.ndarray, expected: Expected, updates: int = 1) -> Judgement:
    outcome = Outcome([expected], {}, frozenset())
    return judge([Snapshot([actual[0]], {}, updates)], outcome, STEPS, [IDS[: actual[0].size]], DTYPES)


def test_twice_the_bound_passes_and_no_more() -> None:
    head = np.ones((1, 3))
    for off, passes in ((1.9e-6, True), (2.1e-6, False)):
        actual = np.float32(head)
        actual[0, 1] += np.float32(off)
        found = _judged(actual, _expected(head, 1e-6))
        assert found.passes == passes
        assert found.ratio == pytest.approx(off / 1e-6, rel=0.05)
        assert found.worst is not None and found.worst.element == "update/001" and found.worst.step == 1


def test_what_must_be_exact_must_be_exact() -> None:
    head = np.ones((1, 3))
    assert _judged(np.float32(head), _expected(head, 0)).passes
    assert not _judged(np.float32(head) + np.float32(1e-7), _expected(head, 0)).passes


@pytest.mark.parametrize("wrong", [0.0, -np.inf, np.nan])
def test_infinities_and_nan_are_compared_by_kind(wrong: float) -> None:
    head = np.array([[np.inf, 1.0, np.nan]])
    assert _judged(np.float32(head), _expected(head, 0)).passes
    assert not _judged(np.float32([[wrong, 1, np.nan]]), _expected(head, 0)).passes
    assert not _judged(np.float32([[np.inf, 1, 0]]), _expected(head, 0)).passes
    assert not _judged(np.float32([[np.inf, wrong, np.nan]]), _expected(head, 1e-3)).passes


def test_what_nothing_is_known_about_passes_and_is_counted() -> None:
    head = np.array([[1.0, np.inf]])
    found = _judged(np.float32([[7, np.nan]]), _expected(head, np.inf))
    assert found.passes and found.unbounded == 2


def test_wrong_shapes_dtypes_slots_and_counts_are_complaints() -> None:
    head = np.ones((1, 3))
    expected = _expected(head, 1)
    good = np.ones(3, np.float32)
    outcome = Outcome([expected], {"m": [expected]}, frozenset())
    cases = {
        "shape": Snapshot([np.ones(4, np.float32)], {"m": [good]}, 1),
        "dtype": Snapshot([good], {"m": [good.astype(np.float64)]}, 1),
        "missing": Snapshot([good], {}, 1),
        "arrays": Snapshot([good], {"m": [good, good]}, 1),
        "updates": Snapshot([good], {"m": [good]}, 2),
    }
    assert judge([Snapshot([good], {"m": [good]}, 1)], outcome, STEPS, [IDS[:3]], DTYPES).passes
    for word, snapshot in cases.items():
        found = judge([snapshot], outcome, STEPS, [IDS[:3]], DTYPES)
        assert not found.passes and word in " ".join(found.complaints)


def test_errors_that_all_elements_share_are_seen_below_the_bound() -> None:
    head = np.linspace(1, 2, 40)[None]
    expected = replace(_expected(head, 20 * 2.0**-23), spread=np.full(head.shape, 2.0**-24, np.longdouble))
    random = np.random.default_rng(1).choice([-1, 1], head.shape) * 2.0**-23
    assert _judged(np.float32(head + random), expected).passes
    shifted = _judged(np.float32(head * (1 + 8 * 2.0**-23)), expected)
    assert shifted.ratio < 1 and shifted.scatter > 5 and not shifted.passes


def test_few_elements_say_nothing_about_all() -> None:
    head = np.linspace(1, 2, ENOUGH - 1)[None]
    expected = replace(_expected(head, 20 * 2.0**-23), spread=np.full(head.shape, 2.0**-24, np.longdouble))
    assert _judged(np.float32(head * (1 + 8 * 2.0**-23)), expected).scatter == 0


def test_medians_are_of_ordinary_inputs() -> None:
    head = np.ones((1, 2))
    expected = _expected(head, 3 * 2.0**-23)
    outcome = Outcome([expected], {}, frozenset())
    for kind, median in (("update", 3.0), ("huge", 0.0)):
        ids = (f"{kind}/000", f"{kind}/001")
        found = judge([Snapshot([np.ones(2, np.float32)], {}, 1)], outcome, STEPS, [ids], DTYPES)
        assert found.median_bound() == median


def test_a_number_of_a_tensor_without_elements_is_judged() -> None:
    expected = _expected(np.ones(1), 2.0**-23)
    slots = {"v": [np.float32(1.5) * np.ones((), np.float32)]}
    outcome = Outcome([_expected(np.ones((1, 0)), 0.0)], {"v": [expected]}, frozenset())
    found = judge([Snapshot([np.ones(0, np.float32)], slots, 1)], outcome, STEPS, [()], DTYPES)
    assert not found.passes and found.worst is not None and found.worst.element == ""
