"""What the commands do, as plain functions. Nothing here prints, and no framework is imported."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import optloom.codegen
from optloom.spec.rule import Rule

from .compiler import Numerics, compile_rule, program_for, render
from .conformance import conform
from .discovery import discover, target, target_names
from .output import Finding, Output, OutputError, Report, compare, write
from .printing import UnsupportedOperation
from .provenance import source_digest

__all__ = [
    "Generated", "Progress", "Rendered", "RuleInfo", "Selection", "UnknownName", "catalogue", "check", "conform",
    "default_folder", "generate", "render_all", "rules_named", "targets_named",
]  # fmt: skip

Progress = Callable[[int, int, str], None]
"""Told, before each file group: how many are done, how many there are, and which is next."""


class UnknownName(Exception):
    """No rule or target of that name; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(name.lower(), known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"no {kind} is called '{name}': {hint}")


@dataclass(frozen=True)
class Selection:
    """What to generate: all rules and targets, unless some are named. A rule may be a rule file's path."""

    rules: Sequence[str] = ()
    targets: Sequence[str] = ()
    numerics: Numerics | None = None

    @property
    def whole(self) -> bool:
        """Everything there is, so that other files in the folder are left over."""
        return not self.rules and not self.targets


@dataclass(frozen=True)
class Rendered:
    """Generated files by relative path, and why some (rule, target) pairs have none."""

    files: Mapping[str, Output]
    skipped: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Generated:
    """What `generate` did: in which folder, to which files, and which pairs it had to leave out."""

    folder: Path
    report: Report
    skipped: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class RuleInfo:
    """One rule, for `optloom list`. `targets`: the default numerics, or why there is no file, by target."""

    name: str
    title: str
    source: str
    hyperparameters: Mapping[str, float | None]
    options: Mapping[str, bool | str]
    slots: Sequence[str]
    targets: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)


def default_folder() -> Path:
    """`generated/` of the checkout that this package lies in. Raises OutputError where it is installed."""
    root = Path(next(iter(optloom.codegen.__path__))).resolve().parent
    if not (root / "pyproject.toml").is_file():
        raise OutputError("optloom is installed, not a checkout: say where the files go with --out")
    return root / "generated"


def rules_named(names: Sequence[str] = ()) -> dict[str, type[Rule]]:
    """Rules by file name: all of optloom's own, or those named. A name with a suffix or folder is a path.

    Raises UnknownName, and SpecError for a rule file that is wrong.
    """
    own = discover()
    if not names:
        return own
    chosen: dict[str, type[Rule]] = {}
    for name in names:
        if _is_path(name):
            chosen |= discover(Path(name))
        elif name.lower() in own:
            chosen[name.lower()] = own[name.lower()]
        else:
            raise UnknownName("rule", name, list(own))
    return chosen


def targets_named(names: Sequence[str] = ()) -> list[str]:
    """Target names, checked. Raises UnknownName."""
    known = target_names()
    for name in names:
        if name not in known:
            raise UnknownName("target", name, known)
    return list(dict.fromkeys(names)) or known


def render_all(selection: Selection, progress: Progress | None = None) -> Rendered:
    """The files of a selection. Raises SpecError for a wrong rule, and UnsupportedOperation for a named pair.

    A pair of which the rule or the target was not named is left out when the target does not print the rule.
    """
    rules, chosen = rules_named(selection.rules), targets_named(selection.targets)
    files: dict[str, Output] = {}
    skipped: dict[tuple[str, str], str] = {}
    pairs = [(name, target_name) for name in rules for target_name in chosen]
    for done, (name, target_name) in enumerate(pairs):
        if progress:
            progress(done, len(pairs), f"{target_name}/{name}")
        try:
            texts = render(rules[name], target_name, selection.numerics)
        except UnsupportedOperation as reason:
            if selection.rules and selection.targets:
                raise
            skipped[name, target_name] = str(reason)
            continue
        for path, text in texts.items():
            is_own = PurePosixPath(path).stem == name
            _add(files, path, Output(text, source_digest(rules[name] if is_own else None, target_name)))
    return Rendered(files, skipped)


def generate(
    selection: Selection, folder: Path | None = None, *, force: bool = False, progress: Progress | None = None
) -> Generated:
    """Writes the files of a selection into `folder` (the checkout's `generated/`): all or none, only changes.

    Raises SpecError, UnsupportedOperation or UnknownName before anything is written; EditedFiles unless
    `force`.
    """
    folder = _folder_for(selection, folder)
    rendered = render_all(selection, progress)
    report = write(folder, rendered.files, whole=selection.whole, force=force)
    return Generated(folder, report, rendered.skipped)


def check(selection: Selection, folder: Path | None = None, *, progress: Progress | None = None) -> tuple[Finding, ...]:
    """What `generate` with the same arguments would change; empty when all files are as they should be."""
    folder = _folder_for(selection, folder)
    return compare(folder, render_all(selection, progress).files, whole=selection.whole)


def catalogue(names: Sequence[str] = ()) -> list[RuleInfo]:
    """All rules, or those named, with what each target makes of them."""
    return [_describe(name, rule) for name, rule in rules_named(names).items()]


def _describe(name: str, rule: type[Rule]) -> RuleInfo:
    program = compile_rule(rule)
    printed, missing = {}, {}
    for target_name in target_names():
        try:
            target(target_name).render(program_for(rule, target_name))
            printed[target_name] = target(target_name).numerics
        except UnsupportedOperation as reason:
            missing[target_name] = str(reason)
    return RuleInfo(
        name=name,
        title=program.doc.partition("\n")[0],
        source=program.source,
        hyperparameters={hyper.name: hyper.default for hyper in program.hypers if not hyper.stage},
        options={option.name: option.default for option in program.options},
        slots=[slot.name for slot in program.slots if not slot.stage],
        targets=printed,
        missing=missing,
    )


def _is_path(name: str) -> bool:
    return name.endswith(".py") or len(Path(name).parts) > 1


def _folder_for(selection: Selection, folder: Path | None) -> Path:
    if folder is None and any(_is_path(name) for name in selection.rules):
        raise OutputError("a rule file of your own needs a folder of its own: say where with --out")
    return folder or default_folder()


def _add(files: dict[str, Output], path: str, output: Output) -> None:
    """A support file may come with several rules, if it is the same one."""
    known = files.get(path)
    if known is not None and known.text != output.text:
        raise OutputError(f"two rules make different files called {path}")
    if known is None:
        files[path] = output
