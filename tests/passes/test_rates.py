from __future__ import annotations

from optloom.codegen.ir.nodes import Kind, Rate
from optloom.codegen.passes.rates import ELEMENTS, environment
from programs import RULES, program_before


def rates(rule: str) -> dict[str, Rate]:
    program = program_before(RULES[rule], "hoist", stages=())
    return {name: rate for (kind, name), rate in environment(program, program.update).items() if kind is Kind.LET}


def test_a_step_scalar_varies_with_the_step_alone() -> None:
    assert rates("adam")["alpha"] == Rate.STEP


def test_a_norm_varies_with_the_tensor() -> None:
    found = rates("lamb")
    assert found["trust"] == Rate.STEP | Rate.TENSOR
    assert found["direction"] == ELEMENTS
    assert found["trust"].is_per_tensor and not found["trust"].is_scalar


def test_a_sum_over_all_tensors_varies_with_the_step_but_is_no_scalar() -> None:
    size = rates("prodigy")["size"]
    assert size == Rate.STEP | Rate.TENSORS
    assert not size.is_scalar


def test_what_follows_a_clip_by_the_global_norm_varies_with_it_too() -> None:
    program = program_before(RULES["lamb"], "hoist")
    found = environment(program, program.update)
    assert found[Kind.LET, "global_scale"].is_of_all
    assert found[Kind.LET, "trust"].is_per_tensor and not found[Kind.LET, "trust"].is_of_all


def test_axes() -> None:
    program = program_before(RULES["adafactor"], "hoist", stages=())
    found = environment(program, program.update)
    assert found[Kind.SLOT, "r"] == Rate.STEP | Rate.TENSOR | Rate.ROW
    assert found[Kind.SLOT, "c"] == Rate.STEP | Rate.TENSOR | Rate.COLUMN
    assert found[Kind.LET, "direction"] == ELEMENTS
