"""Rules that no framework ships, or ships otherwise, beside independent implementations: those of pytorch_optimizer.

Each runs in float64 on the same gradients. What the two do not have in common stands beside the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer as independent
import torch
from optloom.codegen.compiler import Settings, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.discovery import discover
from parity import State, check, gradients, start

RATE, BETA_1, BETA_2, BETA_3, EPSILON = 2.0**-4, 1 - 2.0**-2, 1 - 2.0**-4, 1 - 2.0**-3, 2.0**-5
RULES = discover()
FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53
Parameters = list[torch.Tensor]


def plain(optimizer: Any, step: int, estimates: Sequence[torch.Tensor]) -> None:
    optimizer.step()


def with_hessian(optimizer: Any, step: int, estimates: Sequence[torch.Tensor]) -> None:
    """Given only in the steps in which ours reads it; theirs would estimate one by itself if asked to."""
    optimizer.step(hessian=[*estimates] if step % INTERVAL == 0 else None)


INTERVAL, CLIP, LARGE = 4, 2.0**-3, 2.0**24


@dataclass(frozen=True)
class Case:
    """A rule with numbers, and the same by others. `slots`, `scalars`: theirs by ours, where both keep the same, per
    parameter and for all. `unit`: of roundoff, float32's where they keep a scalar in it. `gradient`: of the usual one.
    """

    rule: str
    given: Mapping[str, Any]
    theirs: Callable[[Parameters], Any]
    slots: Mapping[str, str] = field(default_factory=dict)
    run: Callable[[Any, int, Sequence[torch.Tensor]], None] = plain
    unit: float = FLOAT64
    scalars: Mapping[str, str] = field(default_factory=dict)
    gradient: Callable[[np.ndarray], np.ndarray] = np.asarray


BETAS = {"beta_1": BETA_1, "beta_2": BETA_2}
COMMON = {"learning_rate": RATE, **BETAS, "epsilon": EPSILON}
THEIRS = {"lr": RATE, "betas": (BETA_1, BETA_2), "eps": EPSILON}
CASES = [
    Case(
        "qhadam",  # its moments are means from the first step on, by weights in float32
        COMMON | {"nu_1": 0.75, "nu_2": 0.875},
        partial(independent.QHAdam, **THEIRS, nus=(0.75, 0.875)),
        unit=FLOAT32,
    ),
    Case(
        "stable_adamw",  # its decay is of the rate that has been divided by the excess
        COMMON | {"weight_decay": None},
        partial(independent.StableAdamW, **THEIRS, weight_decay=0.0),
    ),
    Case(
        "sophia",  # it clips at p what ours clips at 1: gamma = p, and the rate is p times its own
        COMMON | {"learning_rate": CLIP * RATE, "gamma": CLIP, "epsilon": CLIP * EPSILON, "update_interval": INTERVAL},
        partial(independent.SophiaH, **THEIRS, p=CLIP, update_period=10**6),
        slots={"m": "momentum", "h": "hessian_moment"},
        run=with_hessian,
    ),
    Case(
        "prodigy",  # its epsilon is in units of the next estimate; without one, no gradient may be 0
        COMMON | {"learning_rate": 1.0, "epsilon": 0.0, "d_0": 2.0**-10},
        partial(independent.Prodigy, **THEIRS | {"lr": 1.0, "eps": 0.0}, d0=2.0**-10),
        slots={"m": "exp_avg", "v": "exp_avg_sq", "start": "p0"},
        scalars={"d": "d"},
        gradient=lambda g: np.where(g == 0, 1.0, np.abs(g)),  # of one sign, so that the estimate grows
    ),
    Case(
        "adan",
        COMMON | {"beta_3": BETA_3},
        partial(independent.Adan, **THEIRS | {"betas": (BETA_1, BETA_2, BETA_3)}),
        slots={"m": "exp_avg", "v": "exp_avg_diff", "n": "exp_avg_sq"},
    ),
    Case(
        "lookahead",
        COMMON | {"slow_step_size": 0.25, "sync_period": INTERVAL, "epsilon_hat": False},
        lambda parameters: independent.Lookahead(torch.optim.Adam(parameters, **THEIRS), k=INTERVAL, alpha=0.25),
    ),
    Case(
        "schedule_free_sgd",  # its rates weigh by the largest so far: the same while the rate stays
        {"learning_rate": RATE, "beta_1": BETA_1, "weight_decay": 0.125},
        partial(independent.ScheduleFreeSGD, lr=RATE, momentum=BETA_1, weight_decay=0.125),
        slots={"z": "z"},
    ),
    Case(
        "schedule_free_adamw",  # its second moment has 1e-15 added, which is nothing beside large ones
        COMMON | {"epsilon": LARGE * EPSILON, "weight_decay": 0.125},
        partial(independent.ScheduleFreeAdamW, **THEIRS | {"eps": LARGE * EPSILON}, weight_decay=0.125),
        slots={"z": "z", "v": "exp_avg_sq"},
        gradient=lambda g: LARGE * g,
    ),
]


def estimates(step: int) -> list[np.ndarray]:
    """Of a Hessian's diagonal; some of it negative, and large enough that not every element is clipped."""
    rng = np.random.default_rng(step)
    return [64 * rng.standard_normal(w.shape) for w in start()]


def ours(case: Case, folder: Path) -> Iterator[State]:
    rule = RULES[case.rule]
    for file, text in render(rule, "numpy", settings=Settings(conventions="all")).items():
        (folder / Path(file).name).write_text(text)
    parameters = start()
    optimizer = getattr(load_module(str(folder / f"{case.rule}.py")), rule.__name__)(parameters, **case.given)
    for step, usual in enumerate(gradients()):
        given = [case.gradient(g) for g in usual]
        extra = [{"hessian": estimates(step)}] if case.run is with_hessian else []
        optimizer.step(given, *extra)
        kept = {slot: [getattr(slots, slot).copy() for slots in optimizer.slots] for slot in case.slots}
        scalars = {name: getattr(optimizer.scalar_slots[np.float64], name) for name in case.scalars}
        yield {"w": [w.copy() for w in parameters], **kept, **{name: [np.array(x)] for name, x in scalars.items()}}


def theirs(case: Case) -> Iterator[State]:
    parameters = [torch.tensor(w, requires_grad=True) for w in start()]
    optimizer = case.theirs(parameters)
    for step, usual in enumerate(gradients()):
        given = [case.gradient(g) for g in usual]
        for w, g in zip(parameters, given, strict=True):
            w.grad = torch.tensor(g)
        case.run(optimizer, step, [torch.tensor(each) for each in estimates(step)])
        kept = {
            ours: [optimizer.state[w][name].numpy().copy() for w in parameters] for ours, name in case.slots.items()
        }
        scalars = {ours: [np.array(optimizer.param_groups[0][name])] for ours, name in case.scalars.items()}
        yield {"w": [w.detach().numpy().copy() for w in parameters], **kept, **scalars}


@pytest.fixture(autouse=True)
def scalars_of_float64() -> Iterator[None]:
    """Prodigy's sums have the default dtype, whatever the parameter's."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_an_independent_implementation_agrees(case: Case, tmp_path: Path) -> None:
    check(ours(case, tmp_path), theirs(case), case.unit)
