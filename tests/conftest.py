"""Test groups: `--group=NAME` runs the tests of one target, or `core`, those that belong to none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {file.parent.name for file in (ROOT / "codegen" / "targets").glob("*/target.py")}


def group_of(identifier: str) -> str:
    """The one target that a test's id, or a path, names as a word; `core` if it names none or several."""
    named = TARGETS.intersection(re.split(r"[^a-zA-Z0-9]|_", identifier))
    return named.pop() if len(named) == 1 else "core"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--group", help="run the tests of this target only, or of `core`")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Another target's test module is not even imported: it may import its framework."""
    group = config.getoption("--group")
    relative = collection_path.relative_to(ROOT) if collection_path.is_relative_to(ROOT) else collection_path
    ignored = group is not None and group_of(str(relative)) not in ("core", group)
    return True if ignored else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    group = config.getoption("--group")
    if group is None:
        return
    config.hook.pytest_deselected(items=[item for item in items if group_of(item.nodeid) != group])
    items[:] = [item for item in items if group_of(item.nodeid) == group]


@pytest.fixture(scope="session")
def optloom() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, in a process of its own: optloom("check", "--json", cwd=..., environment={...})."""

    def run(
        *arguments: str, cwd: Path = ROOT, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "optloom.codegen", *arguments]
        variables = os.environ | {"PYTHONPATH": str(ROOT / ".ci" / "importroot")} | (environment or {})
        return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)

    return run
