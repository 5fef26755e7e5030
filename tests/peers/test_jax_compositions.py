"""A rule with stages computes what optax's optimizer does in a chain of optax's own transformations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compositions import AVERAGE, NUMBERS, RATE, cases, ours
from parity import Meeting, State, check, gradients, start

RENAMED = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps"}


def chain(meeting: Meeting, stages: Mapping[str, Any]) -> optax.GradientTransformation:
    parts = [optax.scale(1 / stages.get("loss_scale_factor", 1))] if "gradient_accumulation_steps" not in stages else []
    if "clipvalue" in stages:
        parts.append(optax.clip(stages["clipvalue"]))
    if "clipnorm" in stages:
        count = len(start())
        alone = [[i == chosen for i in range(count)] for chosen in range(count)]
        parts += [optax.masked(optax.clip_by_global_norm(stages["clipnorm"]), mask) for mask in alone]
    if "global_clipnorm" in stages:
        parts.append(optax.clip_by_global_norm(stages["global_clipnorm"]))
    parts.append(meeting.theirs()(RATE, **{RENAMED.get(n, n): x for n, x in NUMBERS[meeting.name].items()}))
    if "weight_decay" in stages:
        parts.append(optax.add_decayed_weights(-RATE * stages["weight_decay"]))
    made = optax.chain(*parts)
    if "gradient_accumulation_steps" not in stages:
        return made
    steps = optax.MultiSteps(made, stages["gradient_accumulation_steps"], accumulator_dtype=jnp.float64)
    return optax.chain(optax.scale(1 / stages.get("loss_scale_factor", 1)), steps.gradient_transformation())


def theirs(meeting: Meeting, stages: Mapping[str, Any]) -> Iterator[State]:
    parameters = [jnp.asarray(w) for w in start()]
    optimizer = chain(meeting, stages)
    state, update = optimizer.init(parameters), jax.jit(optimizer.update)
    average = [jnp.zeros_like(w) for w in parameters]
    every, overwrite = stages.get("gradient_accumulation_steps") or 1, stages.get("ema_overwrite_frequency")
    for call, tensors in enumerate(gradients(), start=1):
        updates, state = update([jnp.asarray(g) for g in tensors], state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        if "use_ema" in stages and call % every == 0:
            share = 1 - stages["ema_momentum"] if call > every else 1.0
            average = optax.incremental_update(parameters, average, share)
            parameters = average if overwrite and call // every % overwrite == 0 else parameters
        kept: State = {"w": [np.array(w) for w in parameters]}
        yield kept | ({AVERAGE: [np.array(w) for w in average]} if "use_ema" in stages else {})


@pytest.mark.parametrize(("meeting", "stages"), cases("optax", lambda meeting, stages: ""))
def test_stages_are_what_is_chained_around_the_peer(meeting: Meeting, stages: Mapping[str, Any]) -> None:
    with jax.enable_x64(True):
        check(ours(meeting, stages), theirs(meeting, stages))
