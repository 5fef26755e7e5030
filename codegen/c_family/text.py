"""C source as text: lines that fit."""

from __future__ import annotations

import re

WIDTH = 110
BREAKS = (r"(?<=,) ", r" (?=[?:] )", r" (?=\|\| )", r" (?=&& )", r" (?=[-+|] )", r" (?=[*/%] )", r"(?<= =) ")
"""Where a line may be broken, the places that bind most loosely first."""

OPENING = re.compile(r"[(\[]|\w<")
CLOSING = re.compile(r"[)\]]|\w>")


def wrapped(line: str, indent: int, width: int = WIDTH) -> list[str]:
    """`line` in as many lines as it takes at `indent` columns, broken where the fewest parentheses are open."""
    room = width - indent
    if len(line) <= room:
        return [line]
    first = len(line) - len(line.lstrip()) + 1
    places = [
        (_depth(line, match.start()), rank, -match.start())
        for rank, breaks in enumerate(BREAKS) for match in re.finditer(breaks, line) if first <= match.start() <= room
    ]  # fmt: skip
    if not places:
        return [line]
    at = -min(places)[2]
    lead = re.match(" *", line)[0] or " " * (8 if line.endswith("{") else 4)  # type: ignore[index]
    return [line[:at].rstrip(), *wrapped(lead + line[at:].lstrip(), indent, width)]


def _depth(line: str, place: int) -> int:
    """Brackets open at `place`; those of templates are the ones without a space before them."""
    return len(OPENING.findall(line[:place])) - len(CLOSING.findall(line[:place]))


def fitted(text: str) -> str:
    """`text` with its long lines of code wrapped, their comments above; directives begin theirs, raw strings stay."""
    lines: list[str] = []
    raw = False
    for line in text.split("\n"):
        raw = (raw or 'R"(' in line) and ')"' not in line
        code = line.strip()
        if not raw and code.startswith("#"):
            lines.append(code)
        elif raw or len(line) <= WIDTH or code.startswith("//"):
            lines.append(line)
        else:
            indent = len(line) - len(line.lstrip())
            code, _, note = code.partition("  // ")
            parts = ([f"// {note}"] if note else []) + wrapped(code, indent)
            lines += [" " * indent + part for part in parts]
    return "\n".join(lines)
