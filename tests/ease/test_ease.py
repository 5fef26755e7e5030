"""A rule of each kind, from a file of at most 25 lines outside the repository: one command judges it, writes it in all
targets, and writes its page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from optloom.codegen import api

Command = Callable[..., subprocess.CompletedProcess[str]]
RULES = sorted((Path(__file__).parent / "rules").glob("*.py"))
TIGER = next(file for file in RULES if file.stem == "tiger")
LINES = 25


def _taken_in(optloom: Command, folder: Path, files: list[Path], *targets: str) -> subprocess.CompletedProcess[str]:
    for file in files:
        shutil.copy(file, folder)
    options = [option for target in targets for option in ("--target", target)]
    return optloom("add", *(f"./{file.name}" for file in files), "--out", "optim", *options, cwd=folder)


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_kind_needs_few_lines(file: Path) -> None:
    assert len([line for line in file.read_text().splitlines() if line.strip()]) <= LINES


def test_one_command_for_a_rule_of_each_kind(optloom: Command, tmp_path: Path) -> None:
    """Judged in the target whose bits the others are compared with, and in a framework with both kinds of code."""
    targets = ("numpy", "pytorch")
    done = _taken_in(optloom, tmp_path, RULES, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()
    for file in RULES:
        printed = {made.parent.name for made in (tmp_path / "optim").glob(f"*/{file.stem}.py")}
        assert printed == set(targets)
        page = (tmp_path / "optim" / "docs" / f"{file.stem}.md").read_text()
        assert (page.startswith("# ") and "<figure" in page) or "does not take" in page


def test_all_targets_from_one_command(optloom: Command, tmp_path: Path) -> None:
    done = _taken_in(optloom, tmp_path, [TIGER])
    assert done.returncode == 0, done.stdout + done.stderr
    assert {made.parent.name for made in (tmp_path / "optim").glob("*/tiger.*")} == {*api.targets_named(), "docs"}
    judged = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("tiger")}
    assert judged == set(api.targets_named())


def test_nothing_is_written_for_a_rule_that_is_wrong(optloom: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(TIGER.read_text().replace("return w -", "return w - unknown -"))
    done = optloom("add", "./bad.py", "--out", "optim", "--target", "numpy", cwd=tmp_path)
    assert done.returncode == 2 and "bad.py" in done.stderr
    assert not (tmp_path / "optim").exists()


@pytest.mark.parametrize(("out", "file"), [("no/optim", "other"), ("optim", "optim"), ("optim", "optim/docs")])
def test_nothing_is_written_where_it_cannot_all_be(out: str, file: str, optloom: Command, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    before = sorted(tmp_path.rglob("*"))
    shutil.copy(TIGER, tmp_path)
    done = optloom("add", "./tiger.py", "--out", out, "--target", "numpy", cwd=tmp_path)
    assert done.returncode == 2
    assert "does not exist" in done.stderr or "is a file, where a folder is to be" in done.stderr
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "tiger.py"])
