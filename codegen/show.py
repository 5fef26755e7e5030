"""One rule, as `optloom show` tells it: formula, hyperparameters, slots, memory, bytes moved, peers.

Everything is derived from the rule, from the targets' renamings and from the compiler's analyses. No framework is
imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, Atom, Flag, Given, Guard, Is, Narrow, describe, evaluate
from optloom.spec.rule import Rule

from .compiler import Settings, compile_rule, frozen, specialised
from .dialects import EVERY, binding
from .discovery import targets
from .explain import FLOAT32, PhaseView, memory_traffic
from .ir.nodes import Choice, Hyperparameter, Literal, Program, SlotInfo
from .mathematics import latex, plain_lines, unicode_lines
from .target import names_in


@dataclass(frozen=True, slots=True)
class HyperView:
    """`bounds`: as (sign, number). `names`: by target, what its users pass; a target that does not have it is absent.
    `stage`: whose it is, empty for the rule's own."""

    name: str
    default: float | None
    bounds: Sequence[tuple[str, float]]
    integer: bool
    doc: str
    stage: str
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OptionView:
    """`convention`: it only says which of several peers' formulas is meant; it is an argument where `names` has it."""

    name: str
    default: bool | str
    choices: Sequence[bool | str]
    doc: str
    stage: str
    convention: bool
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SlotView:
    """`when`: the condition under which it exists, empty for always. `bytes_per_element`: for a float32 parameter; None
    where the slot does not have the parameter's shape."""

    name: str
    doc: str
    shape: str
    start: str
    when: str
    stage: str
    bytes_per_element: int | None
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PeerView:
    """`differs`: in the rule's own names. `otherwise`: what the peer computes otherwise under any options, and says of
    which part. `dialect`: the options under which the rule is this peer's. `defaults`: the peer's, where they are not
    the rule's."""

    path: str
    differs: Sequence[str]
    otherwise: Sequence[str]
    dialect: Mapping[str, bool | str]
    defaults: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RuleView:
    """`formula`: ASCII, as in the generated docstrings. `memory`: bytes of slots per float32 element, by variant."""

    name: str
    rule: str
    doc: str
    source: str
    formula: Sequence[str]
    unicode: Sequence[str]
    latex: str
    hyperparameters: Sequence[HyperView]
    options: Sequence[OptionView]
    slots: Sequence[SlotView]
    memory: Mapping[str, int]
    phases: Sequence[PhaseView]
    bytes_moved: Mapping[str, int]
    peers: Sequence[PeerView]


def show(rule: type[Rule]) -> RuleView:
    """What there is to say of `rule`. Raises SpecError for a rule that is wrong."""
    alone, program = specialised(rule, Settings(stages=())), frozen(rule)
    phases, moved = memory_traffic(rule, compile_rule(rule))
    named = names_by_target(program)
    return RuleView(
        name=PurePath(program.source).stem,
        rule=program.name,
        doc=program.doc,
        source=program.source,
        formula=plain_lines(alone),
        unicode=unicode_lines(alone),
        latex=latex(alone),
        hyperparameters=[_hyper(hyper, named) for hyper in program.hypers],
        options=[_option(option, named) for option in program.options],
        slots=[_slot(slot, named) for slot in program.slots],
        memory=memory(program),
        phases=phases,
        bytes_moved=moved,
        peers=[
            PeerView(p.path, p.differs, _otherwise(p), dict(p.dialect), other_defaults(program, p))
            for p in program.peers
        ],
    )


def _otherwise(peer: Peer) -> list[str]:
    return [text if part == "step" else f"{part}: {text}" for part, text in peer.otherwise.items()]


def names_by_target(program: Program) -> dict[str, dict[str, str]]:
    """What users call the hyperparameters, options and slots that a target has: of those with an ecosystem of their
    own."""
    found = {}
    for name, target in targets().items():
        if target.ecosystem not in ("", EVERY):
            bound = binding(program, "own", target.ecosystem)
            names = names_in(target, program)
            missing = {n for stage in program.stages if stage.name in target.missing_stages for n in stage.declares}
            gone = {*bound.options, *bound.absent, *missing}
            found[name] = {old: new for old, new in names.items() if old not in gone}
    return found


def other_defaults(program: Program, peer: Peer) -> dict[str, float]:
    """The peer's defaults, where they are not the rule's."""
    ours = {hyper.name: hyper.default for hyper in program.hypers}
    return {name: value for name, value in peer.defaults.items() if ours.get(name) != value}


def memory(program: Program) -> dict[str, int]:
    """Bytes of the rule's own slots for each element of a float32 parameter: of the defaults, and of each option or
    optional hyperparameter that changes it."""
    every: dict[str, tuple[frozenset[str], dict[str, bool | str]]] = {"default": (frozenset(), {})}
    every |= {f"{h.name} given": (frozenset({h.name}), {}) for h in program.hypers if h.optional}
    for option in program.options:
        for value in option.choices or (not option.default,):
            if value != option.default:
                every[f"{option.name}={value}"] = (frozenset(), {option.name: value})
    found = {name: _bytes(program, given, options) for name, (given, options) in every.items()}
    return {name: size for name, size in found.items() if name == "default" or size != found["default"]}


def _bytes(program: Program, given: frozenset[str], options: Mapping[str, bool | str]) -> int:
    chosen = {option.name: option.default for option in program.options} | dict(options)
    on = given | {h.name for h in program.hypers if h.default is not None and h.default != h.off}

    def holds(atom: Atom) -> bool:
        match atom:
            case Flag(option):
                return chosen[option] is True
            case Is(option, value):
                return chosen[option] == value
            case Given(hyper):
                return hyper in on
            case Narrow():
                return False
        return True

    return sum(FLOAT32 for slot in program.slots if slot.shape == "parameter" and evaluate(slot.when, holds))


def _hyper(hyper: Hyperparameter, named: Mapping[str, Mapping[str, str]]) -> HyperView:
    return HyperView(
        hyper.name, hyper.default, hyper.bounds, hyper.integer, hyper.doc or "step size", hyper.stage,
        _names(hyper.name, named),
    )  # fmt: skip


def _option(option: Choice, named: Mapping[str, Mapping[str, str]]) -> OptionView:
    return OptionView(
        option.name, option.default, option.choices or (False, True), option.doc, option.stage, option.convention,
        _names(option.name, named),
    )  # fmt: skip


def _slot(slot: SlotInfo, named: Mapping[str, Mapping[str, str]]) -> SlotView:
    start = f"{float(slot.init.value):g}" if isinstance(slot.init, Literal) else slot.init.name
    return SlotView(
        slot.name, slot.doc, slot.shape, "the parameter" if start == "w" else start, _when(slot.when), slot.stage,
        FLOAT32 if slot.shape == "parameter" else None, _names(slot.name, named),
    )  # fmt: skip


def _when(guard: Guard) -> str:
    return "" if guard == ALWAYS else describe(guard)


def _names(name: str, named: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {target: names[name] for target, names in named.items() if name in names}
