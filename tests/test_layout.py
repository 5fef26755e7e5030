"""What the folders may hold: facts about rules and targets stand in one place each."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from optloom.codegen.api import rules_named, targets_named

ROOT = Path(__file__).resolve().parent.parent
CODEGEN = ROOT / "codegen"
RULES = set(rules_named()) | {rule.__name__.lower() for rule in rules_named().values()}
TARGETS = set(targets_named())
GENERATED = sorted(
    file for file in (ROOT / "generated").rglob("*")
    if file.is_file() and file.suffix != ".json" and "__pycache__" not in file.parts
)  # fmt: skip


def modules(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def names_in_code(file: Path) -> Iterator[str]:
    """Identifiers and strings of a module, without comments and docstrings, split into words, in lower case."""
    tree = ast.parse(file.read_text())
    documentation = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        values = [getattr(node, field, None) for field in ("id", "attr", "name", "arg", "module", "asname")]
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            values.append(node.value)
        for value in values:
            if isinstance(value, str):
                yield from words(value)


def words(text: str) -> list[str]:
    """The words of a text, in lower case. JAX's function that takes over a state has a verb that is a rule's name."""
    return re.split(r"[^a-z0-9]+", text.lower().replace("adopt_state", ""))


@pytest.mark.parametrize("file", modules("codegen"), ids=relative)
def test_no_rule_is_named_in_the_generator(file: Path) -> None:
    assert RULES.isdisjoint(names_in_code(file))


@pytest.mark.parametrize("file", sorted(CODEGEN.rglob("*.jinja")), ids=relative)
def test_no_rule_is_named_in_a_template(file: Path) -> None:
    text = file.read_text()
    assert RULES.isdisjoint(words(text))
    statements = " ".join(re.findall(r"\{%.*?%\}", text, re.DOTALL))
    assert not re.search(r"\bif\s+(name|source|rule)\s*(==|!=|in\b)", statements)


@pytest.mark.parametrize("file", modules("codegen", "spec"), ids=relative)
def test_no_target_is_named_outside_its_folder(file: Path) -> None:
    """Targets are found by their folders. The conformance suite alone may name one as its reference."""
    parts = file.relative_to(ROOT).parts
    if parts[1] == "conformance":
        return
    own = {parts[2]} if parts[:2] == ("codegen", "targets") and len(parts) > 3 else set()
    strings = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
    assert strings & TARGETS <= own


@pytest.mark.parametrize("file", modules("spec"), ids=relative)
def test_the_language_knows_nothing_of_the_generator(file: Path) -> None:
    assert not re.search(r"^\s*(from|import) (optloom\.codegen|optloom\.generated)", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", modules("spec", "codegen", "tests", "benchmarks", "examples"), ids=relative)
def test_packages_have_one_name(file: Path) -> None:
    """`import spec` would load the modules a second time, as other modules."""
    assert not re.search(r"^\s*(from|import) (spec|codegen|generated)\b", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", rules_named())
def test_a_rule_is_short(name: str) -> None:
    """At most 40 lines of code: without blank lines, comments and docstrings."""
    source = (ROOT / "spec" / "rules" / f"{name}.py").read_text()
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documentation |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in ignored
        for line in range(token.start[0], token.end[0] + 1)
    }
    assert len(lines - documentation) <= 40


@pytest.mark.parametrize("file", GENERATED, ids=relative)
def test_generated_files_are_anybodys(file: Path) -> None:
    """A licence first; no path, host or date of the machine; nothing of optloom is imported."""
    text = file.read_text()
    assert "SPDX-License-Identifier: MIT-0" in text.splitlines()[0]
    assert str(ROOT) not in text
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|var|mnt)/", text)
    assert not re.search(r"\b(19|20)\d\d-\d\d-\d\d\b", text)
    assert not re.search(r"^\s*(from|import) optloom", text, re.MULTILINE)
    assert text.endswith("\n")
    assert "\r" not in text


@pytest.mark.parametrize(("target", "most"), [("pytorch", 380), ("tensorflow", 345)])
def test_a_file_that_people_vendor_is_short(target: str, most: int) -> None:
    """With all stages; support modules apart."""
    files = [file for file in GENERATED if file.parent.name == target and not file.name.startswith("_")]
    lines = {file.name: len(file.read_text().splitlines()) for file in files}
    assert lines
    assert {name: count for name, count in lines.items() if count > most} == {}


def test_every_rule_and_target_has_its_file() -> None:
    """What is committed is whole: each rule that the numpy target prints has a file in every target's folder."""
    assert {file.parent.name for file in GENERATED if file.parent.parent.name == "generated"} == TARGETS
