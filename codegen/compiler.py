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

from .dialects import Open, binding, named_by, peer_of
from .discovery import discover, targets
from .discovery import target as load_target
from .formatting import formatted
from .ir.nodes import Program
from .ir.text import formula
from .ir.verify import verify
from .passes.cse import cse
from .passes.dtypes import SlotDtype, dtypes
from .passes.hoist import hoist
from .passes.legalise import Nestings, legalise
from .passes.numerics import numerics
from .passes.schedule import schedule
from .passes.specialise import specialise, without_trivial_rebinds
from .target import Kernels

Numerics = Literal["strict", "fast"]

__all__ = [
    "Numerics",
    "Settings",
    "compile_rule",
    "dialect_of",
    "discover",
    "frozen",
    "passes_of",
    "program_for",
    "render",
    "render_kernels",
    "specialised",
    "targets",
]


@dataclass(frozen=True)
class Settings:
    """What is fixed when code is generated.

    `stages`: those to compose. `options`: those to bind. `conventions`: those that stay arguments (see `dialects`).
    `slot_dtype`: what a rule keeps of each element is in the compute dtype, or in the parameter's.
    """

    stages: tuple[type[Stage], ...] = PIPELINE
    options: Mapping[str, bool | str] = field(default_factory=dict)
    conventions: Open = "own"
    slot_dtype: SlotDtype = "compute"


DEFAULT = Settings()


def dialect_of(rule: type[Rule], path: str) -> Settings:
    """The settings under which `rule` is its peer at `path`, wherever it is rendered. Raises UnknownPeer.

    Hyperparameters that only this peer has stay arguments.
    """
    peer, program = peer_of(rule, path), frozen(rule)
    hypers = named_by(program, peer) - {option.name for option in program.options}
    return Settings(options=dict(peer.dialect), conventions=hypers)


def frozen(rule: type[Rule], stages: tuple[type[Stage], ...] = PIPELINE) -> Program:
    """The program of `rule` as written, with `stages`, before anything is bound. Raises SpecError."""
    return _frozen(rule, stages)  # type: ignore[arg-type]  # classes are hashable


def specialised(rule: type[Rule], settings: Settings = DEFAULT, ecosystem: str = "") -> Program:
    """The program of `rule` with dialect, options, stages and the slots' dtype bound, and nothing rewritten otherwise.

    Raises SpecError.
    """
    program = frozen(rule, settings.stages)
    bound = binding(program, settings.conventions, ecosystem)
    options = {**bound.options, **settings.options}
    bare = without_trivial_rebinds(specialise(program, options, bound.absent))
    return verify(dtypes(bare, settings.slot_dtype), "specialise")


def passes_of(
    rule: type[Rule],
    strict: bool = True,
    nestings: Nestings = frozenset(),
    settings: Settings = DEFAULT,
    ecosystem: str = "",
) -> list[tuple[str, Program]]:
    """The program of `rule` after each pass, verified each time. Raises SpecError for a rule that is wrong."""
    program = specialised(rule, settings, ecosystem)
    stages = [("freeze", frozen(rule, settings.stages)), ("specialise", program)]
    for name, apply in (
        ("numerics", numerics),
        ("hoist", hoist),
        ("cse", cse),
        ("schedule", schedule),
        ("legalise", lambda p: legalise(p, strict, nestings)),
    ):
        program = verify(apply(program), name)
        stages.append((name, program))
    shown = formula(specialised(rule, replace(settings, stages=()), ecosystem))
    return [(name, replace(program, formula=shown)) for name, program in stages]


@cache
def _frozen(rule: type[Rule], stages: tuple[type[Stage], ...]) -> Program:
    """Traced once, for all targets."""
    # SymPy takes half a second to import: only what compiles a rule waits for it.
    from optloom.spec.tracing import trace

    from .ir.freeze import freeze

    return verify(freeze(trace(Composition(rule, stages))), "freeze")


def compile_rule(
    rule: type[Rule],
    strict: bool = True,
    nestings: Nestings = frozenset(),
    settings: Settings = DEFAULT,
    ecosystem: str = "",
) -> Program:
    """The program of `rule`, ready to be printed. `ecosystem`: the package whose conventions stay arguments."""
    return passes_of(rule, strict, nestings, settings, ecosystem)[-1][1]


def program_for(
    rule: type[Rule], target: str, numerics: Numerics | None = None, settings: Settings = DEFAULT
) -> Program:
    """The program of `rule` as `target` is given it. `numerics` None takes the target's default."""
    chosen = load_target(target)
    strict = (numerics or chosen.numerics) == "strict"
    printed = tuple(stage for stage in settings.stages if stage.called() not in chosen.missing_stages)
    settings = replace(settings, stages=printed)
    return compile_rule(rule, strict, chosen.nestings if strict else frozenset(), settings, chosen.ecosystem)


def render(
    rule: type[Rule], target: str, numerics: Numerics | None = None, settings: Settings = DEFAULT
) -> dict[str, str]:
    """The files of `rule` for `target`, as text by relative path (`<target>/<rule>.<ext>`), formatted.

    `numerics` None takes the target's default. Raises UnsupportedOperation where the target cannot print the rule.
    """
    files = load_target(target).render(program_for(rule, target, numerics, settings))
    return {f"{target}/{path}": formatted(path, text) for path, text in files.items()}


def render_kernels(rule: type[Rule], target: str, settings: Settings = DEFAULT) -> dict[str, str]:
    """The files of the fused kernels that `target`'s classes of `rule` run, as `render` gives them.

    Raises UnsupportedOperation where a kernel cannot be printed. A target whose classes run none has no files.
    """
    kernels: Kernels | None = getattr(load_target(target), "kernels", None)
    files: dict[str, str] = {}
    for name in kernels.targets if kernels else ():
        files |= render(rule, name, None, settings)
    return files
