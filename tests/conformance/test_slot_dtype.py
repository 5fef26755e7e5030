"""Slots of the parameter's dtype: `generate --slot-dtype parameter`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
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
    Dtype,
    Job,
    Numerics,
    Snapshot,
    load_module,
    numpy_dtype,
)
from optloom.codegen.conformance.runs import judge_run
from optloom.codegen.conformance.suite import Answers, RuleSuite
from optloom.codegen.discovery import discover
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
MODES = {
    "pytorch": ("eager", "foreach", "capturable"),
    "jax": ("step-eager", "step-jit"),
    "tensorflow": ("eager", "function", "xla"),
}
"""The ways to run a framework's code that keep slots of the parameter's dtype."""
IN_FRAMEWORKS = {"adam": "amsgrad", "adamax": "plain", "adamw": "master"}
"""Rules that are run in the first way of each; the first of them in all."""
NEVER_STRICT = ("capturable",)
FLUSHING = ("jax", "tensorflow")
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


def _ways() -> Iterator[tuple[str, str, str, Numerics]]:
    for target, modes in MODES.items():
        for mode in modes:
            for name in list(IN_FRAMEWORKS)[: None if mode == modes[0] else 1]:
                yield target, mode, name, "fast"
                if mode not in NEVER_STRICT:
                    yield target, mode, name, "strict"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("target", "mode", "name", "numerics"), list(_ways()))
def test_frameworks_keep_what_the_oracle_keeps(
    target: str, mode: str, name: str, dtype: Dtype, numerics: Numerics, folder: Path
) -> None:
    found = _answers(name, target, dtype, folder, mode, numerics)
    _judge(name, dtype, found, flushed=target in FLUSHING)
    if numerics == "strict":
        reference = _answers(name, "numpy", dtype, folder)
        assert found.run_digest == reference.run_digest
        assert found.steps_digest == reference.steps_digest or target in FLUSHING


@pytest.mark.parametrize("target", MODES)
def test_float32_keeps_the_same_bits_in_frameworks(target: str, folder: Path) -> None:
    found = _answers("adam", target, "float32", folder, MODES[target][0], "strict")
    assert found.run_digest == _answers("adam", "numpy", "float32", folder).run_digest


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_optax_transformation_keeps_what_the_step_of_jax_keeps(dtype: Dtype, folder: Path) -> None:
    """Weights are rounded once more where an update is added to them; no slot depends on them here."""
    found = _answers("adam", "jax", dtype, folder, "factory", "strict").run
    expected = _answers("adam", "jax", dtype, folder, "step-jit", "strict").run
    for one, other in zip(found, expected, strict=True):
        for name, arrays in other.slots.items():
            for x, y in zip(one.slots[name], arrays, strict=True):
                assert x.dtype == numpy_dtype(dtype)
                np.testing.assert_array_equal(x, y)


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


RULE = """
from optloom.spec import Hyper, Rule, Slot


class Plain(Rule):
    \"\"\"What a slot is called that Keras has one of.\"\"\"

    learning_rate = Hyper(0.1, ge=0)
    average = Slot("average of the gradients")

    def step(self, w, g, t):
        self.average = (self.average + g) / 2
        return w - self.learning_rate * self.average
"""


def test_tensorflow_says_which_slots_it_cannot_tell_from_those_of_keras(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(RULE)
    rule = discover(tmp_path / "plain.py")["plain"]
    assert "average" in render(rule, "tensorflow")["tensorflow/plain.py"]
    with pytest.raises(UnsupportedOperation, match="slots of the parameter's dtype that are called as one of Keras's"):
        render(rule, "tensorflow", settings=Settings(slot_dtype="parameter"))
