"""Expected deviations: `codegen/targets/<target>/deviations.txt`, a line each: id-glob, class, reason.

A line says that cells have a lower class than they should, and why. It must be true: a line that no cell needs any
more, or that matches none, fails the suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import optloom.codegen.targets

CLASSES = ("BOUND", "FTZ", "DEV", "SKIP")


@dataclass(frozen=True)
class Deviation:
    """`kind`: BOUND (other bits than NumPy's), FTZ (flushes subnormal numbers), DEV (another number), SKIP."""

    glob: str
    kind: str
    reason: str
    line: int

    def covers(self, cell: str) -> bool:
        return fnmatchcase(cell, self.glob)


def deviations(target: str, folder: Path | None = None) -> list[Deviation]:
    """Those of one target. Raises ValueError for a line that cannot be read."""
    folder = folder or Path(optloom.codegen.targets.__path__[0]) / target
    path = folder / "deviations.txt"
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) < 3 or parts[1] not in CLASSES:
            raise ValueError(
                f"{target}/{path.name}:{number}: write `id-glob CLASS reason`, CLASS one of {', '.join(CLASSES)}"
            )
        found.append(Deviation(parts[0], parts[1], parts[2], number))
    return found
