"""The files that a run of the suite tests: rendered anew, into a folder of their own."""

from __future__ import annotations

from pathlib import Path

from optloom.spec.rule import Rule

from ..compiler import Settings, program_for, render
from ..printing import UnsupportedOperation
from .pool import Skipped
from .protocol import Numerics

OPEN = Settings(conventions="all")


def arguments_kept(rule: type[Rule], target: str) -> frozenset[str]:
    """The hyperparameters and options, conventions among them, that are arguments in the target's file of `rule`."""
    program = program_for(rule, target)
    return frozenset([hyper.name for hyper in program.hypers] + [option.name for option in program.options])


def rendered(
    rule: type[Rule], name: str, target: str, numerics: Numerics, folder: Path, *, is_open: bool = False
) -> Path:
    """The file of `rule` (its support modules beside it). Raises Skipped if the target does not print it.

    `is_open`: all conventions are left arguments, else those that the target's users have.
    """
    try:
        files = render(rule, target, numerics, OPEN if is_open else Settings())
    except UnsupportedOperation as error:
        raise Skipped(str(error)) from error
    place = folder / (f"{numerics}-open" if is_open else numerics)
    for path, text in files.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = [place / path for path in files if Path(path).stem == name]
    assert own, f"{target} renders no file called {name}"
    return own[0]
