"""What is run: `--group=NAME` runs the tests of one target, or `core`, those that belong to none. What is tested for
all rules is run for one of each kind (see `kinds`), unless `--every-rule` is given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path

import pytest
from optloom.codegen.discovery import discover

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "targets"))

from kinds import representatives  # noqa: E402

TARGETS = {file.parent.name for file in (ROOT / "codegen" / "targets").glob("*/target.py")}


def group_of(identifier: str) -> str:
    """The one target that a test's id, or a path, names as a word; `core` if it names none or several."""
    named = TARGETS.intersection(re.split(r"[^a-zA-Z0-9]|_", identifier))
    return named.pop() if len(named) == 1 else "core"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--group", help="run the tests of this target only, or of `core`")
    parser.addoption("--every-rule", action="store_true", help="run what is tested for all rules on all, not on kinds")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Another target's test module is not even imported: it may import its framework."""
    group = config.getoption("--group")
    relative = collection_path.relative_to(ROOT) if collection_path.is_relative_to(ROOT) else collection_path
    ignored = group is not None and group_of(str(relative)) not in ("core", group)
    return True if ignored else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    group = config.getoption("--group")
    chosen = [item for item in items if group is None or group_of(item.nodeid) == group]
    if not config.getoption("--every-rule"):
        chosen = _of_kinds(chosen)
    kept = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = chosen


MANY = 20
"""A test that is run on so many rules means all."""
FOR_ALL = {"conformance", "peers", "spec"}
"""Folders of tests that judge each rule for what it is."""


def _of_kinds(items: list[pytest.Item]) -> list[pytest.Item]:
    """`items` without the rules that others stand for, where a test is run on all."""
    known = discover()
    rules = {
        item: _rule_of(item, known) for item in items if not FOR_ALL.intersection(item.path.relative_to(ROOT).parts)
    }
    tested = Counter((_function_of(item), rule) for item, rule in rules.items() if rule)
    means_all = {test for test, count in Counter(test for test, _ in tested).items() if count >= MANY}
    left_out = {item for item, rule in rules.items() if rule and _function_of(item) in means_all}
    return [item for item in items if item not in left_out or rules[item] in representatives()]


def _function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _rule_of(item: pytest.Item, known: Container[str]) -> str | None:
    """The rule among the parameters of a test."""
    parameters = (
        item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    )
    return next((value for value in parameters if isinstance(value, str) and value in known), None)


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
