"""The same bytes under every hash seed and from every folder; a name in a rule decides nothing but itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from optloom.codegen.api import rules_named, targets_named
from optloom.codegen.compiler import program_for, render
from optloom.codegen.discovery import discover, targets
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.target import names_in
from optloom.spec.rule import Rule

ROOT = Path(__file__).resolve().parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def committed() -> dict[str, bytes]:
    """Everything, as it was generated when it was committed: elsewhere, under some other hash seed."""
    return contents(ROOT / "generated")


def test_another_hash_seed(tmp_path: Path, optloom: Command, committed: dict[str, bytes]) -> None:
    """For a few rules; all are generated under a third seed below."""
    rules = ("adam", "lamb", "muon", "prodigy")
    done = optloom("generate", *rules, "--out", str(tmp_path / "out"), environment={"PYTHONHASHSEED": "1"})
    assert done.returncode == 0, done.stderr
    made = contents(tmp_path / "out")
    made.pop("MANIFEST.json")
    assert made and all(committed[path] == text for path, text in made.items())


def test_another_folder(tmp_path: Path, optloom: Command, committed: dict[str, bytes]) -> None:
    """A copy of the checkout, under another path, worked in from yet another folder, and under a third hash seed."""
    copy = tmp_path / "some where" / "else"
    without = shutil.ignore_patterns("__pycache__")
    for folder in ("spec", "codegen", ".ci/importroot"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=without)
    environment = {
        "PYTHONPATH": str(copy / ".ci" / "importroot"),
        "PYTHONHASHSEED": "20231",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
    }
    done = optloom("generate", "--out", str(tmp_path / "out"), cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == committed


def test_digests_of_sources_change_with_what_files_are_made_from(tmp_path: Path) -> None:
    """And with nothing else: not with how files are written, explained, executed or judged."""
    copy = tmp_path / "copy"
    for folder in ("spec", "codegen", ".ci/importroot"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from optloom.codegen.discovery import discover\n"
        "from optloom.codegen.provenance import source_digest as digest\n"
        "rules = discover()\n"
        "print(digest(rules['adam'], 'numpy'), digest(rules['adamw'], 'numpy'), digest(rules['sgd'], 'numpy'),"
        " digest(None, 'numpy'), digest(None, 'cpp'))\n"
    )

    def changed_by(name: str) -> list[bool]:
        original = (copy / name).read_text()
        (copy / name).write_text(original + "\n# changed\n")
        after = digests()
        (copy / name).write_text(original)
        return [a != b for a, b in zip(before, after, strict=True)]

    def digests() -> list[str]:
        variables = {"PYTHONPATH": str(copy / ".ci" / "importroot"), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.check_output([sys.executable, "-c", code], env=os.environ | variables, text=True).split()

    before = digests()
    assert changed_by("spec/rules/adam.py") == [True, True, False, False, False]
    assert changed_by("spec/stages/decay.py") == [True] * 5
    assert changed_by("codegen/passes/cse.py") == [True] * 5
    assert changed_by("codegen/targets/numpy/templates/rule.py.jinja") == [True, True, True, True, False]
    for without_part in ("codegen/targets/numpy/runner.py", "codegen/cli/app.py", "codegen/conformance/judge.py"):
        assert changed_by(without_part) == [False] * 5


def variables(source: str) -> Iterator[str]:
    """What a rule assigns: its slots and named intermediates, in the order of the text."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found[node.attr] = None
    yield from found


def word(name: str) -> re.Pattern[str]:
    """`name` where it is a word by itself, or a part of a derived name (`inverse_of_name`)."""
    return re.compile(rf"(?<![A-Za-z0-9]){name}(?![A-Za-z0-9])")


def renaming(names: list[str], texts: list[str]) -> dict[str, str]:
    """Names of the same length that are in no text and sort the other way round; `m_hat` goes with `m`."""
    new: dict[str, str] = {}
    letters = iter("zyxqkjihfedcbaZYXQKJ")
    for name in sorted(names):
        stem, _, rest = name.partition("_")
        if stem in new:
            new[name] = f"{new[stem]}_{rest}"
            continue
        free = (letter + name[1:] for letter in letters)
        new[name] = next(made for made in free if not any(word(made).search(text) for text in texts))
    return new


def replaced(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = word(old).sub(new, text)
    return text


def otherwise_spelled(rule: type[Rule], texts: Iterable[str]) -> set[str]:
    """The slots that a target calls as its users do by itself, no peer of the rule in its ecosystem saying so, and the
    names that are reserved in some target: there another name is spelled in another way."""
    by_themselves = set()
    for name, target in targets().items():
        by_peers = {slot for peer in rule.peers if peer.ecosystem == target.ecosystem for slot in peer.slots}
        called = names_in(target, program_for(rule, name))
        by_themselves |= {old for old, new in called.items() if new != old} - by_peers
    reserved = {name for text in texts for pair in re.findall(r"\bthe_(\w+)|\b(\w+)_\b", text) for name in pair}
    return by_themselves | reserved


@pytest.mark.parametrize("rule", rules_named())
def test_renaming_variables(rule: str, tmp_path: Path) -> None:
    """Other names for a rule's slots and intermediates give the same files, but for these names."""
    source = (ROOT / "spec" / "rules" / f"{rule}.py").read_text()
    made = rules_named()[rule]
    before = printed(made)
    spelled_otherwise = otherwise_spelled(made, before.values())
    free = [name for name in variables(source) if not {name, name.partition("_")[0]} & spelled_otherwise]
    names = renaming(free, [source, *before.values()])
    for old, new in names.items():
        source = re.sub(rf"\b{old}\b", new, source)
    file = tmp_path / f"{rule}.py"
    file.write_text(source.replace("from .", "from optloom.spec.rules."))
    after = printed(discover(file)[rule])
    back = {new: old for old, new in names.items()}
    assert {path: replaced(text, back) for path, text in after.items()} == {
        path: replaced(text, {}) for path, text in before.items()
    }


def printed(rule: type) -> dict[str, str]:
    files: dict[str, str] = {}
    for target in targets_named():
        try:
            files |= render(rule, target)
        except UnsupportedOperation:
            continue
    return files
