from __future__ import annotations

import numpy as np
import pytest
from optloom.codegen.compiler import compile_rule
from optloom.codegen.ir.evaluate import Run, State
from optloom.codegen.ir.nodes import Store
from optloom.codegen.passes.joined import joined
from optloom.spec.rule import Rule
from programs import RULES, same_stores, state_of


def remembered(run: Run, state: State, stored: list[dict]) -> None:  # type: ignore[type-arg]
    for memory, result in zip(state.tensors, stored, strict=True):
        memory.update({name: value for name, value in result.items() if name in memory and name != "w"})


@pytest.mark.parametrize("variant", [1, 2])
def test_regions_one_after_the_other_mean_the_joined_one(rule: type[Rule], variant: int) -> None:
    program = compile_rule(rule)
    state = state_of(program, np.random.default_rng(variant), 7, variant)
    apart = Run(program, state)
    stores: list[dict] = [{} for _ in state.tensors]  # type: ignore[type-arg]
    for region in program.regions:
        results = apart.carry_out(region)
        remembered(apart, state, results)
        for store, result in zip(stores, results, strict=True):
            store |= result
    whole = Run(program, state_of(program, np.random.default_rng(variant), 7, variant)).carry_out(joined(program))
    assert same_stores(stores, whole)


def test_what_is_stored_again_is_named_first() -> None:
    names = [s.defines for s in joined(compile_rule(RULES["adam"])).statements]
    assert names.index("new_accumulated_gradient") < names.index("accumulated_gradient")
    stores = [s.slot for s in joined(compile_rule(RULES["adam"])).statements if isinstance(s, Store)]
    assert len(stores) == len(set(stores))
