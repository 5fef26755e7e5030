"""What the pages say is so: code shown is the code that is there, rules shown compile, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optloom.codegen import api
from optloom.codegen.api import Selection
from optloom.codegen.cli import main
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


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_code_shown_under_a_file_s_name_is_there(page: Path) -> None:
    for name, text in blocks(page):
        if (ROOT / name).exists():
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


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_no_python_is_shown_that_nothing_runs(page: Path) -> None:
    """A block is a file's, which another test holds, or a framework's (tests/pages/test_usages.py)."""
    for info, first in re.findall(r"^```python ?(\w*)\n(.*)", page.read_text(), re.MULTILINE):
        assert info or re.fullmatch(r"# [\w/.]+\.py", first), first


LESS = {"conform": ["-t", "numpy", "-d", "float32", "--quick"], "bench": ["-t", "numpy"], "add": ["-t", "numpy"]}
"""What the pages' commands are given here, so that they take seconds."""


RUN_APART = {"README", "adding-a-target", "first-steps"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in RUN_APART], ids=relative)
def test_commands_shown_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a project with the files that the page names, one after the other."""
    (tmp_path / "src" / "myproject").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    for name, text in blocks(page):
        if not (ROOT / name).exists():
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for text in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in re.findall(r"^optloom (.*)", text, re.MULTILINE):
            arguments = shlex.split(line, comments=True)
            with pytest.raises(SystemExit) as ended:
                main([*arguments, *LESS.get(arguments[0], [])])
            assert ended.value.code == 0, line


def test_first_steps(tmp_path: Path, optloom: Command) -> None:
    """The page's commands with its files, in their order: what is shown of their output is what they say."""
    page = (ROOT / "docs" / "first-steps.md").read_text()
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "first_steps.py"))

    def run(command: str) -> None:
        program, *arguments = shlex.split(command)
        if program == "pip":
            return
        if program == "python":
            done = subprocess.run(
                [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
        else:
            done = optloom(*arguments, *LESS.get(arguments[0], []), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        shown = re.search(rf"```sh\n{re.escape(command)}\n```\n\n```text\n(.*?)```", page, re.DOTALL)
        if shown and arguments[0] not in LESS:
            parts = shown[1].split("...\n") if program == "optloom" else ["loss "]
            assert all(part in done.stdout for part in parts), done.stdout

    assert benchmark["walk"](tmp_path, run) <= benchmark["LINES"]


def test_the_page_s_rule_compiles_and_conforms(tmp_path: Path) -> None:
    """The rule of "Adding an optimizer", as it stands on the page, in every target, without another line."""
    (name, text), *_ = blocks(ROOT / "docs" / "adding-an-optimizer.md")
    file = tmp_path / name
    file.write_text(text)
    done = api.generate(Selection((str(file),)), tmp_path / "optim")
    assert {Path(path).parts[0] for path in done.report.written} == set(api.targets_named())
    assert done.skipped == {}
    report = api.conform(api.rules_named([str(file)]), ["numpy"], dtypes=["float32"], extent="quick")
    assert report.results
    assert report.passed


def test_the_page_s_target_prints_and_conforms(tmp_path: Path) -> None:
    """The target of "Adding a target", its files as they stand on the page, beside the others in a copy."""
    page = (ROOT / "docs" / "adding-a-target.md").read_text()
    package = tmp_path / "optloom"
    shutil.copytree(ROOT / "codegen", package / "codegen", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / ".ci" / "importroot" / "optloom").glob("*.py"):
        shutil.copy(file, package)
    for name in ("spec", "generated"):
        (package / name).symlink_to(ROOT / name)
    head = re.compile(r"^(?:# |\{# )(codegen/targets/c/[\w./]+)(?: #\})?\n")
    for text in re.findall(r"```(?:python|jinja)\n(.*?)```", page, re.DOTALL):
        if found := head.match(text):
            file = package / found[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text[found.end() :])
    made = {file.name for file in (package / "codegen" / "targets" / "c").rglob("*.*")}
    assert made == {"target.py", "printer.py", "rule.c.jinja", "runner.py"}
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def optloom(*arguments: str) -> str:
        command = [sys.executable, "-m", "optloom", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    optloom("generate", "adamax", "--target", "c", "--out", "out")
    (shown,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    assert shown in (tmp_path / "out" / "c" / "adamax.c").read_text()
    judged = json.loads(optloom("conform", "adamax", "lion", "--target", "c", "--quick", "--json"))
    assert judged["counts"] == {"BIT": 4}
