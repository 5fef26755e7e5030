"""Errors that name a rule's file and line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A line of a rule file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class SpecError(Exception):
    """A rule that cannot be compiled: where, what is wrong, and what to do about it."""

    def __init__(self, message: str, location: Location | None = None, hint: str = "") -> None:
        self.message = message
        self.location = location
        self.hint = hint
        where = f"{location}: " if location else ""
        super().__init__(f"{where}{message}" + (f"\n  {hint}" if hint else ""))


_LANGUAGE = Path(__file__).resolve().parent
_RULE_FOLDERS = tuple(str(_LANGUAGE / folder) for folder in ("rules", "stages"))


@cache
def _resolved(file: str) -> str:
    return str(Path(file).resolve())


def _is_language(file: str) -> bool:
    return file.startswith(str(_LANGUAGE)) and not file.startswith(_RULE_FOLDERS)


def author_location() -> Location | None:
    """The innermost line on the call stack that an author of a rule wrote."""
    frame = sys._getframe(1)
    while frame is not None:
        file = _resolved(frame.f_code.co_filename)
        if not _is_language(file):
            return Location(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
