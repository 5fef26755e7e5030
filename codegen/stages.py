"""Choosing stages by name."""

from __future__ import annotations

from collections.abc import Sequence

from optloom.spec.rule import AllFinite, Stage
from optloom.spec.stages import PIPELINE

NAMES = tuple(sorted({stage.called() for stage in PIPELINE}))
"""What stages are called where they are chosen. Those that exclude each other have one name together; what turns one
of them on (`clipnorm`) names it alone."""
GATES = tuple(stage.when for stage in PIPELINE if isinstance(stage.region, AllFinite))
"""The options under which a call changes nothing, which bindings of kernels see to."""


def chosen(names: Sequence[str] | None) -> tuple[type[Stage], ...]:
    """The stages of those names, in the pipeline's order; all for None. Raises ValueError for a name of none."""
    if names is None:
        return PIPELINE
    known = {*NAMES, *(stage.when for stage in PIPELINE)}
    for name in names:
        if name not in known:
            raise ValueError(name)
    return tuple(stage for stage in PIPELINE if stage.called() in names or stage.when in names)
