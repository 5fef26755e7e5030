"""Parameters, gradients and steps, for the tests of this folder."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterable
from typing import Any

import torch
from optloom.codegen.compiler import discover, program_for
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


RULES = tuple(name for name, rule in discover().items() if _is_printed(rule))
LAZY = tuple(name for name in RULES if not locality(program_for(discover()[name], "pytorch")))


def decaying(kind: Any, weight_decay: float = 0.01) -> dict[str, Any]:
    """Arguments for weight decay as all rules have it."""
    chosen = "decoupled_weight_decay"
    return {"weight_decay": weight_decay} | ({chosen: True} if chosen in inspect.signature(kind).parameters else {})


def stages(kind: Any) -> dict[str, Any]:
    """Arguments that turn all stages on."""
    return decaying(kind) | ACCUMULATING


def slots_of(optimizer: Any, w: torch.Tensor) -> list[torch.Tensor]:
    """The slots of `w` that have its shape."""
    return [optimizer.state[w][name] for name in optimizer._slot_names.values() if name in optimizer.state[w]]


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
