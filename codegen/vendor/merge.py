"""Three-way merge of texts, line by line.

Written out rather than handed to `git merge-file`, so that a merge is the same on every machine, with git and without.
Lines that either side changed, with none between them that both sides kept, belong together: changed by one side they
are that side's; changed by both, alike or not at all, there is nothing to decide; else they are a conflict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Lines = Sequence[str]

MARKERS = re.compile(r"^<{7} .*^={7}$.*^>{7} ", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged text, and how many conflicts it holds, between the standard markers."""

    text: str
    conflicts: int


def merge(base: str, ours: str, theirs: str, labels: tuple[str, str] = ("yours", "optloom")) -> Merged:
    """`ours` with what changed from `base` to `theirs`. `labels` stand at the markers."""
    lines: list[str] = []
    conflicts = 0
    texts = [text.splitlines(keepends=True) for text in (base, ours, theirs)]
    for before, left, right in _chunks(*texts):
        if left == right or right == before:
            lines += left
        elif left == before:
            lines += right
        else:
            conflicts += 1
            lines += _conflict(left, right, labels)
    return Merged("".join(lines), conflicts)


def has_conflicts(text: str) -> bool:
    """Whether conflict markers are left in `text`."""
    return MARKERS.search(text) is not None


def _chunks(base: Lines, ours: Lines, theirs: Lines) -> Iterator[tuple[Lines, Lines, Lines]]:
    """The texts cut where all three agree: in turn a chunk in which they may differ, and one in which they do not."""
    at_base = at_ours = at_theirs = 0
    for start, end, in_ours, in_theirs in _agreements(base, ours, theirs):
        yield base[at_base:start], ours[at_ours:in_ours], theirs[at_theirs:in_theirs]
        yield base[start:end], base[start:end], base[start:end]
        at_base, at_ours, at_theirs = end, in_ours + end - start, in_theirs + end - start
    yield base[at_base:], ours[at_ours:], theirs[at_theirs:]


def _agreements(base: Lines, ours: Lines, theirs: Lines) -> Iterator[tuple[int, int, int, int]]:
    """(start, end) in `base` of the lines that both sides kept, and where they begin in `ours` and in `theirs`."""
    left, right = _kept(base, ours), _kept(base, theirs)
    i = j = 0
    while i < len(left) and j < len(right):
        (a, in_ours, a_size), (b, in_theirs, b_size) = left[i], right[j]
        start, end = max(a, b), min(a + a_size, b + b_size)
        if start < end:
            yield start, end, in_ours + start - a, in_theirs + start - b
        if a + a_size < b + b_size:
            i += 1
        else:
            j += 1


def _kept(base: Lines, other: Lines) -> list[tuple[int, int, int]]:
    blocks = SequenceMatcher(None, base, other, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks]


def _conflict(left: Lines, right: Lines, labels: tuple[str, str]) -> Iterator[str]:
    """What both sides begin and end with stays outside of the markers."""
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    yield from left[:head]
    yield f"<<<<<<< {labels[0]}\n"
    yield from map(_ended, left[head : len(left) - tail])
    yield "=======\n"
    yield from map(_ended, right[head : len(right) - tail])
    yield f">>>>>>> {labels[1]}\n"
    yield from left[len(left) - tail :]


def _common(left: Lines, right: Lines) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"
