"""Which optimizers of a rule are run: its variants (options and stages) and the numbers given to them.

Everything is derived from the rule's declarations; nothing is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from optloom.spec.declarations import Hyper, Input, Option, Slot
from optloom.spec.guards import Flag, Narrow, atoms
from optloom.spec.rule import Composition, Layer, Rule, Stage, declarations_of
from optloom.spec.stages import PIPELINE

from .corpus import tensors
from .oracle import Batch, Configuration, Outcome, step
from .protocol import Array, Dtype

STEPS = (1, 2, 10, 1000, 10**6, 2**24 + 1)
FEW_STEPS = (1, 10, 1000)
FACTORS = (1.7, 2.3, 3.1, 1.3, 2.9, 1.9)
SHARES = (0.4142, 0.7321, 0.2361, 0.6458, 0.3166, 0.6056)
LARGE = (0.37, 0.22, 0.51, 0.29, 0.43, 0.34)


@dataclass(frozen=True)
class Variant:
    """Options and stages of one optimizer. `hypers`: the optional numbers that are given.

    `dialect`: whose conventions it has (a peer's package or path), empty for the rule's own; `conventions`: the
    names of those that are not the rule's own. They are run where a target keeps them. `stage_options`: the options
    that turn stages on. `dtype`: of parameters in which all of it is seen.
    """

    name: str
    hypers: Mapping[str, float | int | None] = field(default_factory=dict)
    options: Mapping[str, bool | str] = field(default_factory=dict)
    has_stages: bool = False
    dialect: str = ""
    conventions: frozenset[str] = frozenset()
    stage_options: frozenset[str] = frozenset()
    dtype: Dtype = "float32"

    @property
    def needs(self) -> frozenset[str]:
        """What a target must have as arguments to run it: conventions, and what its stages declare."""
        return self.conventions | (frozenset({*self.hypers, *self.stage_options}) if self.has_stages else frozenset())


@dataclass(frozen=True)
class Case:
    """One optimizer: a variant and its numbers, as a user would pass them. `steps`: the t of the steps judged."""

    variant: Variant
    name: str
    hypers: Mapping[str, float | int | None]
    steps: tuple[int, ...]


def composition_of(rule: type[Rule]) -> Composition:
    return Composition(rule, PIPELINE)


def configuration(composition: Composition, case: Case | Variant, dtype: str, flushes: bool = False) -> Configuration:
    """What the oracle is told: every number and option by name."""
    options = case.variant.options if isinstance(case, Case) else case.options
    return Configuration(
        composition, dtype,
        {hyper.name: composition.default(hyper) for hyper in composition.hypers} | dict(case.hypers),
        {option.name: option.default for option in composition.of_kind(Option)} | dict(options),
        flushes,
    )  # fmt: skip


@dataclass(frozen=True)
class Conventions:
    """Which formula is meant: the rule's own (no name), or that of a peer, called after its package.

    Of several peers of one package that differ the later ones are called by their paths.
    """

    name: str = ""
    options: Mapping[str, bool | str] = field(default_factory=dict)
    hypers: frozenset[str] = frozenset()

    def of(self, layer: type[Layer]) -> dict[str, bool | str]:
        """The options that `layer` declares."""
        return {d.name: self.options[d.name] for d in declarations_of(layer) if d.name in self.options}


def conventions(composition: Composition) -> list[Conventions]:
    """The rule's own, then those of its peers that differ."""
    options = {option.name: option.default for option in composition.of_kind(Option) if option.convention}
    hypers = {hyper.name for hyper in composition.hypers if hyper.convention}
    found = [Conventions()]
    for peer in composition.rule.peers:
        set_otherwise = {n: peer.dialect[n] for n, value in options.items() if peer.dialect.get(n, value) != value}
        name = peer.path if any(peer.ecosystem == other.name for other in found) else peer.ecosystem
        made = Conventions(name, set_otherwise, frozenset(hypers & {*peer.names, *peer.arguments}))
        if all((made.options, made.hypers) != (other.options, other.hypers) for other in found):
            found.append(made)
    return found


def variants(composition: Composition) -> list[Variant]:
    """The rule's own options and optional numbers in every combination that means something, then stages; and again
    under the conventions of each peer."""
    return [
        variant
        for meant in conventions(composition)
        for variant in (*_unstaged(composition, meant), *_staged(composition, meant))
    ]


def _unstaged(composition: Composition, meant: Conventions) -> list[Variant]:
    own = {d.name: d for layer in composition.layers if layer not in composition.stages for d in declarations_of(layer)}
    fixed = {name: value for name, value in meant.options.items() if name in own}
    choices: list[list[tuple[str, str, bool | str | float | int | None]]] = []
    for index, declared in enumerate(own.values()):
        match declared:
            case Option(convention=True):
                continue
            case Hyper(convention=True, name=name) if name not in meant.hypers:
                continue
            case Option(default=bool() as default, name=name):
                choices.append([("", name, default), (name if not default else f"no-{name}", name, not default)])
            case Option(default=default, name=name, choices=forms):
                others = [form for form in forms if form != default]
                choices.append([("", name, default), *((form, name, form) for form in others)])
            case Hyper(optional=True, name=name):
                choices.append([("", name, declared.default), (name, name, other_number(declared, index))])
    found: list[Variant] = []
    seen: list[Outcome] = []
    if meant.name and not fixed and not meant.hypers:
        return []
    for picked in product(*choices):
        changed = [(label, name, value) for label, name, value in picked if label]
        labels = [meant.name, *(label for label, _, _ in changed)]
        given = {name: value for _, name, value in changed if isinstance(own[name], Hyper)}
        variant = Variant(
            "+".join(filter(None, labels)) or "plain",
            given,  # type: ignore[arg-type]
            {name: value for _, name, value in changed if isinstance(own[name], Option)} | fixed,  # type: ignore[arg-type]
            dialect=meant.name,
            conventions=frozenset(fixed) | (meant.hypers & given.keys()),
        )
        outcome = _sample(composition, variant)
        if not any(_same(outcome, other) for other in seen):
            found.append(variant)
            seen.append(outcome)
    return found


def _staged(composition: Composition, meant: Conventions) -> list[Variant]:
    """Each stage alone, and all of them; not those that the rule turns on itself, nor, under a peer's conventions,
    those that have none."""
    free = [s for s in composition.stages if composition.rule.stage_defaults.get(s.when) is None]
    own = [stage for stage in composition.stages if meant.of(stage)]
    if meant.name and not own:
        return []
    alone = [with_stages(meant, (stage,), label_of(stage)) for stage in free if stage in own or not meant.name]
    together = tuple({stage.called(): stage for stage in free}.values())  # the last of those that exclude each other
    return [*alone, with_stages(meant, together, "all-stages")] if len(together) > 1 else alone


def label_of(stage: type[Stage]) -> str:
    """`decay`; of stages that exclude each other also what turns it on: `clip-by-norm` is `clip-clipnorm`."""
    return stage.called() if not stage.name or isinstance(stage.guard(), Flag) else stage.when


def with_stages(meant: Conventions, stages: tuple[type[Stage], ...], label: str) -> Variant:
    """These stages on, every number of theirs given."""
    hypers = {h.name: other_number(h, index) for stage in stages for index, h in enumerate(_hypers_of(stage))}
    options = {guard.option: True for stage in stages if isinstance(guard := stage.guard(), Flag)}
    guards = [d.when for stage in stages for d in declarations_of(stage) if isinstance(d, Slot)]
    dtype: Dtype = "bfloat16" if any(Narrow() in atoms(guard) for guard in guards) else "float32"
    return Variant(
        f"{meant.name}+{label}" if meant.name else label, hypers, {**meant.options, **options}, has_stages=True,
        dialect=meant.name, conventions=frozenset(meant.options), stage_options=frozenset(options), dtype=dtype,
    )  # fmt: skip


def _hypers_of(layer: type[Layer]) -> list[Hyper]:
    return [declared for declared in declarations_of(layer) if isinstance(declared, Hyper)]


def cases(composition: Composition, variant: Variant, dtype: str) -> list[Case]:
    """The defaults; every number another; and, for the plain rule, numbers far away, and some at their lower bounds.

    float16 and bfloat16 parameters share float32's arithmetic: what is far is left to it.
    """
    other = _numbers(composition, variant, other_number)
    sets: list[tuple[str, dict[str, float | int | None], tuple[int, ...]]] = [("other", other, STEPS)]
    if not variant.has_stages:
        sets = [("default", dict(variant.hypers), STEPS), *sets]
    if dtype in ("float16", "bfloat16"):
        return [Case(variant, *given) for given in sets]
    sets.append(("far", _numbers(composition, variant, _far_number), FEW_STEPS))
    if variant.name == "plain":
        for parity, name in enumerate(("low-even", "low-odd")):
            free = [h for h in _free(composition, variant)[parity::2] if ">=" in h.bounds]
            # Of an optional number 0 may mean that there is none, as PyTorch's weight_decay does.
            lowest = {h.name: h.bounds[">="] for h in free if not h.optional}
            sets.append((name, {**other, **lowest}, FEW_STEPS))
    return [Case(variant, name, numbers, steps) for name, numbers, steps in sets]


def _free(composition: Composition, variant: Variant) -> list[Hyper]:
    """Numbers that change no structure."""
    active = {
        stage
        for stage in composition.stages
        if stage.when in (*variant.hypers, *variant.stage_options, *composition.rule.stage_defaults)
    }
    layers = [layer for layer in composition.layers if layer not in composition.stages or layer in active]
    named = [h for layer in layers for h in _hypers_of(layer)]
    return [
        h for h in named if not h.optional or h.name in variant.hypers or composition.default(h) not in (None, h.off)
    ]


def _numbers(composition: Composition, variant: Variant, pick: object) -> dict[str, float | int | None]:
    assert callable(pick)
    return {h.name: pick(h, index) for index, h in enumerate(_free(composition, variant))}


def other_number(hyper: Hyper, index: int) -> float | int:
    """A legal number near the default, but not it."""
    low, high = (hyper.bounds.get(">=", hyper.bounds.get(">")), hyper.bounds.get("<=", hyper.bounds.get("<")))
    factor, default = FACTORS[index % len(FACTORS)], hyper.default
    if hyper.integer:
        return int(low or 0) + 1
    if low is not None and high is not None:
        near = high - (high - default) * factor if default is not None else low
        return near if near > low else low + (high - low) * SHARES[index % len(SHARES)]
    if default:
        return default * factor if high is None else default * (1 - factor / 10)
    return (low or 0.0) + 0.0371 * factor


def _far_number(hyper: Hyper, index: int) -> float | int:
    """A legal number far from the default."""
    low, high = (hyper.bounds.get(">=", hyper.bounds.get(">")), hyper.bounds.get("<=", hyper.bounds.get("<")))
    if hyper.integer:
        return int(low or 0) + 1
    if low is not None and high is not None:
        return low + (high - low) * SHARES[index % len(SHARES)]
    # A stage's numbers, which have no default, are larger still: a decay that takes most of a weight off is seen.
    large = LARGE[index % len(LARGE)] + (2 if hyper.default is None else 0)
    return low + large if low is not None else (high or 0.0) - large


def _sample(composition: Composition, variant: Variant) -> Outcome:
    """An early and a late call, to tell variants apart by what they compute."""
    parts = [tensor for tensor in tensors("float32") if tensor.name in ("matrix", "cube")]
    given = configuration(composition, variant, "float32")
    slots = given.start([part.parameter for part in parts])
    gradients = [np.stack([part.gradient] * 2) for part in parts]
    return step(
        given,
        Batch(
            [np.stack([part.parameter] * 2) for part in parts], gradients,
            {name: [np.stack([array] * 2) for array in arrays] for name, arrays in slots.items()},
            np.array([0, 2**24]), np.array([0, 2**24]), extra_inputs(composition, gradients),
        ),
    )  # fmt: skip


def extra_inputs(composition: Composition, gradients: list[Array]) -> dict[str, Any]:
    """Values for a rule's extra inputs: 1 for numbers, the squared gradient for tensors."""
    with np.errstate(all="ignore"):
        return {
            source.name: np.ones(len(gradients[0])) if source.shape == "scalar" else [g * g for g in gradients]
            for source in composition.of_kind(Input)
        }


def features(composition: Composition, variant: Variant) -> frozenset[str]:
    """What the variant sums over."""
    return _sample(composition, variant).features


def _same(a: Outcome, b: Outcome) -> bool:
    heads = [[part.head for part in outcome.parameters] for outcome in (a, b)]
    return a.slots.keys() == b.slots.keys() and all(np.array_equal(x, y) for x, y in zip(*heads, strict=True))
