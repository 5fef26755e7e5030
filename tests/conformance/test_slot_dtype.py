"""Slots of the parameter's dtype: `generate --slot-dtype parameter`."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from optloom.codegen.api import Selection, check, generate
from optloom.codegen.compiler import Settings, render
from optloom.codegen.conformance.cases import cases, composition_of, variants
from optloom.codegen.conformance.inputs import Question, questions
from optloom.codegen.conformance.judge import judge
from optloom.codegen.conformance.protocol import (
    NUMERICS,
    Dtype,
    Job,
    Numerics,
    Snapshot,
    load_module,
    numpy_dtype,
)
from optloom.codegen.conformance.runs import judge_run
from optloom.codegen.conformance.suite import Answers, RuleSuite
from optloom.codegen.discovery import discover, targets
from optloom.codegen.printing import UnsupportedOperation

NARROW = Settings(conventions="all", slot_dtype="parameter")
RULES = {
    "adam": "amsgrad",
    "adagrad": "plain",
    "sgd": "momentum",
    "lookahead": "plain",
    "adamw": "master",
    "yogi": "all-stages",
}
"""Rules, and the variants of them that are run."""
MODES = {"pytorch": ("eager", "foreach"), "jax": ("step-eager",)}
"""The ways to run a framework's code that keep slots of the parameter's dtype."""
IN_FRAMEWORKS = {"adam": "amsgrad", "adamax": "plain"}
FLUSHING = ("jax",)
"""The frameworks that take subnormal numbers for zero: in steps from injected states that holds some."""
DTYPES: tuple[Dtype, ...] = ("float16", "bfloat16", "float32")
CALLS = 20


def _runs(job: Job) -> list[list[Snapshot]]:
    raise AssertionError("the reference is called as any other target")


@cache
def _suite(name: str) -> RuleSuite:
    return RuleSuite(name, discover()[name], _runs, "numpy")


@cache
def _question(name: str, dtype: Dtype) -> Question:
    """One step from injected states, and a run from the start."""
    suite = _suite(name)
    chosen = (RULES | IN_FRAMEWORKS)[name]
    variant = next(each for each in variants(composition_of(suite.rule)) if each.name == chosen)
    case = next(each for each in cases(suite.composition, variant, dtype) if each.name == "other")
    asked = questions(suite.composition, case, dtype, suite.features(variant), CALLS)[0]
    given, flushed = (replace(each, slot_dtype="parameter") for each in (asked.given, asked.flushed))
    return replace(asked, given=given, flushed=flushed)


@cache
def _answers(
    name: str, target: str, dtype: Dtype, folder: Path, mode: str = "", numerics: Numerics | None = None
) -> Answers:
    runner = importlib.import_module(f"optloom.codegen.targets.{target}.runner")
    settings = replace(NARROW, conventions="own") if target in MODES else NARROW
    files = render(discover()[name], target, numerics, settings)
    folder /= numerics or "default"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    file = next(folder / path for path in files if Path(path).stem == name)

    def run(job: Job) -> list[list[Snapshot]]:
        made: list[list[Snapshot]] = runner.run(replace(job, file=str(file), mode=mode or runner.MODES[0].name))
        return made

    return _suite(name).answers(_question(name, dtype), dtype, run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("narrow")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("target", ["numpy", "cpp", "cuda"])
def test_steps_and_runs_are_the_oracles_and_the_same_bits(target: str, name: str, dtype: Dtype, folder: Path) -> None:
    found, reference = _answers(name, target, dtype, folder), _answers(name, "numpy", dtype, folder)
    _judge(name, dtype, found)
    assert (found.steps_digest, found.run_digest) == (reference.steps_digest, reference.run_digest)


@pytest.mark.parametrize("numerics", NUMERICS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IN_FRAMEWORKS)
@pytest.mark.parametrize(("target", "mode"), [(target, mode) for target, modes in MODES.items() for mode in modes])
def test_frameworks_keep_what_the_oracle_keeps(
    target: str, mode: str, name: str, dtype: Dtype, numerics: Numerics, folder: Path
) -> None:
    found = _answers(name, target, dtype, folder, mode, numerics)
    _judge(name, dtype, found, flushed=target in FLUSHING)
    if numerics == "strict":
        reference = _answers(name, "numpy", dtype, folder)
        assert found.run_digest == reference.run_digest
        assert found.steps_digest == reference.steps_digest or target in FLUSHING


def _judge(name: str, dtype: Dtype, found: Answers, flushed: bool = False) -> None:
    """Steps and run are the oracle's, within the bounds."""
    question = _question(name, dtype)
    ids = [tensor.ids for tensor in question.tensors]
    expected = question.expected_if_flushed if flushed else question.expected
    judged = judge(found.steps, expected, np.array(question.case.steps), ids, question.given.dtypes)
    assert judged.passes, judged
    judged = judge_run(question, found.run, _suite(name).features(question.case.variant))
    assert judged.passes, judged


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_computes_with_what_the_slot_keeps(dtype: str, tmp_path: Path) -> None:
    (tmp_path / "sgd.py").write_text(render(discover()["sgd"], "numpy", settings=NARROW)["numpy/sgd.py"])
    random = np.random.default_rng(5)
    w, g = (random.standard_normal(4096).astype(numpy_dtype(dtype)) for _ in range(2))
    before = w.astype(np.float32)
    optimizer = load_module(str(tmp_path / "sgd.py")).SGD([w], learning_rate=0.3, momentum=0.9)
    optimizer.step([g])
    kept = optimizer.slots[0].m
    unrounded = before - np.float32(0.3) * g.astype(np.float32)
    assert kept.dtype == w.dtype
    np.testing.assert_array_equal(w, (before + kept.astype(np.float32)).astype(w.dtype))
    assert (w != unrounded.astype(w.dtype)).any(), "the numbers do not tell the two apart"


def test_weights_and_what_stages_keep_stay_in_the_compute_dtype() -> None:
    text = render(discover()["lookahead"], "numpy", settings=NARROW)["numpy/lookahead.py"]
    assert "slots.m = np.zeros(w.shape, w.dtype)" in text
    assert "slots.slow = w.astype(dtype)" in text and "slots.slow.astype" not in text
    assert "slots.weight_average = np.zeros(w.shape, dtype)" in text


def test_generate_takes_the_option(tmp_path: Path) -> None:
    generate(Selection(("adam",), ("cpp",), slot_dtype="parameter"), tmp_path)
    assert (tmp_path / "cpp" / "adam.cpp").read_text() != render(discover()["adam"], "cpp")["cpp/adam.cpp"]
    assert check(Selection(("adam",), ("cpp",), slot_dtype="parameter"), tmp_path) == ()
    assert check(Selection(("adam",), ("cpp",)), tmp_path)


@pytest.mark.parametrize("place", sorted(set(targets()) - {"numpy", "cpp", "cuda", *MODES}))
def test_a_target_that_does_not_print_them_says_so(place: str) -> None:
    with pytest.raises(UnsupportedOperation, match="slots of the parameter's dtype"):
        render(discover()["adam"], place, settings=Settings(slot_dtype="parameter"))
