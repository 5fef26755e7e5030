"""`optloom.lock.json`: what was vendored, and all that is needed to render it again and to merge.

The text that a file had when it was generated, the base of a three-way merge, lies compressed in the lock itself. It
cannot be made again later by another version of the compiler, and in a folder of its own it could be lost apart from
the lock; a file of 10 kB takes about 5 here, on one line.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from ..compiler import Numerics
from ..output import digest
from ..passes.dtypes import SlotDtype
from .project import LOCK, VendorError, text_on_disk

SCHEMA = 1


class LockError(VendorError):
    """The lock cannot be used: half-written, edited into nonsense, or of another version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule for one target in one folder. Everything is resolved: no default that may change later is left.

    `rule`: a name, or a rule file's path from the project's root. `to`: the folder, from there as well. `dialect`: a
    peer's path. `package`: None for relative imports, "" for modules that lie side by side. `files`: within `to`.
    `kernels`: whether fused kernels are among them. `slot_dtype`: see `Settings`; locks of before it have "compute".
    """

    rule: str
    target: str
    to: str
    numerics: Numerics
    stages: tuple[str, ...]
    dialect: str = ""
    package: str | None = None
    files: tuple[str, ...] = ()
    kernels: bool = False
    slot_dtype: SlotDtype = "compute"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.to, self.target, self.rule

    def path(self, name: str) -> str:
        """The path of the file `name` from the project's root."""
        return (PurePosixPath(self.to) / name).as_posix()


@dataclass(frozen=True, slots=True)
class LockedFile:
    """`packed`: the text as generated, compressed. `written`: the digest of the file as optloom last left it.

    The two differ where an update merged the user's edits in: such edits are known, and `check` lets them pass.
    """

    packed: str
    written: str

    @classmethod
    def of(cls, base: str, written: str, known: LockedFile | None = None) -> LockedFile:
        """`known`: how the file was locked before; what did not change is not compressed again, by another zlib."""
        packed = known.packed if known and known.base == base else _pack(base)
        return cls(packed, digest(written))

    @property
    def base(self) -> str:
        return zlib.decompress(base64.b64decode(self.packed, validate=True)).decode()


@dataclass(frozen=True, slots=True)
class Lock:
    """Entries by folder, target and rule; files by their path from the project's root."""

    entries: tuple[Entry, ...] = ()
    files: Mapping[str, LockedFile] = field(default_factory=dict)

    def owners(self, path: str) -> tuple[Entry, ...]:
        """The entries that the file is part of: several for a support module."""
        return tuple(entry for entry in self.entries if path in map(entry.path, entry.files))

    def text(self) -> str:
        """As JSON; files that no entry needs any more are left out."""
        used = {path: file for path, file in sorted(self.files.items()) if self.owners(path)}
        entries = sorted(self.entries, key=lambda entry: entry.key)
        content = {
            "schema": SCHEMA,
            "entries": [_entry_as_json(entry) for entry in entries],
            "files": {
                path: {"generated": digest(file.base), "written": file.written, "base": file.packed}
                for path, file in used.items()
            },
        }
        return json.dumps(content, indent=1) + "\n"


def read_lock(project: Path) -> Lock:
    """The lock of `project`; an empty one where there is none. Raises LockError, with what is wrong."""
    place = project / LOCK
    text = text_on_disk(place)
    if text is None:
        return Lock()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise LockError(f"{place} is no JSON ({error}): restore it from version control") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        remedy = "use a newer optloom" if newer else "restore it from version control"
        raise LockError(f"{place} has schema {schema!r}, this optloom reads {SCHEMA}: {remedy}")
    try:
        files = {_inside(path): _file(path, value) for path, value in content["files"].items()}
        entries = tuple(_entry(value) for value in content["entries"])
        for path in (entry.path(name) for entry in entries for name in entry.files):
            if path not in files:
                raise ValueError(f"'{path}' is part of an entry, but not of the files")
    except (KeyError, TypeError, AttributeError, ValueError, zlib.error) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise LockError(f"{place} was edited: {what}; restore it from version control") from error
    return Lock(entries, files)


def _pack(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    return {
        "rule": entry.rule,
        "target": entry.target,
        "to": entry.to,
        "numerics": entry.numerics,
        "stages": list(entry.stages),
        "dialect": entry.dialect,
        "package": entry.package,
        "kernels": entry.kernels,
        "slot_dtype": entry.slot_dtype,
        "files": list(entry.files),
    }


def _entry(value: Mapping[str, Any]) -> Entry:
    texts = {name: _text(name, value[name]) for name in ("rule", "target", "to", "dialect")}
    if value["numerics"] not in get_args(Numerics):
        raise ValueError(f"numerics is {value['numerics']!r}")
    slot_dtype = value.get("slot_dtype", "compute")
    if slot_dtype not in get_args(SlotDtype):
        raise ValueError(f"slot_dtype is {slot_dtype!r}")
    package = value["package"]
    return Entry(
        **texts | {"to": _inside(texts["to"])},
        numerics=value["numerics"],
        stages=tuple(_text("stages", name) for name in value["stages"]),
        package=None if package is None else _text("package", package),
        kernels=value.get("kernels") is True,
        slot_dtype=slot_dtype,
        files=tuple(_inside(_text("files", name)) for name in value["files"]),
    )


def _file(path: str, value: Mapping[str, Any]) -> LockedFile:
    file = LockedFile(_text("base", value["base"]), _text("written", value["written"]))
    try:
        fits = digest(file.base) == value["generated"]
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"the base of '{path}' cannot be unpacked ({error})") from error
    if not fits:
        raise ValueError(f"the base of '{path}' does not fit its digest")
    return file


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, no text")
    return value


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise ValueError(f"'{path}' is no path inside the project")
    return path
