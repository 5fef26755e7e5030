from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import compile_rule
from optloom.codegen.ir.evaluate import Run, State
from optloom.codegen.ir.nodes import Kind, Let, Program, Reduce, Region, Statement
from optloom.codegen.passes.fission import phases
from optloom.codegen.passes.joined import joined
from optloom.codegen.passes.traffic import Phase, bytes_moved
from optloom.spec.guards import ALWAYS, Given
from optloom.spec.rule import Rule
from programs import RULES, same_stores, state_of


def as_region(region: Region, phase: Phase) -> Region:
    """A phase as statements of its own, its sums as values."""
    statements: list[Statement] = list(phase.before)
    for at in range(len(phase.statements) + 1):
        statements += [
            Let(s.name, Reduce(s.argument, s.over, s.axis, s.to), s.guard) for s in phase.sums if s.position == at
        ]
        statements += phase.statements[at : at + 1]
    return replace(region, statements=tuple(statements))


def carry_out(program: Program, state: State) -> list[dict[str, Any]]:
    """The phases one after the other, each on what the memory holds then, knowing only the earlier ones' sums."""
    stored: list[dict[str, Any]] = [{} for _ in state.tensors]
    sums: list[dict[tuple[Kind, str], Any]] = [{} for _ in state.tensors]
    region = joined(program)
    of_step = Run(program, state)
    numbers = of_step.carry_out(replace(region, statements=()))
    for phase in phases(program, region):
        run_of_phase = Run(program, state)
        for values, step, known in zip(run_of_phase.values, of_step.values, sums, strict=True):
            values |= step | known
        results = run_of_phase.carry_out(as_region(replace(region, scalars=()), phase))
        for i, result in enumerate(results):
            made = run_of_phase.values[i]
            sums[i] |= {(Kind.SUM, s.name): made[Kind.LET, s.name] for s in phase.sums if (Kind.LET, s.name) in made}
            stored[i] |= result
            memory = state.tensors[i]
            memory.update({name: value for name, value in result.items() if name in memory})
            state.scalars.update({name: value for name, value in result.items() if name in state.scalars})
    return [kept | numbers_ for kept, numbers_ in zip(stored, numbers, strict=True)]


def phased(rule: type[Rule], t: int, variant: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    program = compile_rule(rule)
    whole = Run(program, state_of(program, np.random.default_rng(variant), t, variant)).carry_out(joined(program))
    return whole, carry_out(program, state_of(program, np.random.default_rng(variant), t, variant))


@pytest.mark.parametrize("variant", [0, 1])
def test_phases_one_after_the_other_mean_the_whole(rule: type[Rule], variant: int) -> None:
    whole, split = phased(rule, 7, variant)
    assert same_stores(whole, split)


def moved(name: str, *given: str) -> list[int]:
    program = compile_rule(RULES[name])
    return [bytes_moved(program, phase, given=frozenset(given)) for phase in phases(program, joined(program))]


def test_bytes_per_parameter() -> None:
    """Fixed by hand: 4 bytes for each tensor of the parameter's size that is read, and for each written."""
    assert moved("sgd") == [0, 12]
    assert moved("sgd", "momentum") == [0, 20]
    assert moved("adagrad") == [0, 20]
    assert moved("adam") == [0, 28]
    assert moved("adamax") == [0, 28]
    assert moved("lamb") == [0, 24, 16]
    assert sum(moved("adafactor")) == 24
    assert moved("sm3") == [0, 20, 0]


@pytest.mark.parametrize("norm", ["clipnorm", "global_clipnorm"])
def test_a_norm_takes_one_pass_and_everything_else_another(norm: str) -> None:
    assert moved("adam", "loss_scale_factor", norm, "weight_decay", "use_ema") == [4, 36]
    assert moved("adam", "loss_scale_factor", "clipvalue", "weight_decay", "use_ema") == [0, 36]


def test_a_pass_for_norms_alone_runs_only_where_one_is_asked_for() -> None:
    norms, update = phases(compile_rule(RULES["adam"]), joined(compile_rule(RULES["adam"])))
    assert norms.guards == (Given("clipnorm"), Given("global_clipnorm"))
    assert update.guards == (ALWAYS,)
    assert {s.name for s in norms.sums} == {"gradient_norm_sum", "global_norm_sum"}
    assert not any(s.guard == Given("clipvalue") for s in norms.statements)


def test_the_split_of_least_traffic_stores_moments_before_the_norm_is_known() -> None:
    program = compile_rule(RULES["lamb"])
    norms, first, second = phases(program, joined(program))
    assert norms.writes == ()
    assert {"m", "v"} <= set(first.writes)
    assert "g" not in second.reads
    assert second.writes == ("weight_average", "master_weight", "w")
