"""The project that files are vendored into: its root, the folders inside it, the texts on the disk."""

from __future__ import annotations

from pathlib import Path

from ..output import OutputError

LOCK = "optloom.lock.json"
MARKS = (LOCK, "pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")
"""What the root of a project holds; the first of them that is found on the way up decides."""


class VendorError(OutputError):
    """What was asked for cannot be vendored; nothing was written."""


def find_project(start: Path | None = None) -> Path:
    """The root of the project that `start` (the working folder) lies in.

    The nearest folder upwards that holds a lock; else the nearest that holds another mark of a project's root; else
    `start` itself.
    """
    here = (start or Path.cwd()).resolve()
    for marks in (MARKS[:1], MARKS[1:]):
        for folder in (here, *here.parents):
            if any((folder / mark).exists() for mark in marks):
                return folder
    return here


def folder_inside(project: Path, to: Path) -> str:
    """`to` relative to `project`, with forward slashes; links are followed.

    Raises VendorError for a folder outside the project, for a file, and where the folder's parent does not exist:
    one level is made, a misspelled path is not.
    """
    place, root = to.resolve(), project.resolve()
    if not place.is_relative_to(root):
        raise VendorError(
            f"{to} is outside of the project {root}\n  files are vendored inside; --project says where its root is"
        )
    if place.exists() and not place.is_dir():
        raise VendorError(f"{to} is a file, not a folder")
    if not place.parent.is_dir():
        raise VendorError(f"the folder of {to} does not exist: make {place.parent} first, or mend --to")
    return place.relative_to(root).as_posix()


def text_on_disk(file: Path) -> str | None:
    """The text of a file, line endings as they are in a repository; None where there is none.

    Raises VendorError for what is not UTF-8.
    """
    try:
        return file.read_bytes().decode().replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise VendorError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except IsADirectoryError as error:
        raise VendorError(f"{file} is a folder; a file belongs there") from error
