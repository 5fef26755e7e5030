"""Vendored files, of every target, as a project's own tools see them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from optloom.codegen import vendor
from optloom.codegen.api import catalogue, targets_named
from optloom.codegen.conformance.protocol import REFERENCE
from optloom.codegen.dialects import EVERY
from optloom.codegen.discovery import target as load_target
from optloom.codegen.vendor import Request

PRINTED = {target: [entry.name for entry in catalogue() if target in entry.targets] for target in targets_named()}


def ruff(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(params=targets_named())
def folder(request: pytest.FixtureRequest, project: Path) -> Path:
    """Two rules of a target, one with settings of its own."""
    first, *_, last = PRINTED[request.param]
    vendor.add(Request(first, request.param, Path("src/mine/optim")))
    vendor.add(Request(last, request.param, Path("src/mine/optim"), stages=()))
    return project / "src/mine/optim"


def test_complete_and_free_of_optloom(folder: Path) -> None:
    for file in folder.iterdir():
        text = file.read_text()
        assert "SPDX-License-Identifier: MIT-0" in text.splitlines()[0]
        assert not re.search(r"^\s*(from|import) optloom", text, re.MULTILINE)
        for support in re.findall(r"^from \. import (\w+)$", text, re.MULTILINE):
            assert (folder / f"{support}.py").exists()


def test_ruff(folder: Path) -> None:
    """In its default configuration; sorted imports, and its format."""
    if list(folder.glob("*.py")):
        for rules in ([], ["--select=I"]):
            done = ruff("check", "--isolated", *rules, ".", cwd=folder)
            assert done.returncode == 0, done.stdout
        assert ruff("format", "--isolated", "--check", ".", cwd=folder).returncode == 0


TYPED = [name for name in PRINTED if load_target(name).ecosystem not in ("", EVERY) or name == REFERENCE]
"""The targets that print Python."""


@pytest.mark.parametrize("target", TYPED)
def test_mypy_strict(target: str, project: Path) -> None:
    """With fused kernels where there are any, and in a package, as in a user's project."""
    pytest.importorskip("mypy")
    kernels = hasattr(load_target(target), "kernels")
    vendor.add(Request(PRINTED[target][0], target, Path("src/mine/optim"), kernels=kernels))
    (project / "src/mine/__init__.py").touch()
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--config-file=", "src"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
