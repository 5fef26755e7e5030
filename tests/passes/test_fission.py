from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import compile_rule
from optloom.codegen.ir.evaluate import Run, State, run
from optloom.codegen.ir.nodes import Kind, Let, Program, Reduce, Region
from optloom.codegen.passes.fission import Phase, bytes_moved, phases
from optloom.spec.rule import Rule
from programs import RULES, same_stores, state_of


def as_region(region: Region, phase: Phase) -> Region:
    """A phase as statements of its own, its sums as values; the parameter is stored last."""
    sums = tuple(Let(s.name, Reduce(s.argument, s.over, s.axis), s.guard) for s in phase.sums)
    last = [s for s in phase.statements if getattr(s, "slot", "") == "w"]
    rest = [s for s in phase.statements if s not in last]
    return replace(region, statements=(*phase.before, *rest, *sums, *last))


def carry_out(program: Program, state: State) -> list[dict[str, Any]]:
    """The phases one after the other, each on what the memory holds then, knowing only the earlier ones' sums."""
    stored: list[dict[str, Any]] = [{} for _ in state.tensors]
    sums: list[dict[tuple[Kind, str], Any]] = [{} for _ in state.tensors]
    for phase in phases(program, program.update):
        run_of_phase = Run(program, state)
        for values, known in zip(run_of_phase.values, sums, strict=True):
            values |= known
        results = run_of_phase.carry_out(as_region(program.update, phase))
        for i, result in enumerate(results):
            made = run_of_phase.values[i]
            sums[i] |= {(Kind.SUM, s.name): made[Kind.LET, s.name] for s in phase.sums if (Kind.LET, s.name) in made}
            stored[i] |= result
            memory = state.tensors[i]
            memory.update({name: value for name, value in result.items() if name in memory})
            state.scalars.update({name: value for name, value in result.items() if name in state.scalars})
    return stored


def phased(rule: type[Rule], t: int, variant: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    program = compile_rule(rule)
    whole = run(program, program.update, state_of(program, np.random.default_rng(variant), t, variant))
    return whole, carry_out(program, state_of(program, np.random.default_rng(variant), t, variant))


@pytest.mark.parametrize("variant", [0, 1])
def test_phases_one_after_the_other_mean_the_whole(rule: type[Rule], variant: int) -> None:
    whole, split = phased(rule, 7, variant)
    assert same_stores(whole, split)


def moved(name: str, *given: str) -> list[int]:
    program = compile_rule(RULES[name])
    return [bytes_moved(program, phase, given=frozenset(given)) for phase in phases(program, program.update)]


def test_bytes_per_parameter() -> None:
    """Fixed by hand: 4 bytes for each tensor of the parameter's size that is read, and for each written."""
    assert moved("sgd") == [12]
    assert moved("sgd", "momentum") == [20]
    assert moved("adagrad") == [20]
    assert moved("adam") == [28]
    assert moved("adamax") == [28]
    assert moved("lamb") == [24, 16]
    assert moved("adafactor") == [8, 0, 4, 12]


def test_the_split_of_least_traffic_stores_moments_before_the_norm_is_known() -> None:
    program = compile_rule(RULES["lamb"])
    first, second = phases(program, program.update)
    assert {"m", "v"} <= set(first.writes)
    assert "g" not in second.reads
    assert second.writes == ("w",)
