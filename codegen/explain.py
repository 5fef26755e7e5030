"""What the compiler does to one rule: the program after each pass, its operations, its phases and their bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from optloom.spec.guards import Flag, Given, atoms, describe
from optloom.spec.rule import Rule, Stage

from .compiler import DEFAULT, Numerics, Settings, compile_rule, passes_of
from .discovery import target as target_named
from .ir.nodes import Expression, Fn, Op, Program, Rate, Reduce, Region, children
from .ir.text import program_text
from .passes.fission import phases
from .passes.joined import joined
from .passes.rates import environment, rate_of
from .passes.traffic import Phase, bytes_moved

RATES = ("per step", "per tensor", "per element")
FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class PassView:
    """The program after one pass. `operations`: how many of each, by how often they are carried out."""

    name: str
    program: str
    operations: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class PhaseView:
    """One pass over memory, and when it runs. `bytes_moved`: per float32 parameter and variant (`momentum given`)."""

    when: str
    reads: Sequence[str]
    writes: Sequence[str]
    sums: Sequence[str]
    bytes_moved: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`bytes_moved`: by all phases together, per float32 parameter and variant."""

    rule: str
    passes: Sequence[PassView]
    phases: Sequence[PhaseView]
    bytes_moved: Mapping[str, int]


def explain(
    rule: type[Rule],
    target: str | None = None,
    numerics: Numerics | None = None,
    stages: tuple[type[Stage], ...] | None = None,
) -> Explanation:
    """The passes and phases of `rule`, as `target` has them compiled (without one: strict, nothing guarded).

    `stages`: those around it; then the bytes with all of them on are told too. None: all there are.

    Raises SpecError for a rule that is wrong, ModuleNotFoundError for an unknown target.
    """
    chosen = target_named(target) if target else None
    strict = (numerics or (chosen.numerics if chosen else "strict")) == "strict"
    nestings = chosen.nestings if chosen and strict else frozenset()
    settings = Settings() if stages is None else Settings(stages=stages)
    programs = passes_of(rule, strict, nestings, settings)
    views, moved = memory_traffic(rule, programs[-1][1], settings, all_on=stages is not None)
    return Explanation(
        rule=rule.__name__,
        passes=[PassView(name, program_text(program), operations(program)) for name, program in programs],
        phases=views,
        bytes_moved=moved,
    )


def operations(program: Program) -> dict[str, dict[str, int]]:
    """How many operations of each kind the program holds, in all its branches, by how often they are carried out."""
    counts = {rate: Counter[str]() for rate in RATES}
    for region in program.regions:
        for rate, name in _operations(program, region):
            counts[rate][name] += 1
    return {rate: dict(sorted(counted.items())) for rate, counted in counts.items() if counted}


def _operations(program: Program, region: Region) -> Iterator[tuple[str, str]]:
    rates = environment(program, region)
    for statement in (*region.scalars, *region.statements):
        for node in _nodes(statement.value):
            if isinstance(node, Op) and node.fn is not Fn.EXACT:
                yield _how_often(rate_of(node, rates)), node.fn.value
            elif isinstance(node, Reduce):
                yield _how_often(rate_of(node.argument, rates)), node.to


def _nodes(node: Expression) -> Iterator[Expression]:
    yield node
    for child in children(node):
        yield from _nodes(child)


def _how_often(rate: Rate) -> str:
    if rate.is_scalar:
        return RATES[0]
    return RATES[1] if rate.is_per_tensor else RATES[2]


def memory_traffic(
    rule: type[Rule], program: Program, settings: Settings = DEFAULT, all_on: bool = False
) -> tuple[list[PhaseView], dict[str, int]]:
    """The phases of a call that updates, as far as they move anything, and the bytes of all together by variant.

    `program`: of `rule`, compiled under `settings`. `all_on`: those with all stages on as well.
    """
    region = joined(program)
    found = phases(program, region)
    moved: dict[str, list[int]] = {"default": _moved(program, found)}
    for hyper in program.hypers:
        if hyper.optional:
            moved[f"{hyper.name} given"] = _moved(program, found, frozenset({hyper.name}))
    for option in program.options:
        for value in option.choices or (not option.default,):
            if value != option.default:
                moved[f"{option.name}={value}"] = _of_variant(rule, settings, option.name, value)
    if all_on:
        moved |= {", ".join(names): _moved(program, found, frozenset(names)) for names in _together(program)}
    distinct = {name: row for name, row in moved.items() if name == "default" or row != moved["default"]}
    views = [
        PhaseView(
            when=" or ".join(map(describe, phase.guards)),
            reads=phase.reads,
            writes=phase.writes,
            sums=[total.name for total in phase.sums],
            bytes_moved={name: row[i] for name, row in distinct.items() if i < len(row)},
        )
        for i, phase in enumerate(found)
        if phase.reads or phase.writes
    ]
    return views, {name: sum(row) for name, row in distinct.items()}


def _together(program: Program) -> Iterator[tuple[str, ...]]:
    """What turns all stages on: of those that exclude each other one."""
    switches: dict[str, list[str]] = {}
    for stage in program.stages:
        switches.setdefault(stage.name, []).extend(
            atom.hyper if isinstance(atom, Given) else atom.option
            for atom in atoms(stage.guard) if isinstance(atom, Given | Flag)
        )  # fmt: skip
    yield from product(*switches.values())


def _moved(program: Program, found: Sequence[Phase], given: frozenset[str] = frozenset()) -> list[int]:
    return [bytes_moved(program, phase, FLOAT32, given) for phase in found]


def _of_variant(rule: type[Rule], settings: Settings, option: str, value: bool | str) -> list[int]:
    program = compile_rule(rule, settings=replace(settings, options={option: value}))
    return _moved(program, phases(program, joined(program)))
