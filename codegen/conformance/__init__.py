"""The conformance suite: every rule, in every target and mode, against the oracle.

`conform` is all that callers need. Importing it here is cheap; it loads numpy and gmpy2 when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optloom.spec.rule import Rule

    from .coverage import Extent
    from .report import Report

__all__ = ["conform"]


def conform(
    rules: Mapping[str, type[Rule]],
    targets: Sequence[str],
    *,
    dtypes: Sequence[str] = (),
    numerics: Sequence[str] = (),
    extent: Extent = "usual",
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Runs the suite on `rules` (by file name) in `targets`, and says what became of every cell.

    `dtypes` and `numerics` narrow it down. Of the extents `quick` runs fewer variants and numbers, `stages` each stage
    alone, in pairs and in random combinations, and `everything` all in every mode, which takes hours. `progress` is
    called with the cells done, all cells, and the id of the next. Raises ModuleNotFoundError without gmpy2, numpy and
    ml_dtypes, which `pip install optloom[conform]` installs.
    """
    try:
        from .campaign import Campaign
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("optloom"):
            raise
        raise ModuleNotFoundError(
            f"conform needs {error.name}: pip install optloom[conform]", name=error.name
        ) from error
    return Campaign(dict(rules), tuple(targets), tuple(dtypes), tuple(numerics), extent).run(progress)
