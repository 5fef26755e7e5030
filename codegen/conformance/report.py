"""What a run of the suite found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite
from typing import Any

from .judge import FINEST, Judgement
from .suite import Cell, Result

SCHEMA = 2
"""2 added `extent`, and in cells `histogram` and the worst element's bound and case (what it was computed from)."""


@dataclass(frozen=True)
class Row:
    """A line of the table: all variants of a rule in one mode, one kind of code and one dtype."""

    rule: str
    target: str
    mode: str
    numerics: str
    dtype: str
    kinds: dict[str, int]
    ratio: float
    bound: float
    error: float
    note: str


@dataclass
class Report:
    """`stale`: expected deviations that no longer apply, each as a sentence. `corpus`: the digest of its files."""

    results: list[Result]
    stale: list[str]
    corpus: str
    missing: dict[str, str] = field(default_factory=dict)
    """Targets that could not be run at all, with the reason."""
    extent: str = "usual"
    """How much was run (see `coverage`)."""

    @property
    def passed(self) -> bool:
        return not self.stale and all(result.kind != "FAIL" for result in self.results)

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.kind == "FAIL"]

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(result.kind for result in self.results).items()))

    def digests(self) -> dict[str, dict[str, list[str]]]:
        """By rule, variant and dtype: each SHA-256 after the run of strict code, with the targets and modes of it."""
        found: dict[str, dict[str, list[str]]] = {}
        for result in self.results:
            cell = result.cell
            if result.digest and cell.numerics == "strict":
                key = f"{cell.rule}/{cell.variant}/{cell.dtype}"
                found.setdefault(key, {}).setdefault(result.digest, []).append(f"{cell.target}/{cell.mode}")
        return {key: dict(sorted(value.items())) for key, value in sorted(found.items())}

    def table(self) -> list[Row]:
        """Rows in the order of rule, target, mode, numerics, dtype."""
        return [_row(key, list(group)) for key, group in groupby(sorted(self.results, key=_place), key=_place)]

    def as_json(self) -> dict[str, Any]:
        """Plain values, in a fixed order; no date, host or path."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "extent": self.extent,
            "corpus": self.corpus,
            "counts": self.counts(),
            "missing": dict(sorted(self.missing.items())),
            "stale_deviations": self.stale,
            "cells": list(self._cells()),
            "digests": self.digests(),
        }

    def _cells(self) -> Iterator[dict[str, Any]]:
        for result in sorted(self.results, key=lambda result: result.cell.id):
            judged, worst = result.judgement, result.judgement.worst
            yield {
                "id": result.cell.id,
                "class": result.kind,
                "ratio": judged.ratio if judged.ratio < float("inf") else None,
                "median_bound_ulp": round(judged.median_bound(), 3),
                "median_error_ulp": round(judged.median_error(), 3),
                "elements": judged.elements,
                "unbounded": judged.unbounded,
                "decided_either_way": judged.decided_either_way,
                "digest": result.digest,
                "note": result.note,
                "complaints": judged.complaints,
                "histogram": _histogram(judged),
                "worst": None if worst is None else {
                    "element": worst.element, "output": worst.output, "step": worst.step, "actual": worst.actual,
                    "expected": worst.expected, "bound": worst.bound if isfinite(worst.bound) else None,
                    **(worst.case or {}),
                },
            }  # fmt: skip


def _histogram(judged: Judgement) -> dict[str, int]:
    """How many errors of ordinary inputs lie between 2**k and 2**(k + 1) ULP, by k."""
    counts = enumerate(judged.histogram.tolist(), start=FINEST)
    return {str(exponent): count for exponent, count in counts if count}


def _place(result: Result) -> tuple[str, str, str, str, str]:
    cell: Cell = result.cell
    return cell.rule, cell.target, cell.mode, cell.numerics, cell.dtype


def _row(key: tuple[str, str, str, str, str], results: list[Result]) -> Row:
    notes = dict.fromkeys(result.note for result in results if result.note)
    return Row(
        *key,
        dict(sorted(Counter(result.kind for result in results).items())),
        max(result.judgement.ratio for result in results),
        max(result.judgement.median_bound() for result in results),
        max(result.judgement.median_error() for result in results),
        "; ".join(notes),
    )
