"""The states and gradients that optimizers are run from, and what the oracle expects of them.

They depend on the rule, the numbers given and the dtype, not on the target: one oracle run serves all targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from optloom.spec.declarations import Slot
from optloom.spec.rule import Composition

from .cases import Case, configuration, extra_inputs
from .corpus import PAST, REPRESENTATIVE, Tensor, grouped, stream
from .noise import with_spread
from .oracle import Batch, Configuration, Expected, Outcome, step
from .protocol import Array, Episode, Slots

Beginning = Literal["after its past", "at its start", "apart from its start"]
BEGINNINGS: tuple[tuple[tuple[int, ...], Beginning], ...] = (((1,), "at its start"), ((2,), "apart from its start"))
"""The steps that are judged without a past, and what they are from."""


@dataclass(frozen=True)
class Question:
    """One optimizer's work on one group of tensors: single steps from injected states, and what they should give."""

    given: Configuration
    flushed: Configuration
    case: Case
    tensors: tuple[Tensor, ...]
    run_calls: int
    """The length of the run from the start; 0 for none."""
    begins: Beginning = "after its past"
    """What the single steps are from: slots after the past gradients; those of a fresh optimizer; or those of one that
    was made for other parameters, so that what is kept of the start lies apart from them."""

    @cached_property
    def period(self) -> int:
        return math.lcm(*self.given.periods())

    @cached_property
    def state(self) -> Slots:
        """Slots after the past gradients, for the corpus's own parameters: one call before an update is due."""
        parameters = [tensor.parameter for tensor in self.tensors]
        if self.begins == "apart from its start":
            return self._after(0, [tensor.past[0] for tensor in self.tensors])
        return self._after(PAST if self.begins == "after its past" else 0, parameters)

    def _after(self, past: int, parameters: list[Array]) -> Slots:
        """Slots of an optimizer made for `parameters` after so many gradients, or, where updates take several calls,
        in the first update, or the second if there is a past."""
        slots = self.given.start(parameters)
        updates = 2 if past else 1
        for call in range(past if self.period == 1 else updates * self.period - 1):
            gradients = [tensor.past[call % PAST] for tensor in self.tensors]
            outcome = step(self.given, self._batch(parameters, gradients, slots, [call // self.period], [call]))
            slots = rounded_slots(outcome, slots)
            parameters = [nearest(e, p.dtype) for e, p in zip(outcome.parameters, parameters, strict=True)]
        return slots

    def _batch(
        self, parameters: list[Array], gradients: list[Array], slots: Slots, updates: list[int], calls: list[int]
    ) -> Batch:
        """The same arrays in every call of the batch."""

        def one(arrays: list[Array]) -> list[Array]:
            return [array[None] for array in arrays]

        extra = extra_inputs(self.given.composition, one(gradients))
        kept = {name: one(arrays) for name, arrays in slots.items()}
        counts = np.array(updates, np.int64), np.array(calls, np.int64)
        return Batch(one(parameters), one(gradients), kept, *counts, extra)

    @cached_property
    def batch(self) -> Batch:
        """One call per judged step: the next update."""
        updates = [t - 1 for t in self.case.steps]
        calls = [t * self.period - 1 for t in self.case.steps]
        parameters = [tensor.parameter for tensor in self.tensors]
        return self._batch(parameters, [tensor.gradient for tensor in self.tensors], self.state, updates, calls)

    @cached_property
    def expected(self) -> Outcome:
        return with_spread(step(self.given, self.batch), self.given, self.batch)

    @cached_property
    def expected_if_flushed(self) -> Outcome:
        return step(self.flushed, self.batch)

    @cached_property
    def run_tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the run: all, or, where they are many, those that represent them."""
        few = tuple(tensor for tensor in self.tensors if tensor.name in REPRESENTATIVE)
        return self.tensors if len(self.tensors) <= len(few) + 1 else few

    @cached_property
    def run(self) -> Episode:
        shapes = [tensor.parameter.shape for tensor in self.run_tensors]
        parameters, gradients = stream(shapes, self.run_calls, self.given.dtype)
        return Episode(parameters, gradients, inputs=self._inputs_of_calls(gradients))

    def _inputs_of_calls(self, calls: list[list[Array]]) -> list[dict[str, Any]]:
        """The extra inputs of each call, as runners get them; empty if the rule has none."""
        made = [extra_inputs(self.given.composition, [g[None] for g in gradients]) for gradients in calls]
        every = [{n: [a[0] for a in v] if isinstance(v, list) else float(v[0]) for n, v in one.items()} for one in made]
        return every if any(every) else []

    def jobs(self) -> list[list[Episode]]:
        """The single steps, then the run if it is wanted; in one job if their shapes are the same."""
        batch = self.batch
        parameters, gradients = [p[0] for p in batch.parameters], [g[0] for g in batch.gradients]
        slots = {name: [a[0] for a in arrays] for name, arrays in batch.slots.items()}
        steps = [
            Episode(parameters, [gradients], slots, int(updates), int(calls), self._inputs_of_calls([gradients]))
            for updates, calls in zip(batch.updates, batch.calls, strict=True)
        ]
        if not self.run_calls:
            return [steps]
        return [[*steps, self.run]] if self.run_tensors == self.tensors else [steps, [self.run]]


def questions(
    composition: Composition, case: Case, dtype: str, features: frozenset[str], run_calls: int = 0
) -> list[Question]:
    """One per group of tensors; the long run is the first group's.

    Of numbers that the whole optimizer keeps, which may only grow, the past hides what a step adds to them: the first
    steps of the first group are asked for as well.
    """
    given, flushed = (configuration(composition, case, dtype, flushes) for flushes in (False, True))
    first, *others = grouped(dtype, features)
    made = [Question(given, flushed, case, first, run_calls)]
    if any(slot.shape == "scalar" for slot in composition.of_kind(Slot)):
        made += [Question(given, flushed, replace(case, steps=steps), first, 0, begins) for steps, begins in BEGINNINGS]
    return made + [Question(given, flushed, case, group, 0) for group in others]


def nearest(expected: Expected, dtype: Any) -> Array:
    """The first call's numbers, rounded to a dtype."""
    with np.errstate(all="ignore"):
        made: NDArray[Any] = np.asarray(expected.head[0]).astype(dtype)
    return made


def rounded_slots(outcome: Outcome, before: Slots) -> Slots:
    """The expected slots in the dtypes that they had."""
    return {
        name: [old if e is None else nearest(e, old.dtype) for e, old in zip(outcome.slots[name], arrays, strict=True)]
        for name, arrays in before.items()
    }
