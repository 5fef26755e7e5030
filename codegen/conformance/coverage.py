"""How much of a rule is run where.

Everything, everywhere, would take hours: compilers take seconds for each optimizer, frameworks a second for each
hundred calls. So the first mode of a target runs every variant; its other modes, where only the execution differs, the
ones that differ most, on ordinary tensors where others need optimizers of their own; slow ones the plain rule and the
one with all stages. `quick` does less, `everything` all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .cases import Variant
from .protocol import Dtype, Mode, Numerics

Extent: TypeAlias = Literal["quick", "usual", "stages", "everything"]
"""`stages`: stages in combination (see `combinations`), instead of a rule's own variants."""
ONLY_OTHER = frozenset({"other"})
MOST = frozenset({"other", "default"})
ALL = frozenset({"other", "default", "far", "low-even", "low-odd"})
RUN_CASE = "other"
"""The numbers of the long run: the same in every mode, since its bits are compared."""


RUN_CALLS = 200
FEW_CALLS = 50


@dataclass(frozen=True)
class Share:
    """What is run of one variant: the cases of these names; a run of so many calls from the start, 0 for none.

    `apart`: whether adversarial tensors that need an optimizer of their own get it (see `corpus.grouped`).
    `closed`: whether, of a gate, calls that it does not let through are asked for too.
    """

    variant: Variant
    cases: frozenset[str]
    run_calls: int
    apart: bool
    closed: bool = True


def shares(
    variants: list[Variant], mode: Mode, is_first: bool, numerics: Numerics, dtype: Dtype, extent: Extent
) -> Iterator[Share]:
    """What is run of a rule in one mode, kind of code and dtype."""
    last_staged = {variant.dialect: variant for variant in variants if variant.has_stages}
    hashed = numerics == "strict" and dtype in ("float32", "float64")
    for variant in variants:
        plain, all_stages = variant is variants[0], variant in last_staged.values()
        ordinary = dtype == "float32" or (dtype == "float64" and not mode.slow)
        calls = RUN_CALLS if plain and (hashed or dtype == "float32") else 0
        match extent:
            case "everything":
                yield Share(variant, ALL, RUN_CALLS, True)
            case "stages":
                if is_first and dtype == variant.dtype:
                    yield Share(variant, ONLY_OTHER, 0, False)
            case "quick":
                last = variant is last_staged.get("")
                whole = is_first and dtype == "float32"
                in_reach = is_first if dtype == "bfloat16" else dtype == "float32" and not mode.slow
                if (plain or last) if whole else in_reach and (plain if numerics == "strict" else last):
                    apart = whole and plain and numerics == "strict"
                    yield Share(variant, ONLY_OTHER, FEW_CALLS if calls else 0, apart, closed=False)
            case _ if is_first:
                if dtype == variant.dtype or plain or all_stages or (ordinary and not variant.has_stages):
                    long = RUN_CALLS if plain or (ordinary and (all_stages or not variant.has_stages)) else 0
                    yield Share(variant, ALL if plain else MOST, long, True)
            case _ if mode.slow:
                chosen = plain if numerics == "strict" else variant is last_staged.get("")
                if chosen and dtype == "float32":
                    yield Share(variant, ONLY_OTHER, calls, False)
            case _:
                if plain or (all_stages and ordinary) or (dtype == "float32" and not variant.has_stages):
                    yield Share(variant, MOST if plain and dtype == "float32" else ONLY_OTHER, calls, False)
