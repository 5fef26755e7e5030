"""The files that a run of the suite tests: rendered anew, into a folder of their own."""

from __future__ import annotations

from pathlib import Path

from optloom.spec.rule import Rule

from ..compiler import render
from ..printing import UnsupportedOperation
from .pool import Skipped
from .protocol import Numerics


def rendered(rule: type[Rule], name: str, target: str, numerics: Numerics, folder: Path) -> Path:
    """The file of `rule` (its support modules beside it). Raises Skipped if the target does not print it."""
    try:
        files = render(rule, target, numerics)
    except UnsupportedOperation as error:
        raise Skipped(str(error)) from error
    place = folder / numerics
    for path, text in files.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = [place / path for path in files if Path(path).stem == name]
    assert own, f"{target} renders no file called {name}"
    return own[0]
