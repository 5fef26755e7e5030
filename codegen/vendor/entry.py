"""From what a user asks for to an entry of the lock, and from an entry to the texts of its files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from optloom.spec.rule import Composition, Rule, Stage, declarations_of
from optloom.spec.stages import PIPELINE

from ..api import UnknownName, is_path, rules_named, stages_named, targets_named
from ..compiler import Numerics, Settings, dialect_of, render, render_kernels
from ..discovery import target as load_target
from ..passes.dtypes import SlotDtype
from ..target import Kernels
from .finish import finished
from .lock import Entry
from .project import VendorError, folder_inside


@dataclass(frozen=True)
class Request:
    """What to vendor.

    `rule`: a name, or the path of a rule file. `to`: the folder. `numerics`: None for the target's default. `stages`:
    None for all that fit around the rule. `dialect`: a peer's path or package, or "" for the rule's own conventions.
    `package`: the name under which `to` is imported, for absolute imports; "" for modules side by side; None for
    relative imports. `kernels`: fused kernels beside the files. `slot_dtype`: see `Settings`.
    """

    rule: str
    target: str
    to: Path
    numerics: Numerics | None = None
    stages: Sequence[str] | None = None
    dialect: str = ""
    package: str | None = None
    kernels: bool = False
    slot_dtype: SlotDtype = "compute"


def entry_for(request: Request, project: Path) -> Entry:
    """The entry of `request`, its files not yet known.

    Raises UnknownName, with the nearest names, for a rule, target, stage or dialect that there is none of;
    VendorError for a folder, a stage or a package that does not fit; SpecError for a rule file that is wrong.
    """
    targets_named([request.target])
    to = folder_inside(project, request.to)
    rule = _rule(request.rule)
    if request.package and not all(part.isidentifier() for part in request.package.split(".")):
        raise VendorError(f"'{request.package}' is no name of a package: write it as in an import, a.b.c")
    return Entry(
        rule=_relative(request.rule, project) if is_path(request.rule) else request.rule.lower(),
        target=request.target,
        to=to,
        numerics=request.numerics or load_target(request.target).numerics,
        stages=_stages_around(rule, request.stages),
        dialect=_peer(rule, request.dialect) if request.dialect else "",
        package=request.package,
        kernels=request.kernels and hasattr(load_target(request.target), "kernels"),
        slot_dtype=request.slot_dtype,
    )


def texts_of(entry: Entry, project: Path) -> dict[str, str]:
    """The files of `entry` as text, by their names within its folder.

    Raises UnknownName, VendorError, SpecError or UnsupportedOperation where the entry cannot be rendered (any more).
    """
    rule = _rule(str(project / entry.rule) if is_path(entry.rule) else entry.rule)
    targets_named([entry.target])
    settings = dialect_of(rule, _peer(rule, entry.dialect)) if entry.dialect else Settings()
    stages = stages_named(_stages_around(rule, entry.stages))
    texts = _rendered(rule, entry, replace(settings, stages=stages, slot_dtype=entry.slot_dtype))
    own, command = PurePosixPath(entry.rule).stem, command_of(entry, rule)
    source = entry.rule if is_path(entry.rule) else _module(rule)
    return {
        name: finished(name, text, entry.package, source, command if PurePosixPath(name).stem == own else "")
        for name, text in texts.items()
    }


def _rendered(rule: type[Rule], entry: Entry, settings: Settings) -> dict[str, str]:
    """The files as in `generated/`, in one folder: with those of its kernels, or without what only kernels need."""
    made = render(rule, entry.target, entry.numerics, settings)
    kernels: Kernels | None = getattr(load_target(entry.target), "kernels", None)
    if entry.kernels:
        made |= render_kernels(rule, entry.target, settings)
    unused = frozenset(kernels.support) if kernels and not entry.kernels else frozenset[str]()
    names = {PurePosixPath(*PurePosixPath(path).parts[1:]).as_posix(): text for path, text in made.items()}
    return {name: text for name, text in names.items() if name not in unused}


def command_of(entry: Entry, rule: type[Rule] | None = None) -> str:
    """The command that makes `entry`, from the project's root, without what is the default anyway."""
    parts = ["optloom vendor add", entry.rule, f"--target {entry.target}", f"--to {entry.to}"]
    if entry.numerics != load_target(entry.target).numerics:
        parts.append(f"--numerics {entry.numerics}")
    if rule is None or entry.stages != _stages_around(rule, None):
        parts.append(f"--stages {','.join(entry.stages) or 'none'}")
    if entry.dialect:
        parts.append(f"--dialect {entry.dialect}")
    if entry.kernels:
        parts.append("--kernels")
    if entry.slot_dtype != "compute":
        parts.append(f"--slot-dtype {entry.slot_dtype}")
    if entry.package is not None:
        parts.append(f"--package {entry.package or repr('')}")
    return " ".join(parts)


def _rule(name: str) -> type[Rule]:
    found = rules_named([name])
    if len(found) != 1:
        raise VendorError(f"{name} holds {len(found)} rule files: name one of them")
    return next(iter(found.values()))


def _relative(path: str, project: Path) -> str:
    relative = Path(os.path.relpath(Path(path).resolve(), project.resolve())).as_posix()
    return relative if "/" in relative or relative.endswith(".py") else f"./{relative}"


def _module(rule: type[Rule]) -> str:
    """Where a rule of optloom's or of a package is written: `optloom.spec.rules.adam`."""
    return rule.__module__


def _stages_around(rule: type[Rule], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The stages to compose, in the pipeline's order. Raises for one that there is not, or that does not fit."""
    fitting = Composition(rule, PIPELINE).stages
    for name in asked or ():
        if not set(stages_named([name])) & set(fitting):
            why = _why(rule, stages_named([name])[0])
            raise VendorError(f"the stage '{name}' has no place around {rule.__name__}: {why}")
    chosen = [stage for stage in stages_named(asked) if stage in fitting]
    return tuple(dict.fromkeys(stage.when if asked and stage.when in asked else stage.called() for stage in chosen))


def _why(rule: type[Rule], stage: type[Stage]) -> str:
    own = {declared.name for declared in declarations_of(rule)}
    if stage.when in own:
        return f"the rule itself has {stage.when}"
    return f"it needs {', '.join(name for name in stage.needs if name not in own)}"


def _peer(rule: type[Rule], name: str) -> str:
    """The path of the peer that `name`, a path or a package, means."""
    paths = [peer.path for peer in rule.peers]
    chosen = [path for path in paths if name in (path, path.partition(".")[0])]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise VendorError(f"{rule.__name__} has several peers in {name}: say which, {' or '.join(chosen)}")
    packages = sorted({path.partition(".")[0] for path in paths})
    near = difflib.get_close_matches(name, paths, n=2)
    raise UnknownName("dialect", name, near or [*packages, *paths] or ["none, the rule has no peer"])
