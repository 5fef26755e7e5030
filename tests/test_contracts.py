"""The page of contracts is so: the tests that it names exist, and it leaves out no test file and no deviation."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from html import escape
from pathlib import Path

from optloom.codegen.api import targets_named
from optloom.codegen.conformance.deviations import deviations
from optloom.codegen.discovery import discover
from optloom.codegen.pages.site import peers
from optloom.codegen.show import show

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "contracts.md").read_text()
NAMED = re.findall(r"`(\w+\.py)::(\w+)`", PAGE)
FRAMEWORKS = {"pytorch", "jax", "tensorflow"}


def functions() -> dict[str, set[str]]:
    """Those of each file under tests/, by the file's name."""
    found = defaultdict(set)
    for file in (ROOT / "tests").rglob("*.py"):
        tree = ast.parse(file.read_text())
        found[file.name] |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found


def test_every_test_named_exists() -> None:
    found = functions()
    assert len(NAMED) > 60
    assert [f"{file}::{name}" for file, name in NAMED if name not in found[file]] == []


def test_every_contract_has_a_test() -> None:
    start, end = PAGE.index("### Cells of the suite"), PAGE.index("## What is refused")
    rows = re.findall(r"^\| .*", PAGE[:start] + PAGE[end:], re.MULTILINE)
    heads = {"| contract | test |", "| what | test |", "| where | there | here, and why | test |"}
    assert {row for row in rows if not re.search(r"\.py::\w+` \|$", row)} == heads


def test_every_test_file_of_a_framework_is_named() -> None:
    files = {file.name for file in (ROOT / "tests" / "targets").rglob("test_*.py")}
    files = {file for file in files if FRAMEWORKS.intersection(re.split(r"[_.]", file))}
    assert len(files) > 30
    assert files - {file for file, _ in NAMED} == set()


def test_every_listed_deviation_is_on_the_page_with_its_reason() -> None:
    for target in targets_named():
        listed = [f"| `{each.glob}` | {each.kind} | {each.reason} |" for each in deviations(target)]
        assert re.findall(rf"^\| `\S*/{target}/.*", PAGE, re.MULTILINE) == listed


def test_what_a_peer_computes_otherwise_is_in_the_table_of_peers() -> None:
    apart = {name: rule for name, rule in discover().items() if any(peer.otherwise for peer in rule.peers)}
    table = peers({name: show(rule) for name, rule in apart.items()})
    clauses = [clause for rule in apart.values() for peer in rule.peers for clause in peer.otherwise.values()]
    assert clauses
    assert [clause for clause in clauses if escape(clause) not in table] == []
