"""Writing generated files, and comparing those on the disk with what would be written.

`write` replaces all files or none, touches only those that change, and never takes away an edit: the folder's
MANIFEST.json remembers the digest of each file as it was written, and of what it was made from. `compare` writes
nothing; it finds exactly what `write` would do.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

MANIFEST = "MANIFEST.json"
STAGING_PREFIX = ".optloom-"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be written. `source` is the digest of what it was made from."""

    text: str
    source: str


class State(StrEnum):
    """How a file on the disk differs from what would be written."""

    STALE = "stale"  # as it was written, but its rule or the generator has changed since
    EDITED = "edited"  # not as it was written, or never written by us
    MISSING = "missing"
    LEFT_OVER = "left over"  # written once, and made by no rule any more


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that differs; `diff` leads from the disk's text to the one that would be written."""

    path: str
    state: State
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a call of `write` did, by relative path."""

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


class OutputError(Exception):
    """The files cannot be written, or their folder is not ours to write in."""


class EditedFiles(OutputError):
    """Files hold edits that writing would lose. `findings` are those files."""

    def __init__(self, folder: Path, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        names = ", ".join(str(folder / finding.path) for finding in findings)
        super().__init__(
            f"edited by hand, or not written by optloom: {names}\n"
            "  keep the edits elsewhere and restore the files, or overwrite them with --force"
        )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def compare(
    folder: Path, files: Mapping[str, Output], *, whole: bool = True, left_out: Mapping[str, Output] | None = None
) -> tuple[Finding, ...]:
    """What differs between `folder` and `files`, by path; empty when `write` would change nothing.

    `whole`: `files` is all that belongs into the folder, so that what else was written there is left over.
    `left_out`: what has no file, by <target>/<rule>: the text is the reason. The manifest of a whole folder tells.
    """
    known = _read_manifest(folder)
    findings = [finding for path, output in files.items() if (finding := _judge(folder, path, output, known.get(path)))]
    if whole:
        findings += [
            _left_over(folder, path, known[path]) for path in known if path not in files and (folder / path).exists()
        ]
    expected = _manifest_text(_merged(known, files, whole), left_out if whole else read_left_out(folder))
    if not findings and files and _text_of(folder / MANIFEST) != expected:
        state = State.STALE if (folder / MANIFEST).exists() else State.MISSING
        findings.append(Finding(MANIFEST, state, _diff(MANIFEST, _text_of(folder / MANIFEST) or "", expected)))
    return tuple(sorted(findings, key=lambda finding: finding.path))


def write(
    folder: Path,
    files: Mapping[str, Output],
    *,
    whole: bool = True,
    force: bool = False,
    left_out: Mapping[str, Output] | None = None,
) -> Report:
    """Makes `folder` hold `files`, and takes away what is left over: all of it, or nothing if something fails.

    Raises EditedFiles, unless `force`, before anything is written; OutputError for a path outside the folder or
    a manifest that cannot be read; OSError where the folder cannot be written.
    """
    for path in files:
        _check_path(path)
    findings = compare(folder, files, whole=whole, left_out=left_out)
    edited = [finding for finding in findings if finding.state is State.EDITED]
    if edited and not force:
        raise EditedFiles(folder, edited)
    removed = tuple(
        finding.path for finding in findings
        if finding.path not in files and finding.path != MANIFEST
    )  # fmt: skip
    changed = {finding.path: files[finding.path].text for finding in findings if finding.path in files}
    if findings:
        told = left_out if whole else read_left_out(folder)
        manifest = _manifest_text(_merged(_read_manifest(folder), files, whole), told)
        replace_files(folder, changed | {MANIFEST: manifest}, removed)
    return Report(tuple(changed), removed, tuple(path for path in sorted(files) if path not in changed))


def _judge(folder: Path, path: str, output: Output, known: Mapping[str, str] | None) -> Finding | None:
    on_disk = _text_of(folder / path)
    if on_disk == output.text:
        return None
    if on_disk is None:
        return Finding(path, State.MISSING)
    as_written = known is not None and known["sha256"] == digest(on_disk)
    return Finding(path, State.STALE if as_written else State.EDITED, _diff(path, on_disk, output.text))


def _left_over(folder: Path, path: str, known: Mapping[str, str]) -> Finding:
    on_disk = _text_of(folder / path) or ""
    state = State.LEFT_OVER if known["sha256"] == digest(on_disk) else State.EDITED
    return Finding(path, state, _diff(path, on_disk, ""))


def _diff(path: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"{path} (on disk)",
        f"{path} (generated)",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text_of(path: Path) -> str | None:
    """The text of a file, no newline translated and no byte lost; None where there is none."""
    try:
        return path.read_bytes().decode(errors="backslashreplace")
    except FileNotFoundError:
        return None


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or path == MANIFEST:
        raise OutputError(f"'{path}' is no path inside the folder of generated files")


def _read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """path -> {"sha256", "source"} of every file that was written into `folder`."""
    text = _text_of(folder / MANIFEST)
    if text is None:
        return {}
    try:
        loaded = json.loads(text)
        version, entries = loaded["format"], loaded["files"]
        known = {str(path): {"sha256": str(e["sha256"]), "source": str(e["source"])} for path, e in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{folder / MANIFEST} cannot be read ({error}): restore it, or remove it and use --force"
        ) from error
    if version != FORMAT:
        raise OutputError(f"{folder / MANIFEST} has format {version}, not {FORMAT}: use a newer optloom")
    for path in known:
        _check_path(path)
    return known


def _merged(known: Mapping[str, dict[str, str]], files: Mapping[str, Output], whole: bool) -> dict[str, dict[str, str]]:
    """The entries of the manifest after `files` are written."""
    kept = {} if whole else known
    return {**kept, **{path: {"sha256": digest(f.text), "source": f.source} for path, f in files.items()}}


def _manifest_text(entries: Mapping[str, Mapping[str, str]], left_out: Mapping[str, Output] | None) -> str:
    content: dict[str, object] = {"format": FORMAT, "files": entries}
    if left_out:
        content["left out"] = {name: {"reason": why.text, "source": why.source} for name, why in left_out.items()}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def read_sources(folder: Path) -> dict[str, str]:
    """What each file of the folder was made from, as a digest, by path. Raises OutputError for a broken manifest."""
    return {path: entry["source"] for path, entry in _read_manifest(folder).items()}


def read_left_out(folder: Path) -> dict[str, Output]:
    """What the folder's manifest says that has no file, and why. Raises OutputError for a broken manifest."""
    _read_manifest(folder)
    entries = json.loads(_text_of(folder / MANIFEST) or "{}").get("left out", {})
    return {name: Output(entry["reason"], entry["source"]) for name, entry in entries.items()}


def replace_files(folder: Path, texts: Mapping[str, str], removed: Iterable[str]) -> None:
    """Writes `texts` and removes files; on any failure, Ctrl-C included, everything is as before.

    New texts are first written in full beside their places; the files that they replace wait in the same
    staging folder until the last one is in place.
    """
    created = _missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = _staging(folder)
    done: list[tuple[Path, Path]] = []
    try:
        for number, text in enumerate(texts.values()):
            _write_durably(staging / f"{number}.new", text)
        for number, path in enumerate(texts):
            created += _missing_folders((folder / path).parent)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _swap(folder / path, staging / f"{number}.new", staging / f"{number}.old", done)
        for number, path in enumerate(removed, start=len(texts)):
            _swap(folder / path, None, staging / f"{number}.old", done)
    except BaseException:
        for place, backup in reversed(done):
            _put_back(place, backup)
        shutil.rmtree(staging)
        for folder_made in reversed(created):
            folder_made.rmdir()
        raise
    shutil.rmtree(staging)


def _staging(folder: Path) -> Path:
    """A new folder inside `folder`. Raises OSError that names `folder`."""
    try:
        return Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _missing_folders(folder: Path) -> list[Path]:
    """The folders on the way to `folder` that do not exist, outermost first."""
    return [parent for parent in reversed((folder, *folder.parents)) if not parent.exists()]


def _write_durably(path: Path, text: str) -> None:
    with path.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _swap(place: Path, new: Path | None, backup: Path, done: list[tuple[Path, Path]]) -> None:
    """Puts `new` (or nothing) into `place`, which is never empty in between."""
    if place.exists():
        shutil.copy2(place, backup)
    done.append((place, backup))
    if new:
        os.replace(new, place)
    else:
        place.unlink()


def _put_back(place: Path, backup: Path) -> None:
    if backup.exists():
        os.replace(backup, place)
    else:
        place.unlink(missing_ok=True)
