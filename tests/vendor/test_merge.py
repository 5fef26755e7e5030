"""Merging three ways: nothing that either side wrote is lost, and conflicts are told as everybody tells them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optloom.codegen.vendor.merge import has_conflicts, merge

BASE = "".join(f"line {number}\n" for number in range(12))
LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=12).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


def test_edits_in_different_places_are_both_kept() -> None:
    ours = BASE.replace("line 1\n", "mine\n")
    theirs = BASE.replace("line 9\n", "theirs\nand more\n")
    merged = merge(BASE, ours, theirs)
    assert merged.conflicts == 0
    assert merged.text == ours.replace("line 9\n", "theirs\nand more\n")


def test_the_same_edit_on_both_sides_is_no_conflict() -> None:
    both = BASE.replace("line 5\n", "new\n")
    assert merge(BASE, both, both).text == both


def test_a_conflict_stands_between_the_standard_markers() -> None:
    ours, theirs = BASE.replace("line 5\n", "mine\n"), BASE.replace("line 5\n", "theirs\n")
    merged = merge(BASE, ours, theirs)
    expected = "line 4\n<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> optloom\nline 6\n"
    assert merged.conflicts == 1
    assert expected in merged.text
    assert merged.text.replace(expected, "line 4\nline 5\nline 6\n") == BASE


def test_a_deletion_against_an_edit_is_a_conflict() -> None:
    merged = merge(BASE, BASE.replace("line 5\n", ""), BASE.replace("line 5\n", "theirs\n"))
    assert merged.conflicts == 1
    assert "<<<<<<< yours\n=======\ntheirs\n>>>>>>> optloom\n" in merged.text


def test_edits_of_neighbouring_lines_are_a_conflict() -> None:
    assert merge(BASE, BASE.replace("line 5", "mine"), BASE.replace("line 6", "theirs")).conflicts == 1


def test_what_both_sides_share_stays_outside_of_the_markers() -> None:
    merged = merge("x\n", "one\nmine\nlast\n", "one\ntheirs\nlast\n")
    assert merged.text == "one\n<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> optloom\nlast\n"


def test_a_last_line_without_its_end() -> None:
    assert merge("a\nb\n", "a\nb\nc", "z\na\nb\n").text == "z\na\nb\nc"
    assert merge("a", "b", "c").text == "<<<<<<< yours\nb\n=======\nc\n>>>>>>> optloom\n"


@given(LINES, LINES)
def test_one_side_alone_is_taken_whole(base: str, changed: str) -> None:
    assert merge(base, changed, base).text == changed
    assert merge(base, base, changed).text == changed
    assert merge(base, changed, changed).text == changed


@given(LINES, LINES, LINES)
def test_sides_can_change_places(base: str, ours: str, theirs: str) -> None:
    one, other = merge(base, ours, theirs), merge(base, theirs, ours)
    assert one.conflicts == other.conflicts
    assert has_conflicts(one.text) == (one.conflicts > 0)
    if not one.conflicts:
        assert one.text == other.text


@given(LINES, LINES, LINES)
def test_either_choice_at_every_conflict_gives_back_a_side_of_it(base: str, ours: str, theirs: str) -> None:
    """Lines that only we added are in the merge, taken with our choice; and theirs with theirs."""
    text = merge(base, ours, theirs).text
    for side, mine in ((0, ours), (1, theirs)):
        chosen = resolved(text, side)
        for line in set(mine.splitlines()) - set(base.splitlines()):
            assert line in chosen


def resolved(text: str, side: int) -> list[str]:
    """The lines of `text` with our (0) or their (1) part of each conflict."""
    lines, part = [], None
    for line in text.splitlines():
        if line.startswith("<<<<<<< "):
            part = 0
        elif line == "=======" and part == 0:
            part = 1
        elif line.startswith(">>>>>>> "):
            part = None
        elif part in (None, side):
            lines.append(line)
    return lines


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BASE.replace("line 1\n", "mine\n"), BASE.replace("line 9\n", "")),
        (BASE.replace("line 3\n", "mine\n"), BASE.replace("line 3\n", "theirs\n")),
        (f"head\n{BASE}", f"{BASE}tail\n"),
        (BASE.replace("line 5\n", "mine\nline 5\n"), BASE.replace("line 7\n", "theirs\n")),
        ("", BASE.replace("line 2\n", "theirs\n")),
    ],
    ids=["apart", "the same line", "ends", "insertion", "all deleted"],
)  # fmt: skip
def test_as_git_merges(ours: str, theirs: str, tmp_path: Path) -> None:
    names = {"ours": ours, "base": BASE, "theirs": theirs}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    command = ["git", "merge-file", "-p", "-L", "yours", "-L", "base", "-L", "optloom", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    merged = merge(BASE, ours, theirs)
    assert (merged.text, merged.conflicts) == (done.stdout, done.returncode)
