"""Stages with each other: each alone, each pair that can be set together, and random combinations with a rule's own
options. What `optloom conform --stages` runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from optloom.spec.rule import Composition, Stage

from .cases import Conventions, Variant, label_of, variants, with_stages

RANDOM = 10
"""Combinations of three stages or more for each rule."""


def combined(composition: Composition) -> list[Variant]:
    """Those of the rule's own conventions, without the stages that it turns on itself."""
    free = [s for s in composition.stages if composition.rule.stage_defaults.get(s.when) is None]
    sets = [(stage,) for stage in free]
    pairs = [pair for pair in combinations(free, 2) if _fit_together(pair)]
    return [_variant(chosen) for chosen in (*sets, *pairs)] + list(_random(composition, free))


def _fit_together(stages: tuple[type[Stage], ...]) -> bool:
    """Of stages with one name at most one may be on."""
    return len({stage.called() for stage in stages}) == len(stages)


def _variant(stages: tuple[type[Stage], ...]) -> Variant:
    return with_stages(Conventions(), stages, "+".join(map(label_of, stages)))


def _random(composition: Composition, free: list[type[Stage]]) -> Iterator[Variant]:
    """The same ones every time: the generator is seeded with the rule's name."""
    chance = random.Random(composition.rule.__name__)
    options = [variant for variant in variants(composition) if not variant.has_stages and not variant.dialect]
    largest = len({stage.called() for stage in free})
    seen: set[str] = set()
    while len(seen) < RANDOM:
        stages = tuple(sorted(chance.sample(free, chance.randint(3, largest)), key=free.index))
        own = chance.choice(options)
        variant = _variant(stages)
        name = variant.name if own.name == "plain" else f"{own.name}+{variant.name}"
        if _fit_together(stages) and name not in seen:
            seen.add(name)
            hypers, chosen = {**own.hypers, **variant.hypers}, {**own.options, **variant.options}
            yield replace(variant, name=name, hypers=hypers, options=chosen, conventions=own.conventions)
