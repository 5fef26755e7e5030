"""What the pages say is so: code shown is the code that is there, rules shown compile, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optloom.codegen import api
from optloom.codegen.api import Selection
from optloom.codegen.discovery import discover
from optloom.codegen.pages.site import TABLES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = {*TABLES, *(f"rules/{name}.md" for name in discover())}
"""Pages of the site that are made when it is built; there, MkDocs judges the links to and from them."""
Command = Callable[..., subprocess.CompletedProcess[str]]


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each Python block whose first line is a comment that names a file."""
    for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        first, _, rest = text.partition("\n")
        if re.fullmatch(r"# [\w/.]+\.py", first):
            yield first.removeprefix("# "), rest


def test_the_readme_shows_what_is_there() -> None:
    shown = list(blocks(ROOT / "README.md"))
    assert shown
    for name, text in shown:
        for part in text.split("...\n"):
            assert part in (ROOT / name).read_text(), f"{name} does not hold:\n{part}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
        if not link.startswith("https://") and link not in GENERATED:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_files_named_in_backquotes_exist(page: Path) -> None:
    for name in re.findall(r"`((?:spec|codegen|generated|tests|docs|examples|benchmarks)/[\w/.-]*)`", page.read_text()):
        assert (ROOT / name).exists(), name


def shown_code(page: Path) -> str:
    """All that stands in backquotes and fenced blocks, a line each."""
    text = page.read_text()
    return "\n".join([*re.findall(r"```\w*\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_shown_exist(page: Path, optloom: Command) -> None:
    helped = optloom("--help").stdout
    for word in re.findall(r"^optloom (\w+)", shown_code(page), re.MULTILINE):
        assert re.search(rf"^│ {word} ", helped, re.MULTILINE), word


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_make_targets_shown_exist(page: Path) -> None:
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in re.findall(r"^make ([a-z ]+)", shown_code(page), re.MULTILINE):
        assert set(words.split()) <= rules


def test_the_page_s_rule_compiles_and_conforms(tmp_path: Path) -> None:
    """The rule of "Adding an optimizer", as it stands on the page, in every target, without another line."""
    (name, text), *_ = blocks(ROOT / "docs" / "adding-an-optimizer.md")
    file = tmp_path / name
    file.write_text(text)
    done = api.generate(Selection((str(file),)), tmp_path / "optim")
    assert {Path(path).parts[0] for path in done.report.written} == set(api.targets_named())
    assert done.skipped == {}
    report = api.conform(api.rules_named([str(file)]), ["numpy"], dtypes=["float32"], quick=True)
    assert report.results
    assert report.passed
