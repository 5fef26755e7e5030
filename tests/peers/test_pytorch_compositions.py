"""A rule with stages computes what torch's optimizer does between torch's own functions for clipping and averaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from compositions import AVERAGE, NUMBERS, RATE, calls, cases, ours
from parity import TOLERANCE, Meeting, State, check, start
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def numbers(meeting: Meeting) -> dict[str, Any]:
    """The rule's numbers as torch takes them."""
    given = NUMBERS[meeting.name]
    return {"betas": (given["beta_1"], given["beta_2"]), "eps": given["epsilon"]} if "epsilon" in given else {**given}


def theirs(meeting: Meeting, stages: Mapping[str, Any]) -> Iterator[State]:
    model = torch.nn.ParameterList(torch.tensor(w) for w in start())
    parameters = list(model.parameters())
    optimizer = meeting.theirs()(parameters, lr=RATE, weight_decay=stages.get("weight_decay", 0), **numbers(meeting))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(stages.get("ema_momentum", 0.0)))
    for mean, is_update, is_overwrite in calls(stages):
        if is_update:
            for w, g in zip(parameters, mean, strict=True):
                w.grad = torch.tensor(g)
            _clip(parameters, stages)
            optimizer.step()
            average.update_parameters(model)
        if is_overwrite:
            model.load_state_dict(average.module.state_dict())
        state = {"w": [w.detach().numpy().copy() for w in parameters]}
        started = int(average.n_averaged) > 0
        if stages.get("use_ema"):
            averages = average.module.parameters()
            state[AVERAGE] = [(w.detach() if started else torch.zeros_like(w)).numpy().copy() for w in averages]
        yield state


def _clip(parameters: list[torch.nn.Parameter], stages: Mapping[str, Any]) -> None:
    if "clipvalue" in stages:
        clip_grad_value_(parameters, stages["clipvalue"])
    if "clipnorm" in stages:
        for w in parameters:
            clip_grad_norm_(w, stages["clipnorm"])
    if "global_clipnorm" in stages:
        clip_grad_norm_(parameters, stages["global_clipnorm"])


SHORTENED = 1e-6
"""What `clip_grad_norm_` adds to a norm before it divides by it; the norms here are above one half."""


@pytest.mark.parametrize(("meeting", "stages"), cases("torch", lambda meeting, stages: ""))
def test_stages_are_what_is_put_around_the_peer(meeting: Meeting, stages: Mapping[str, Any]) -> None:
    shortened = {"clipnorm", "global_clipnorm"} & stages.keys()
    check(ours(meeting, stages), theirs(meeting, stages), 2 * SHORTENED / TOLERANCE if shortened else 2.0**-53)
