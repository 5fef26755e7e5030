"""How much of a rule is run where.

Everything, everywhere, would take hours: compilers take seconds for each optimizer. So the first mode of a target runs
every variant; its other modes, where only the execution differs, the ones that differ most; slow ones the plain
rule and the one with all stages. `quick` does less, `everything` all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .cases import Variant
from .protocol import Dtype, Mode, Numerics

Extent: TypeAlias = Literal["quick", "usual", "everything"]
ONLY_OTHER = frozenset({"other"})
MOST = frozenset({"other", "default"})
ALL = frozenset({"other", "default", "far", "low-even", "low-odd"})
RUN_CASE = "other"
"""The numbers of the long run: the same in every mode, since its bits are compared."""


@dataclass(frozen=True)
class Share:
    """What is run of one variant: the cases of these names; and the run of 200 calls, or not."""

    variant: Variant
    cases: frozenset[str]
    with_run: bool


def shares(
    variants: list[Variant], mode: Mode, is_first: bool, numerics: Numerics, dtype: Dtype, extent: Extent
) -> Iterator[Share]:
    """What is run of a rule in one mode, kind of code and dtype."""
    last_staged = {variant.dialect: variant for variant in variants if variant.has_stages}
    hashed = numerics == "strict" and dtype in ("float32", "float64")
    for variant in variants:
        plain, all_stages = variant is variants[0], variant in last_staged.values()
        ordinary = dtype == "float32" or (dtype == "float64" and not mode.slow)
        with_run = plain and (hashed or dtype == "float32")
        match extent:
            case "everything":
                yield Share(variant, ALL, True)
            case "quick":
                wanted = dtype in ("float32", "bfloat16") if is_first else dtype == "float32" and not mode.slow
                if wanted and (plain or variant is last_staged.get("")):
                    yield Share(variant, ONLY_OTHER, with_run)
            case _ if is_first:
                if dtype == "float32" or plain or all_stages or (ordinary and not variant.has_stages):
                    yield Share(variant, ALL if plain else MOST, plain or ordinary)
            case _ if mode.slow:
                if plain or (all_stages and dtype == "float32"):
                    yield Share(variant, ONLY_OTHER, with_run)
            case _:
                if plain or (all_stages and ordinary) or (dtype == "float32" and not variant.has_stages):
                    yield Share(variant, MOST if plain and dtype == "float32" else ONLY_OTHER, with_run)
