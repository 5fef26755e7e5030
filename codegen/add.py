"""`optloom add`: a rule of one's own judged, generated in all targets and documented, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import api
from .output import OutputError, replace_files

if TYPE_CHECKING:
    from .conformance.report import Report

PAGES = "docs"
"""The folder of the pages, beside the targets' folders."""


@dataclass(frozen=True)
class Added:
    """`judged`: the quick extent of the suite. `generated` and `pages` are None and empty unless it passed."""

    judged: Report
    generated: api.Generated | None = None
    pages: tuple[Path, ...] = ()


def add(
    rules: Sequence[str], folder: Path, targets: Sequence[str] = (), *, progress: api.Progress | None = None
) -> Added:
    """Takes in rules by name or by the paths of their files: their cells in `targets` (all) are judged first, and only
    if all are as they should be are the optimizers and a page for each rule written into `folder`.

    Raises SpecError, UnsupportedOperation or UnknownName for what cannot be compiled, OutputError where `folder` cannot
    be written, EditedFiles where a file was edited by hand, ModuleNotFoundError without what judging or drawing needs.
    """
    from .conformance import conform
    from .pages.site import texts_of

    chosen, names = api.rules_named(rules), api.targets_named(targets)
    if not folder.parent.is_dir():
        raise OutputError(f"the folder {folder.parent} does not exist")
    for wanted in (folder, folder / PAGES):
        if wanted.exists() and not wanted.is_dir():
            raise OutputError(f"{wanted} is a file, where a folder is to be: say another --out")
    judged = conform(chosen, names, extent="quick", progress=progress)
    if not judged.passed or not judged.results:
        return Added(judged)
    texts = texts_of(rules)  # drawn before anything is written
    generated = api.generate(api.Selection(tuple(rules), tuple(targets)), folder)
    replace_files(folder / PAGES, texts, ())
    return Added(judged, generated, tuple(folder / PAGES / name for name in texts))
