"""One cell of the suite: a rule's variant, in one mode of one target, in one kind of code and one dtype."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Literal, TypeAlias

import numpy as np
from optloom.spec.rule import Composition, Rule

from .cases import Case, Variant, cases, composition_of, features, variants
from .combinations import combined
from .coverage import RUN_CASE, Share
from .inputs import Question, questions
from .judge import Judgement, judge
from .pool import Failed, Skipped, Worker
from .protocol import Array, Dtype, Job, Mode, Numerics, Snapshot
from .runs import judge_run
from .worst import with_case

Kind: TypeAlias = Literal["BIT", "BOUND", "FTZ", "DEV", "FAIL", "SKIP"]


@dataclass(frozen=True)
class Cell:
    """`part`: "step" (one step from injected states) or "run" (many calls from the start)."""

    rule: str
    variant: str
    target: str
    mode: str
    numerics: Numerics
    dtype: Dtype
    part: Literal["step", "run"]

    @property
    def id(self) -> str:
        return "/".join((self.rule, self.variant, self.target, self.mode, self.numerics, self.dtype, self.part))


@dataclass
class Result:
    """What became of a cell. `kind` is what it is; `accepted`: whether that is right for it, listed or not."""

    cell: Cell
    kind: Kind
    accepted: bool
    judgement: Judgement = field(default_factory=Judgement)
    note: str = ""
    digest: str = ""
    """SHA-256 of parameters and slots after the run."""


@dataclass
class Answers:
    """What one optimizer computed for one question: a snapshot per single step, and one per call of the run."""

    steps: list[Snapshot]
    run: list[Snapshot]

    def __post_init__(self) -> None:
        self.steps_digest, self.run_digest, self.end_digest = map(_digest, (self.steps, self.run, self.run[-1:]))


def _digest(snapshots: list[Snapshot]) -> str:
    """SHA-256 of parameters and slots; NaN are all alike, and so are the two zeros."""
    hashed = hashlib.sha256()
    for series in _series(snapshots):
        if len({(array.dtype, array.shape) for array in series}) > 1:
            return "shapes or dtypes differ from call to call"
        together = np.stack(series)
        together[np.isnan(together)] = np.nan
        together[together == 0] = 0
        hashed.update(f"{together.dtype.name}{together.shape}".encode())
        hashed.update(together.tobytes())
    return hashed.hexdigest()


def _series(snapshots: list[Snapshot]) -> Iterator[list[Array]]:
    """Each array of the state, call by call; those that a call lacks are left out."""
    states = [{"w": snapshot.parameters} | dict(sorted(snapshot.slots.items())) for snapshot in snapshots]
    for name, arrays in (states[0] if states else {}).items():
        for index in range(len(arrays)):
            yield [state[name][index] for state in states if index < len(state.get(name, ()))]


@dataclass
class RuleSuite:
    """Everything about one rule that targets share: questions, the reference's answers, judgements."""

    name: str
    rule: type[Rule]
    reference: Callable[[Job], list[list[Snapshot]]]
    """Runs a job in the reference, the strict code whose bits are compared; it fills in file and mode."""
    reference_target: str
    _features: dict[str, frozenset[str]] = field(default_factory=dict)
    _questions: dict[tuple[str, str, int, str], list[Question]] = field(default_factory=dict)
    _answers: dict[int, Answers] = field(default_factory=dict)
    _judged: dict[tuple[int, str, str], Judgement] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    @cached_property
    def composition(self) -> Composition:
        return composition_of(self.rule)

    def features(self, variant: Variant) -> frozenset[str]:
        """What a variant sums over."""
        with self._lock:
            if variant.name not in self._features:
                self._features[variant.name] = features(self.composition, variant)
            return self._features[variant.name]

    @cached_property
    def variants(self) -> list[Variant]:
        return variants(self.composition)

    @cached_property
    def combined(self) -> list[Variant]:
        return combined(self.composition)

    def questions(self, share: Share, dtype: Dtype) -> list[Question]:
        return [
            question
            for case in cases(self.composition, share.variant, dtype) if case.name in share.cases
            for question in self._questions_of(share, case, dtype)
        ]  # fmt: skip

    def _questions_of(self, share: Share, case: Case, dtype: Dtype) -> list[Question]:
        variant, calls = share.variant, share.run_calls if case.name == RUN_CASE else 0
        key = variant.name, case.name, calls, dtype
        if key not in self._questions:
            self._questions[key] = questions(self.composition, case, dtype, self.features(variant), calls)
        made = self._questions[key]
        if share.apart:
            return made
        is_gated = share.closed and "gate" in self.features(variant)
        return made[:1] + [question for question in made[1:] if is_gated and question.expected.is_skipped][:1]

    def answers(self, question: Question, dtype: Dtype, run: Callable[[Job], list[list[Snapshot]]]) -> Answers:
        """`run` fills in its own file and mode."""
        case = question.case
        snapshots: list[list[Snapshot]] = []
        for episodes in question.jobs():
            settings = dict(case.hypers), dict(case.variant.options)
            source = inspect.getsourcefile(self.rule) or ""
            made = run(Job("", self.rule.__name__, "", dtype, episodes, *settings, source))
            if len(made) != len(episodes):
                raise Failed(f"the runner answered {len(made)} episodes of {len(episodes)}")
            snapshots += made
        count = len(case.steps)
        return Answers([calls[0] for calls in snapshots[:count]], snapshots[count] if question.run_calls else [])

    def reference_answers(self, question: Question, dtype: Dtype) -> Answers:
        with self._lock:
            if id(question) not in self._answers:
                answers = self.answers(question, dtype, self.reference)
                if question.run_calls:
                    self.judged_run(question, answers)
                    answers.run = []  # Large, and not needed any more: digest and judgement stand for it.
                self._answers[id(question)] = answers
            return self._answers[id(question)]

    def judged_steps(self, question: Question, answers: Answers, flushed: bool) -> Judgement:
        key = (id(question), "flushed" if flushed else "steps", answers.steps_digest)
        with self._lock:
            if key not in self._judged:
                outcome = question.expected_if_flushed if flushed else question.expected
                ids = [tensor.ids for tensor in question.tensors]
                judged = judge(answers.steps, outcome, np.array(question.case.steps), ids, question.given.dtypes)
                self._judged[key] = with_case(judged, question, question.batch, "one step")
            return self._judged[key]

    def judged_run(self, question: Question, answers: Answers) -> Judgement:
        key = (id(question), "run", answers.run_digest)
        with self._lock:
            if key not in self._judged:
                self._judged[key] = judge_run(question, answers.run, self.features(question.case.variant))
            return self._judged[key]


def run_cell(
    suite: RuleSuite, worker: Worker, file: Path, mode: Mode, numerics: Numerics, dtype: Dtype, share: Share
) -> list[Result]:
    """The results of a cell's parts."""
    where = (suite.name, share.variant.name, worker.target, mode.name, numerics, dtype)
    step, run = Result(Cell(*where, "step"), "BIT", True), Result(Cell(*where, "run"), "BIT", True)
    results = [step, run] if share.run_calls else [step]
    sums = suite.features(share.variant) - {"gate"}
    needs_bits = numerics == "strict" and (not sums or (mode.follows_tree and "library" not in sums))
    try:
        for question in suite.questions(share, dtype):
            reference = suite.reference_answers(question, dtype)
            answers = reference
            if worker.target != suite.reference_target:
                answers = suite.answers(
                    question, dtype, lambda job: worker.run(replace(job, file=str(file), mode=mode.name))
                )
            _add_steps(suite, step, question, answers, reference, needs_bits)
            if question.run_calls:
                _add_run(suite, run, question, answers, reference)
    except (Skipped, Failed) as reason:
        kind: Kind = "SKIP" if isinstance(reason, Skipped) else "FAIL"
        return [Result(result.cell, kind, False, note=str(reason)) for result in results]
    for result in results:
        result.accepted = result.kind == "BIT" or (result.kind == "BOUND" and not needs_bits)
        if result.kind == "BOUND" and needs_bits:
            result.note = "the bits are not the reference's"
    return results


_ORDER: list[Kind] = ["BIT", "BOUND", "FTZ", "FAIL"]


def _lower(result: Result, kind: Kind, judgement: Judgement) -> None:
    result.kind = max(result.kind, kind, key=_ORDER.index)
    result.judgement.merge(judgement)


def _add_steps(
    suite: RuleSuite, result: Result, question: Question, answers: Answers, reference: Answers, needs_bits: bool
) -> None:
    """Where bits are asked for, those that differ are excused by flushing only if it reaches all of them."""
    judgement = suite.judged_steps(question, answers, flushed=False)
    if answers.steps_digest == reference.steps_digest:
        _lower(result, "BIT" if judgement.passes else "FAIL", judgement)
    elif judgement.passes and not (needs_bits and _differs_where_flushed(question, answers, reference)):
        _lower(result, "BOUND", judgement)
    else:
        flushed = suite.judged_steps(question, answers, flushed=True)
        _lower(result, "FTZ" if flushed.passes else "FAIL", flushed if flushed.passes else judgement)


def _add_run(suite: RuleSuite, result: Result, question: Question, answers: Answers, reference: Answers) -> None:
    judgement = suite.judged_run(question, answers)
    same = answers.run_digest == reference.run_digest
    _lower(result, "FAIL" if not judgement.passes else "BIT" if same else "BOUND", judgement)
    result.digest = answers.end_digest


def _differs_where_flushed(question: Question, answers: Answers, reference: Answers) -> bool:
    """Whether all bits that differ from the reference's are of numbers that flushing reaches."""
    for index, (ours, theirs) in enumerate(zip(answers.steps, reference.steps, strict=True)):
        kinds = [("w", ours.parameters, theirs.parameters)]
        kinds += [(name, ours.slots[name], theirs.slots[name]) for name in theirs.slots]
        for name, a, b in kinds:
            gradual, flushed = (
                outcome.parameters if name == "w" else outcome.slots[name]
                for outcome in (question.expected, question.expected_if_flushed)
            )
            for x, y, g, f in zip(a, b, gradual, flushed, strict=True):
                if g is None or f is None:
                    continue
                same = (x == y) | (np.isnan(x) & np.isnan(y))
                reached = np.isinf(f.bound[index]) | (f.bound[index] > 1.5 * g.bound[index])
                if not (same | reached).all():
                    return False
    return True
