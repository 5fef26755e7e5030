"""What the tests of compiled targets share: rendered files, variants of a rule, gradients that try the arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from kinds import of_each_kind
from optloom.codegen.compiler import discover, program_for, render, targets
from optloom.codegen.conformance.protocol import Array, Dtype, Episode, Job, Snapshot, numpy_dtype
from optloom.codegen.ir.nodes import Fn, Op, walk
from optloom.codegen.printing import UnsupportedOperation
from optloom.spec.rule import Rule

DTYPES: tuple[Dtype, ...] = ("float32", "float64", "float16", "bfloat16")
SHAPES = [(), (0,), (1,), (7,), (3, 5), (64,), (4095,), (4096,), (4097,), (2, 4200), (0, 3), (3, 0), (2, 40, 7)]
"""Scalar, empty, tails of every access width, the edges of a block and of a tile of rows, several matrices."""


@cache
def printed(target: str) -> tuple[str, ...]:
    """Rules that `target` prints, one of each kind."""

    def is_printed(name: str) -> bool:
        try:
            targets()[target].render(program_for(discover()[name], target))
        except UnsupportedOperation:
            return False
        return True

    return of_each_kind((name for name in discover() if is_printed(name)), target)


def brings_nothing(target: str) -> tuple[str, ...]:
    """Of `printed`, those that need nothing of the caller: the others multiply matrices by the caller's function."""
    return tuple(name for name in printed(target) if not multiplies(name))


PROBE = next(iter(discover(Path(__file__).parent / "rules" / "probe.py").values()))
"""A rule with what no shipped rule has: a slot of one number for each tensor, which an option leaves out."""


def rule_of(name: str) -> type[Rule]:
    return PROBE if name == "probe" else discover()[name]


def rendered(name: str, target: str, folder: Path) -> str:
    """The file of rule `name`, which may be the probe."""
    (path, text), *_ = render(rule_of(name), target).items()
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def multiplies(name: str) -> bool:
    """Whether a rule has matrix products: the reference's are a library's, in an order of its own."""
    statements = program_for(rule_of(name), "numpy").update.statements
    return any(isinstance(node, Op) and node.fn is Fn.MATMUL for s in statements for node in walk(s.value))


def variants(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Hyperparameters and options: every boolean option, and some numbers that may be left out, on and off."""
    program = program_for(rule_of(name), "numpy")
    given = {"gradient_accumulation_steps": 3, "weight_decay": 0.01, "momentum": 0.9}
    free = [hyper.name for hyper in program.hypers if hyper.name in given]
    flags = [option.name for option in program.options if isinstance(option.default, bool) and not option.stage]
    for chosen in itertools.product((False, True), repeat=len(free) + len(flags)):
        hypers = {hyper: given[hyper] for hyper, is_given in zip(free, chosen, strict=False) if is_given}
        yield hypers, dict(zip(flags, chosen[len(free) :], strict=True))


def episode(dtype: Dtype, shapes: list[tuple[int, ...]], calls: int, seed: int = 0) -> Episode:
    """From the start, with gradients over many magnitudes."""
    random = np.random.default_rng(seed)

    def array(shape: tuple[int, ...], spread: float) -> Array:
        values = random.standard_normal(shape) * 10.0 ** random.uniform(-spread, 1, shape)
        return np.asarray(values).astype(numpy_dtype(dtype))

    return Episode([array(s, 0) for s in shapes], [[array(s, 8) for s in shapes] for _ in range(calls)])


def job(file: str, name: str, dtype: Dtype, made: Episode, variant: tuple[dict[str, Any], dict[str, Any]]) -> Job:
    hypers, options = variant
    return Job(file, rule_of(name).__name__, "plain", dtype, [made], hypers, options)


def bits(snapshots: list[Snapshot]) -> list[Any]:
    """All state after every call, NaNs made one."""

    def of(array: Array) -> tuple[str, tuple[int, ...], bytes]:
        plain = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        return str(array.dtype), array.shape, plain.astype(array.dtype).tobytes()

    return [
        (s.updates, [of(w) for w in s.parameters], {name: [of(x) for x in s.slots[name]] for name in sorted(s.slots)})
        for s in snapshots
    ]
