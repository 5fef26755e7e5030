"""Programs of all rules, and what they mean on a few numbers, for the tests of passes."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from optloom.codegen.compiler import Settings, passes_of
from optloom.codegen.dialects import Open
from optloom.codegen.discovery import discover
from optloom.codegen.ir.evaluate import Run, State
from optloom.codegen.ir.freeze import freeze
from optloom.codegen.ir.nodes import Program
from optloom.codegen.ir.text import statement_text
from optloom.spec.rule import Composition, Rule, Stage
from optloom.spec.stages import PIPELINE
from optloom.spec.tracing import trace

mpmath.mp.dps = 50
RULES = discover()
SHAPES = ((2, 3), (4,))


def program_before(
    rule: type[Rule], name: str, conventions: Open = "all", stages: tuple[type[Stage], ...] = PIPELINE
) -> Program:
    """The program of `rule` as the pass `name` finds it, with `conventions` open."""
    programs = passes_of(rule, settings=Settings(stages, conventions=conventions))
    return programs[[stage for stage, _ in programs].index(name) - 1][1]


def numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return np.vectorize(mpmath.mpf, otypes=[object])(rng.standard_normal(shape))


def meanings(program: Program) -> list[list[dict[str, Any]]]:
    """What each region of `program` stores, for several settings of options and stages."""
    found = []
    for variant in range(3):
        rng = np.random.default_rng(variant)
        for t in (1, 7):
            whole = Run(program, state_of(program, rng, t, variant))
            found += [whole.carry_out(region) for region in program.regions]
    return found


def state_of(program: Program, rng: np.random.Generator, t: int, variant: int) -> State:
    hypers: dict[str, Any] = {}
    for hyper in program.hypers:
        given = hyper.default if hyper.default is not None else (None, 2 if hyper.integer else 0.25, 3)[variant]
        if hyper.off is not None:
            given = (hyper.off, 0.75, 0.5)[variant]
        hypers[hyper.name] = given if given is None or hyper.integer else mpmath.mpf(given)
    for group in program.alternatives:  # at most one may be given
        hypers |= {name: None for index, name in enumerate(group) if index != variant}
    options = {o.name: bool(variant) if not o.choices else o.choices[variant % len(o.choices)] for o in program.options}
    tensors = []
    for shape in SHAPES:
        tensor = {"w": numbers(rng, shape), "g": numbers(rng, shape)}
        for slot in program.slots:
            if slot.shape == "scalar" or (slot.shape in ("rows", "columns") and len(shape) < 2):
                continue
            shapes = {
                "parameter": shape,
                "rows": (*shape[:-1], 1),
                "columns": (*shape[:-2], 1, shape[-1]),
                "tensor": (),
            }
            tensor[slot.name] = abs(numbers(rng, shapes[slot.shape]))
        tensors.append(tensor)
    scalars = {slot.name: mpmath.mpf("0.5") for slot in program.slots if slot.shape == "scalar"}
    inputs = {source.name: mpmath.mpf("0.25") for source in program.inputs}
    return State(tensors, t, hypers, options, scalars, inputs)


def same(before: Program, after: Program) -> bool:
    """Whether both programs store the same numbers, or no number both, to 40 digits, in every setting tried."""
    pairs = zip(meanings(before), meanings(after), strict=True)
    return all(same_stores(a, b) for a, b in pairs)


def same_stores(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    for a, b in zip(first, second, strict=True):
        if a.keys() != b.keys():
            return False
        for name in a:
            x, y = np.ravel(np.asarray(a[name], dtype=object)), np.ravel(np.asarray(b[name], dtype=object))
            if not all(_alike(p, q) for p, q in zip(x, y, strict=True)):
                return False
    return True


def _alike(p: Any, q: Any) -> bool:
    return bool(p == q or (p != p and q != q) or abs(p - q) <= abs(p) * mpmath.mpf(10) ** -40)


def frozen(rule: type[Rule]) -> Program:
    """The program of a rule of the test's own, without stages, as `freeze` leaves it."""
    return freeze(trace(Composition(rule)))


def lines(program: Program) -> list[str]:
    """The statements of the last region, as text."""
    return [statement_text(statement) for statement in program.update.statements]


def scalar_lines(program: Program) -> list[str]:
    return [statement_text(statement) for statement in program.update.scalars]
