"""Parameters, gradients and steps, for the tests of this folder."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from kinds import of_each_kind
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.ir.nodes import Kind, Let, Ref, references
from optloom.codegen.passes.locality import locality
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.pytorch.target import TARGET

LOW, HIGH, COMPLEX = (torch.float16, torch.bfloat16), (torch.float32, torch.float64), (torch.complex64,)
DTYPES = (*LOW, *HIGH)
SHAPES = ((5, 3), (7,), (), (0,))
ACCUMULATING = {"gradient_accumulation_steps": 2}


def _is_printed(rule: Any) -> bool:
    try:
        TARGET.render(program_for(rule, "pytorch"))
    except UnsupportedOperation:
        return False
    return True


def inputs_of(name: str) -> tuple[str, ...]:
    return tuple(source.shape for source in program_for(discover()[name], "pytorch").inputs)


RULES = tuple(name for name, rule in discover().items() if _is_printed(rule))
EACH_KIND = of_each_kind(RULES, "pytorch")
WITH_INPUTS = tuple({shapes: name for name in RULES if (shapes := inputs_of(name))}.values())
"""Rules whose steps are given something beside gradients: one for each shape of that."""
LAZY = tuple(name for name in EACH_KIND if not locality(program_for(discover()[name], "pytorch")))


def skip_what_is_not_taken(kind: Any, dtype: torch.dtype, **arguments: Any) -> None:
    """Formulas that depend on a parameter's axes take no complex ones; not every argument is legal everywhere."""
    try:
        kind(parameters(), **arguments)
    except ValueError as refused:
        pytest.skip(str(refused))
    if dtype.is_complex and kind._asks_for_axes:
        pytest.skip("takes no complex parameters")


def rate_is_a_factor(optimizer: Any) -> bool:
    """Whether nothing moves at a learning rate of 0: not where state starts from it or carries it, or weights follow
    others."""
    (group,) = optimizer.param_groups
    starts = optimizer._slots(group, group["params"][0]).values()
    follows = any(start is group["lr"] or not isinstance(start, int | float | torch.Tensor) for start in starts)
    return not follows and not _state_carries_the_rate(type(optimizer).__name__)


def _state_carries_the_rate(name: str) -> bool:
    """Whether a slot of the rule's own is computed from the learning rate."""
    rule = next(rule for rule in discover().values() if rule.__name__ == name)
    program = program_for(rule, "pytorch")
    own = {slot.name for slot in program.slots if not slot.stage}
    carrying = {Ref(Kind.HYPER, "learning_rate")}
    for statement in (*program.update.scalars, *program.update.statements):
        if carrying.intersection(references(statement.value)) and statement.defines != "w":
            kind = Kind.LET if isinstance(statement, Let) else Kind.SLOT
            carrying |= {Ref(kind, statement.defines), Ref(Kind.SCALAR, statement.defines)}
    return not own.isdisjoint(ref.name for ref in carrying if ref.kind is Kind.SLOT)


def decaying(kind: Any, weight_decay: float = 0.01) -> dict[str, Any]:
    """Arguments for weight decay as all rules have it."""
    chosen = "decoupled_weight_decay"
    return {"weight_decay": weight_decay} | ({chosen: True} if chosen in inspect.signature(kind).parameters else {})


def stages(kind: Any) -> dict[str, Any]:
    """Arguments that turn all stages on."""
    return decaying(kind) | ACCUMULATING


def slots_of(optimizer: Any, w: torch.Tensor) -> list[torch.Tensor]:
    """The slots of `w` that have its shape."""
    own = [name for name in optimizer._slot_names.values() if name not in optimizer._shapes]
    return [optimizer.state[w][name] for name in own if name in optimizer.state[w]]


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(_random(shape, dtype, generator)) for shape in SHAPES]


def gradients(dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [_random(shape, dtype, generator) for shape in SHAPES]


def _random(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    if dtype.is_complex:
        return torch.randn(shape, dtype=dtype, generator=generator)
    return torch.randn(shape, generator=generator).to(dtype)


def give_gradients(ws: list[torch.nn.Parameter], seed: int) -> None:
    for w, g in zip(ws, gradients(ws[0].dtype, seed), strict=False):
        w.grad = g


def train(optimizer: Any, ws: list[torch.nn.Parameter], seeds: Iterable[int], step: Any = None) -> None:
    for seed in seeds:
        give_gradients(ws, seed)
        (step or optimizer.step)()


def assert_same(ours: Iterable[torch.Tensor], theirs: Iterable[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def assert_close(ours: Iterable[torch.Tensor], theirs: Iterable[torch.Tensor]) -> None:
    """Equal but for rounding."""
    for a, b in zip(ours, theirs, strict=True):
        tolerance = {"rtol": 1e-12, "atol": 1e-13} if a.dtype == torch.float64 else {"rtol": 2e-6, "atol": 1e-7}
        torch.testing.assert_close(a, b, **(tolerance if a.dtype not in LOW else {"rtol": 1e-2, "atol": 1e-3}))


def through_a_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded
