"""The files that a run of the suite tests: rendered anew, into a folder of their own."""

from __future__ import annotations

from pathlib import Path

from optloom.spec.rule import Rule

from ..compiler import Settings, program_for, render
from ..printing import UnsupportedOperation
from .pool import Skipped
from .protocol import Numerics

OWN = Settings()
OPEN = Settings(conventions="all")
"""Conventions are arguments that the target's users have, or all are."""


def arguments_kept(rule: type[Rule], target: str) -> frozenset[str]:
    """The hyperparameters and options, conventions among them, that are arguments in the target's file of `rule`."""
    program = program_for(rule, target)
    return frozenset([hyper.name for hyper in program.hypers] + [option.name for option in program.options])


def rendered(
    rule: type[Rule], name: str, target: str, numerics: Numerics, folder: Path, settings: Settings = OWN
) -> Path:
    """The file of `rule` in `folder`, its support modules beside it. Raises Skipped if the target does not print it."""
    try:
        files = render(rule, target, numerics, settings)
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
