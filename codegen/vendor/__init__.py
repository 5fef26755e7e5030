"""Vendoring: one optimizer, copied into a project, that can be brought up to date later with the user's edits kept.

`add` writes the files of one rule for one target, complete in themselves; `diff` tells the user's edits and what
changed upstream apart; `update` merges the two; `check` judges, for CI. What is needed for that stands in
`optloom.lock.json` at the root of the project (see `lock`). Everything is written at once or not at all.
"""

from .entry import Request
from .lock import LockError, read_lock
from .operations import Added, Updated, add, update
from .project import LOCK, VendorError, find_project
from .standing import Problem, Standing, examine

__all__ = [
    "LOCK", "Added", "LockError", "Problem", "Request", "Standing", "Updated", "VendorError", "add", "examine",
    "find_project", "read_lock", "update",
]  # fmt: skip
