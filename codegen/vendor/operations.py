"""`add` and `update`: what is written into a project, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..output import EditedFiles, Finding, State, replace_files
from .entry import Request, entry_for, texts_of
from .finish import PACKAGE_FILE
from .lock import Entry, Lock, LockedFile, read_lock
from .merge import Merged, has_conflicts, merge
from .project import LOCK, VendorError, find_project, text_on_disk
from .standing import difference, entries_named, rendered_now


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did: the entry, and the files by path from the project's root."""

    project: Path
    entry: Entry
    written: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Updated:
    """What `update` did to each file, by path from the project's root.

    `merged`: with edits of the user's in it. `conflicts`: how many are left to resolve. `left`: files that nothing
    makes any more, but that hold edits: they stay, and are the user's.
    """

    project: Path
    written: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    conflicts: Mapping[str, int] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def add(request: Request, project: Path | None = None, *, force: bool = False) -> Added:
    """Writes the files of `request` and their entry in the lock.

    Raises UnknownName, VendorError, SpecError or UnsupportedOperation for what cannot be vendored, or written;
    EditedFiles, unless `force`, where a file has edits or is not optloom's. Nothing is written then.
    """
    project = (project or find_project()).resolve()
    lock = read_lock(project)
    entry = entry_for(request, project)
    texts = texts_of(entry, project)
    if request.kernels and not entry.kernels and any(name.endswith(".py") for name in texts):
        raise VendorError(
            f"--kernels: not implemented yet for target {entry.target}\n"
            "  the kernels themselves can be vendored, by the target of their language"
        )
    if entry.kernels and entry.slot_dtype == "parameter":
        raise VendorError(
            f"--kernels with --slot-dtype parameter: not implemented yet for target {entry.target}\n"
            "  its classes refuse fused steps then; kernels can be vendored by the target of their language"
        )
    entry = replace(entry, files=tuple(sorted(texts)))
    before = next((known for known in lock.entries if known.key == entry.key), None)
    others = replace(lock, entries=tuple(known for known in lock.entries if known.key != entry.key))
    wanted = {entry.path(name): text for name, text in texts.items()}
    changed = dict(_to_write(project, lock, others, wanted, entry, force=force)) | _package_file(project, entry)
    gone = [path for path in map(before.path, before.files) if path not in wanted] if before else []
    removed = [path for path in gone if not others.owners(path) and _as_generated(project, path, lock)]
    files = {
        **lock.files,
        **{path: lock.files[path] if others.owners(path) else LockedFile.of(text, text, lock.files.get(path))
           for path, text in wanted.items()},
    }  # fmt: skip
    after = Lock((*others.entries, entry), files)
    _commit(project, changed, removed, after)
    return Added(project, entry, tuple(changed), tuple(path for path in wanted if path not in changed))


def update(rules: Sequence[str] = (), project: Path | None = None, *, force: bool = False) -> Updated:
    """Brings the files of `rules` (all, if none is named) up to date, with the user's edits merged in.

    Edits made meanwhile are known afterwards; a deleted file is written again. Conflicts stay in the files, between
    the standard markers. Raises VendorError for a file that still has conflicts of an earlier update, EditedFiles
    (unless `force`) where a file that is new upstream would take the place of the user's, and what `add` raises.
    """
    project = (project or find_project()).resolve()
    lock = read_lock(project)
    chosen = rendered_now(entries_named(lock, rules), project)
    new, keys = chosen.texts, {entry.key for entry in chosen.entries}
    merged = {path: _merged(project, path, text, lock.files.get(path), force=force) for path, text in new.items()}
    on_disk = {path: text_on_disk(project / path) for path in new}
    changed = {path: merge.text for path, merge in merged.items() if merge.text != on_disk[path]}
    entries = (*(entry for entry in lock.entries if entry.key not in keys), *chosen.entries)
    files = {
        **lock.files,
        **{path: LockedFile.of(text, merged[path].text, lock.files.get(path)) for path, text in new.items()},
    }
    after = Lock(entries, files)
    gone = [path for path in lock.files if lock.owners(path) and not after.owners(path)]
    removed = [path for path in gone if _as_generated(project, path, lock)]
    _commit(project, changed, removed, after)
    with_edits = tuple(path for path in changed if merged[path].text != new[path])
    return Updated(
        project,
        written=tuple(path for path in changed if path not in with_edits),
        merged=with_edits,
        conflicts={path: merge.conflicts for path, merge in merged.items() if merge.conflicts},
        unchanged=tuple(path for path in new if path not in changed),
        removed=tuple(removed),
        left=tuple(path for path in gone if path not in removed and (project / path).exists()),
    )


def _to_write(
    project: Path, lock: Lock, others: Lock, wanted: Mapping[str, str], entry: Entry, *, force: bool
) -> Iterator[tuple[str, str]]:
    """The files that `add` has to write. Raises for one that belongs to another entry, or that holds edits."""
    edited: list[Finding] = []
    for path, text in wanted.items():
        owners, on_disk = others.owners(path), text_on_disk(project / path)
        if owners:
            _check_shared(path, owners, lock.files[path].base == text, entry)
        if on_disk is None:
            yield path, text
        elif on_disk == text or (owners and not force):
            continue
        elif force or _as_generated(project, path, lock):
            yield path, text
        else:
            edited.append(Finding(path, State.EDITED, difference(path, on_disk, text, ("on disk", "generated"))))
    if edited:
        raise EditedFiles(project, edited)


def _check_shared(path: str, owners: Sequence[Entry], same: bool, entry: Entry) -> None:
    """A support module may belong to several entries, if it is the same one."""
    other = owners[0]
    if PurePosixPath(path).stem in (PurePosixPath(entry.rule).stem, PurePosixPath(other.rule).stem):
        raise VendorError(f"{path} is {other.rule} for target {other.target} already: vendor to another folder")
    if not same and other.target == entry.target:
        raise VendorError(f"{path} is of another version: bring {other.rule} up to date first, with `vendor update`")
    if not same:
        raise VendorError(f"{path} is that of target {other.target}: vendor to another folder")


def _as_generated(project: Path, path: str, lock: Lock) -> bool:
    """Whether the file is there, and as optloom made it."""
    locked = lock.files.get(path)
    return locked is not None and text_on_disk(project / path) == locked.base


def _merged(project: Path, path: str, new: str, locked: LockedFile | None, *, force: bool) -> Merged:
    on_disk = text_on_disk(project / path)
    if on_disk is None or on_disk == new:
        return Merged(new, 0)
    if locked is None:
        if force:
            return Merged(new, 0)
        finding = Finding(path, State.EDITED, difference(path, on_disk, new, ("on disk", "generated")))
        raise EditedFiles(project, [finding])
    if has_conflicts(on_disk):
        raise VendorError(f"{project / path} holds conflicts of an earlier update: resolve them first")
    return merge(locked.base, on_disk, new)


def _package_file(project: Path, entry: Entry) -> dict[str, str]:
    """`__init__.py`, so that relative imports work and type checkers find the package, where there is none yet."""
    path = entry.path("__init__.py")
    is_package = entry.package != "" and entry.to != "." and any(name.endswith(".py") for name in entry.files)
    return {path: PACKAGE_FILE} if is_package and not (project / path).exists() else {}


def _commit(project: Path, changed: Mapping[str, str], removed: Sequence[str], lock: Lock) -> None:
    """Files and lock, all or none; nothing is touched that does not change."""
    text = lock.text()
    texts = dict(changed)
    if text_on_disk(project / LOCK) != text:
        texts[LOCK] = text
    if not texts and not removed:
        return
    try:
        replace_files(project, texts, removed)
    except OSError as error:
        place = error.filename2 or error.filename or project
        raise VendorError(f"{place} cannot be written: {error.strerror}; nothing was changed") from error
