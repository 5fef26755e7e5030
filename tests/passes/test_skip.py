"""The gate: what decides about whole calls, and leaves no trace where it is not asked for."""

from __future__ import annotations

import re

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, passes_of, render, targets
from optloom.codegen.conformance.cases import Conventions, composition_of, configuration, with_stages
from optloom.codegen.conformance.oracle import Batch, step
from optloom.codegen.explain import explain
from optloom.codegen.ir.text import program_text
from optloom.codegen.passes.specialise import specialise
from optloom.spec import AllFinite, Composition, Option, Slot, SpecError, Stage, Value
from optloom.spec.stages import PIPELINE, Accumulate, Decay, SkipNonfinite
from optloom.spec.tracing import trace
from programs import RULES, program_before

WITHOUT = tuple(stage for stage in PIPELINE if stage is not SkipNonfinite)


class Late(Stage):
    """It keeps something of every call before it decides."""

    late = Option(False)
    kept = Slot("every gradient", when=late)
    when = "late"

    def every_call(self, w: Value, g: Value) -> None:
        self.kept = self.kept + g

    region = AllFinite("all_finite")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        return self.inner(w, g, t)


def test_nothing_comes_before_it() -> None:
    with pytest.raises(SpecError, match="'all_finite' decides about whole calls, but something comes before it"):
        trace(Composition(RULES["sgd"], (Late,)))
    with pytest.raises(SpecError, match="something comes before it"):
        trace(Composition(RULES["sgd"], (Accumulate, SkipNonfinite)))


def test_it_goes_with_its_option() -> None:
    before = program_before(RULES["sgd"], "specialise")
    assert "  gate all_finite if skip_nonfinite; else skipped <- skipped + 1" in program_text(before).split("\n")
    off, on = (specialise(before, {"skip_nonfinite": value}) for value in (False, True))
    assert off.gate is None and "skip" not in program_text(off)
    assert "  gate all_finite if always; else skipped <- skipped + 1" in program_text(on).split("\n")


@pytest.mark.parametrize("name", ["sgd", "lamb"])
def test_without_the_stage_no_target_says_a_word_of_it(name: str) -> None:
    for target in targets():
        with_it = [text for path, text in render(RULES[name], target).items() if name in path]
        assert any("skip_nonfinite" in text for text in with_it), target
        files = render(RULES[name], target, settings=Settings(stages=WITHOUT))
        for path, text in files.items():
            if name in path:
                assert not re.search("nonfinite|all_finite|is_closed|_gate|skipped;", text), path


def test_it_reads_every_gradient_once_more() -> None:
    moved = explain(RULES["adam"], stages=(SkipNonfinite, Decay)).bytes_moved
    assert moved["skip_nonfinite=True"] - moved["default"] == 4
    assert dict(passes_of(RULES["adam"], settings=Settings(stages=WITHOUT)))["legalise"].gate is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.0])
def test_the_oracle_leaves_everything_as_it_is(value: float) -> None:
    composition = composition_of(RULES["sgd"])
    variant = with_stages(Conventions(), (SkipNonfinite,), "skip")
    given = configuration(composition, variant, "float32")
    w, g = (np.ones((1, 2), np.float32) for _ in range(2))
    g[0, 1] = value
    outcome = step(given, Batch([w], [g], {}, np.array([3]), np.array([3])))
    assert outcome.is_skipped == (not np.isfinite(value))
    assert (outcome.parameters[0].head == w).all() == outcome.is_skipped
