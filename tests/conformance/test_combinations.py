"""Stages in combination: which ones `optloom conform --stages` runs, and that they conform where it costs little."""

from __future__ import annotations

import pytest
from optloom.codegen.conformance import conform
from optloom.codegen.conformance.cases import Variant, composition_of
from optloom.codegen.conformance.combinations import RANDOM, combined
from optloom.codegen.discovery import discover

CLIPS = {"clipvalue", "clipnorm", "global_clipnorm"}


def _combined(rule: str) -> list[Variant]:
    return combined(composition_of(discover()[rule]))


def _on(variant: Variant) -> frozenset[str]:
    """What turns the variant's stages on."""
    stages = composition_of(discover()["sgd"]).stages
    return frozenset(stage.when for stage in stages if stage.when in (*variant.hypers, *variant.stage_options))


def test_each_alone_each_pair_that_fits_and_ten_at_random() -> None:
    every = _combined("sgd")
    stages = {stage.when for stage in composition_of(discover()["sgd"]).stages}
    sets = [_on(variant) for variant in every]
    pairs = {frozenset({a, b}) for a in stages for b in stages if a != b and not {a, b} <= CLIPS}
    assert {chosen for chosen in sets if len(chosen) == 1} == {frozenset({stage}) for stage in stages}
    assert {chosen for chosen in sets if len(chosen) == 2} == pairs
    assert sum(len(chosen) > 2 for chosen in sets) == RANDOM
    assert all(len(chosen & CLIPS) < 2 for chosen in sets)
    assert len({variant.name for variant in every}) == len(every)


def test_they_are_the_same_every_time_and_hold_the_rules_own_options() -> None:
    assert _combined("sgd") == _combined("sgd")
    assert any("momentum" in variant.hypers for variant in _combined("sgd"))


def test_a_stage_that_a_rule_turns_on_itself_is_left_to_it() -> None:
    assert not any("weight_decay" in variant.hypers for variant in _combined("adamw"))


@pytest.mark.parametrize("rule", ["sgd", "lamb", "prodigy"])
def test_they_conform(rule: str) -> None:
    report = conform({rule: discover()[rule]}, ["numpy"], extent="stages")
    assert report.passed, [f"{result.cell.id}: {result.note}" for result in report.failures]
    assert report.counts() == {"BIT": len(_combined(rule))}
