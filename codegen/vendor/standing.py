"""How vendored files stand: edited here, changed upstream, missing, or with conflicts left in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ..api import UnknownName
from ..output import digest
from .entry import texts_of
from .lock import Entry, Lock, LockedFile, read_lock
from .merge import has_conflicts
from .project import VendorError, find_project, text_on_disk


class Problem(StrEnum):
    """What `vendor check` finds wanting."""

    MISSING = "missing"
    CONFLICT = "conflict"  # a merge left markers, which nobody has resolved yet
    EDITED = "edited"  # since optloom last wrote or merged the file
    STALE = "stale"  # optloom makes another text of it now


@dataclass(frozen=True, slots=True)
class Standing:
    """One file. `edits`: from the text as generated to that on the disk; `upstream`: to what is generated now."""

    path: str
    problems: tuple[Problem, ...]
    edits: str = ""
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Entries with the files that they have now, and the texts of these by path from the project's root."""

    entries: tuple[Entry, ...]
    texts: Mapping[str, str]


def examine(rules: Sequence[str] = (), project: Path | None = None) -> tuple[Standing, ...]:
    """How the files of `rules` (all, if none is named) stand, by path. Writes nothing.

    Raises LockError; UnknownName for a rule that is not vendored; and what `add` raises, where an entry cannot be
    rendered any more.
    """
    project = (project or find_project()).resolve()
    lock = read_lock(project)
    chosen = entries_named(lock, rules)
    new = rendered_now(chosen, project).texts
    paths = sorted({entry.path(name) for entry in chosen for name in entry.files} | new.keys())
    return tuple(_standing(path, lock.files.get(path), text_on_disk(project / path), new.get(path)) for path in paths)


def entries_named(lock: Lock, rules: Sequence[str]) -> tuple[Entry, ...]:
    """The entries of `rules`, and those that share a folder and a target with them, as they share support modules."""
    known = {entry.rule for entry in lock.entries}
    wanted = [rule.removeprefix("./") if rule.endswith(".py") else rule.lower() for rule in rules]
    for rule in wanted:
        if rule not in known:
            raise UnknownName("vendored rule", rule, sorted(known) or ["none, nothing is vendored here"])
    shared = {(entry.to, entry.target) for entry in lock.entries if entry.rule in wanted or not wanted}
    return tuple(entry for entry in lock.entries if (entry.to, entry.target) in shared)


def rendered_now(entries: Sequence[Entry], project: Path) -> Rendered:
    """What is generated for `entries` now. Raises as `texts_of` does, and VendorError where two entries disagree."""
    texts: dict[str, str] = {}
    named = []
    for entry in entries:
        own = texts_of(entry, project)
        named.append(replace(entry, files=tuple(sorted(own))))
        for name, text in own.items():
            path = entry.path(name)
            if texts.setdefault(path, text) != text:
                raise VendorError(f"two entries of the lock make different files called {path}: move one elsewhere")
    return Rendered(tuple(named), texts)


def difference(path: str, before: str, after: str, names: tuple[str, str]) -> str:
    """A unified diff; empty where nothing differs."""
    texts = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(*texts, f"{path} ({names[0]})", f"{path} ({names[1]})")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _standing(path: str, locked: LockedFile | None, on_disk: str | None, new: str | None) -> Standing:
    base = locked.base if locked else ""
    return Standing(
        path,
        tuple(_problems(locked, base, on_disk, new)),
        difference(path, base, on_disk, ("as generated", "on disk")) if locked and on_disk is not None else "",
        difference(path, base, new or "", ("as generated", "generated now")),
    )


def _problems(locked: LockedFile | None, base: str, on_disk: str | None, new: str | None) -> Iterator[Problem]:
    if locked and on_disk is None:
        yield Problem.MISSING
    elif locked and on_disk is not None:
        if has_conflicts(on_disk):
            yield Problem.CONFLICT
        elif digest(on_disk) not in (locked.written, digest(base)):
            yield Problem.EDITED
    if locked is None or new != base:
        yield Problem.STALE
