"""The driver: load, compose, freeze, specialise, numerics, hoist, cse, schedule, legalise, print, format.

The order differs from the obvious in one place: options and stages are specialised on the frozen program, where what
is dead can be dropped by looking at one small tree. Fission and rates are analyses that targets and `explain` ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from optloom.spec.rule import Composition, Rule, Stage
from optloom.spec.stages import PIPELINE
from optloom.spec.tracing import trace

from .discovery import discover, targets
from .discovery import target as load_target
from .formatting import formatted
from .ir.freeze import freeze
from .ir.nodes import Program
from .ir.text import formula
from .ir.verify import verify
from .passes.cse import cse
from .passes.hoist import hoist
from .passes.legalise import Nestings, legalise
from .passes.numerics import numerics
from .passes.schedule import schedule
from .passes.specialise import specialise, without_trivial_rebinds

Numerics = Literal["strict", "fast"]

__all__ = ["Numerics", "Settings", "compile_rule", "discover", "passes_of", "render", "targets"]


@dataclass(frozen=True)
class Settings:
    """What is fixed when code is generated. `stages`: those to compose; `options`: those to bind."""

    stages: tuple[type[Stage], ...] = PIPELINE
    options: Mapping[str, bool | str] = field(default_factory=dict)


DEFAULT = Settings()


def passes_of(
    rule: type[Rule], strict: bool = True, nestings: Nestings = frozenset(), settings: Settings = DEFAULT
) -> list[tuple[str, Program]]:
    """The program of `rule` after each pass, verified each time. Raises SpecError for a rule that is wrong."""
    program = _frozen(rule, settings.stages)  # type: ignore[arg-type]  # classes are hashable
    stages = [("freeze", program)]
    for name, apply in (
        ("specialise", lambda p: without_trivial_rebinds(specialise(p, settings.options))),
        ("numerics", numerics),
        ("hoist", hoist),
        ("cse", cse),
        ("schedule", schedule),
        ("legalise", lambda p: legalise(p, strict, nestings)),
    ):
        program = verify(apply(program), name)
        stages.append((name, program))
    return stages


@cache
def _frozen(rule: type[Rule], stages: tuple[type[Stage], ...]) -> Program:
    """Traced once, for all targets."""
    program = freeze(trace(Composition(rule, stages)))
    return verify(replace(program, formula=formula(freeze(trace(Composition(rule))))), "freeze")


def compile_rule(
    rule: type[Rule], strict: bool = True, nestings: Nestings = frozenset(), settings: Settings = DEFAULT
) -> Program:
    """The program of `rule`, ready to be printed."""
    return passes_of(rule, strict, nestings, settings)[-1][1]


def render(
    rule: type[Rule], target: str, numerics: Numerics | None = None, settings: Settings = DEFAULT
) -> dict[str, str]:
    """The files of `rule` for `target`, as text by relative path (`<target>/<rule>.<ext>`), formatted.

    `numerics` None takes the target's default. Raises UnsupportedOperation where the target cannot print the rule.
    """
    chosen = load_target(target)
    strict = (numerics or chosen.numerics) == "strict"
    program = compile_rule(rule, strict, chosen.nestings if strict else frozenset(), settings)
    return {f"{target}/{path}": formatted(path, text) for path, text in chosen.render(program).items()}
