"""Formatting of generated files, by their suffix."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

LINE_LENGTH = 110


@cache
def formatted(path: str, text: str, line_length: int = LINE_LENGTH) -> str:
    """`text` as the formatter of its language lays it out; unchanged where there is none.

    Raises ValueError when the formatter refuses the text: a template printed something that does not parse.
    """
    if not path.endswith(".py"):
        return text
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--isolated",
        f"--line-length={line_length}",
        "--stdin-filename",
        path,
        "-",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{path} does not parse:\n{done.stderr}\n{text}")
    return done.stdout
