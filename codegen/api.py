"""What the commands do, as plain functions. Nothing here prints, and no framework is imported."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import optloom.codegen
from optloom.spec.declarations import Option, Slot
from optloom.spec.rule import Composition, Rule, Stage, declarations_of
from optloom.spec.stages import PIPELINE

from . import stages
from .compiler import Numerics, Settings, program_for, render
from .conformance import conform
from .discovery import discover, offered, offered_rules, target, target_names
from .output import Finding, Output, OutputError, Report, compare, read_left_out, read_sources, write
from .passes.dtypes import SlotDtype
from .printing import UnsupportedOperation
from .provenance import source_digest
from .recorded import RECORD, record

__all__ = [
    "Generated", "Progress", "Rendered", "RuleInfo", "Selection", "UnknownName", "catalogue", "check", "conform",
    "default_folder", "generate", "is_path", "render_all", "rules_named", "stages_named", "targets_named",
]  # fmt: skip

Progress = Callable[[int, int, str], None]
"""Told, before each file group: how many are done, how many there are, and which is next."""


class UnknownName(Exception):
    """No rule or target of that name; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(name.lower(), known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"no {kind} is called '{name}': {hint}")


def stages_named(names: Sequence[str] | None) -> tuple[type[Stage], ...]:
    """The stages of those names, in the pipeline's order; all for None. Raises UnknownName."""
    try:
        return stages.chosen(names)
    except ValueError as unknown:
        raise UnknownName("stage", str(unknown), stages.NAMES) from None


@dataclass(frozen=True)
class Selection:
    """What to generate: all rules and targets, unless some are named. A rule may be a rule file's path.

    `stages`: those to compose, by name; None for all. `slot_dtype`: see `Settings`.
    """

    rules: Sequence[str] = ()
    targets: Sequence[str] = ()
    numerics: Numerics | None = None
    stages: Sequence[str] | None = None
    slot_dtype: SlotDtype = "compute"

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
    """Rules by file name: all of optloom's own, or those named, by packages as well.

    A name with a suffix or folder is a path. Raises UnknownName, and SpecError for a rule file that is wrong.
    """
    own = discover()
    if not names:
        return own
    chosen: dict[str, type[Rule]] = {}
    for name in names:
        if is_path(name):
            chosen |= discover(Path(name))
        elif name.lower() in own:
            chosen[name.lower()] = own[name.lower()]
        elif name in offered():
            chosen[name] = offered()[name].load()
        else:
            raise UnknownName("rule", name, [*own, *offered()])
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
    settings = Settings(stages=stages_named(selection.stages), slot_dtype=selection.slot_dtype)
    files: dict[str, Output] = {}
    skipped: dict[tuple[str, str], str] = {}
    pairs = [(name, target_name) for name in rules for target_name in chosen]
    for done, (name, target_name) in enumerate(pairs):
        if progress:
            progress(done, len(pairs), f"{target_name}/{name}")
        try:
            texts = render(rules[name], target_name, selection.numerics, settings)
        except UnsupportedOperation as reason:
            if selection.rules and selection.targets:
                raise
            skipped[name, target_name] = str(reason)
            continue
        for path, text in texts.items():
            is_own = PurePosixPath(path).stem == name
            _add(files, path, Output(text, source_digest(rules[name] if is_own else None, target_name)))
    if selection.whole:
        files[RECORD] = record(rules)
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
    report = write(folder, rendered.files, whole=selection.whole, force=force, left_out=_left_out(rendered))
    return Generated(folder, report, rendered.skipped)


def check(selection: Selection, folder: Path | None = None, *, progress: Progress | None = None) -> tuple[Finding, ...]:
    """What `generate` with the same arguments would change; empty when all files are as they should be."""
    folder = _folder_for(selection, folder)
    rendered = render_all(selection, progress)
    return compare(folder, rendered.files, whole=selection.whole, left_out=_left_out(rendered))


def catalogue(names: Sequence[str] = ()) -> list[RuleInfo]:
    """All rules, those that packages offer included, or those named, with what each target makes of them."""
    rules = rules_named(names) if names else discover() | offered_rules()
    known = _known_targets()
    return [_describe(name, rule, known) for name, rule in rules.items()]


def _describe(name: str, rule: type[Rule], known: Mapping[tuple[str, str, str], str]) -> RuleInfo:
    composition = Composition(rule, PIPELINE)
    printed, missing = {}, {}
    for target_name in target_names():
        reason = known.get((name, target_name, source_digest(rule, target_name)))
        if reason is None:
            reason = _why_not(rule, target_name)
        if reason:
            missing[target_name] = reason
        else:
            printed[target_name] = target(target_name).numerics
    own = {declared.name for stage in composition.stages for declared in declarations_of(stage)}
    return RuleInfo(
        name=name,
        title=inspect.cleandoc(rule.__doc__ or "").partition("\n")[0],
        source=Path(inspect.getsourcefile(rule) or f"{name}.py").name,
        hyperparameters={
            hyper.name: composition.default(hyper)
            for hyper in composition.hypers if hyper.name not in own and not hyper.convention
        },
        options={option.name: option.default for option in composition.of_kind(Option) if not option.convention},
        slots=[slot.name for slot in composition.of_kind(Slot) if slot.name not in own],
        targets=printed,
        missing=missing,
    )  # fmt: skip


def _why_not(rule: type[Rule], target_name: str) -> str:
    """Why a target does not print a rule; empty where it does."""
    try:
        target(target_name).render(program_for(rule, target_name))
    except UnsupportedOperation as reason:
        return str(reason)
    return ""


def _known_targets() -> dict[tuple[str, str, str], str]:
    """(rule, target, digest of what it is made from) -> why there is no file, "" where there is one.

    From the manifest of the generated files, in the checkout or as installed: nothing has to be compiled to list rules.
    """
    try:
        folder = Path(next(iter(importlib.import_module("optloom.generated").__path__)))
        made, left_out = read_sources(folder), read_left_out(folder)
    except (ImportError, OutputError):
        return {}
    found = {(PurePosixPath(path).stem, PurePosixPath(path).parts[0], source): "" for path, source in made.items()}
    for name, why in left_out.items():
        target_name, _, rule = name.partition("/")
        found[rule, target_name, why.source] = why.text
    return found


def _left_out(rendered: Rendered) -> dict[str, Output]:
    own = discover()
    return {
        f"{target_name}/{name}": Output(reason, source_digest(own[name], target_name))
        for (name, target_name), reason in rendered.skipped.items() if name in own
    }  # fmt: skip


def is_path(name: str) -> bool:
    """Whether a rule's name means a file or a folder."""
    return name.endswith(".py") or len(Path(name).parts) > 1


def _folder_for(selection: Selection, folder: Path | None) -> Path:
    if folder is None and any(is_path(name) for name in selection.rules):
        raise OutputError("a rule file of your own needs a folder of its own: say where with --out")
    if folder is None and selection.stages is not None:
        raise OutputError("files with some of the stages need a folder of their own: say where with --out")
    return folder or default_folder()


def _add(files: dict[str, Output], path: str, output: Output) -> None:
    """A support file may come with several rules, if it is the same one."""
    known = files.get(path)
    if known is not None and known.text != output.text:
        raise OutputError(f"two rules make different files called {path}")
    if known is None:
        files[path] = output
