"""A rule of one's own: `optloom new`, the commands on it, and the pytest plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from optloom.codegen import api, discovery
from optloom.codegen.new import new_rule
from optloom.codegen.output import OutputError
from optloom.spec import SpecError

Command = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / ".ci" / "importroot"), "PYTEST_ADDOPTS": ""}


def test_the_commands_work_on_it(optloom: Command, tmp_path: Path) -> None:
    done = optloom("new", "tiger", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "wrote tiger.py")
    assert optloom("explain", "./tiger.py", cwd=tmp_path).returncode == 0
    assert optloom("generate", "./tiger.py", "--out", "optim", cwd=tmp_path).returncode == 0
    assert {file.parent.name for file in (tmp_path / "optim").glob("*/tiger.*")} == set(api.targets_named())
    done = optloom("conform", "./tiger.py", "-t", "numpy", "--quick", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "passed"), done.stdout
    ruff = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "tiger.py"], cwd=tmp_path)
    assert ruff.returncode == 0


def test_a_two_line_formula_makes_it_another_rule(tmp_path: Path, optloom: Command) -> None:
    """What a newcomer writes: two lines, and one more name to import."""
    file = new_rule("tiger", tmp_path)
    text = file.read_text()
    for old, new in (("Value\n", "Value, sign\n"), ("* self.m\n", "* sign(self.m)\n"), ("Hyper(0.9,", "Hyper(0.965,")):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)
    done = optloom("conform", "./tiger.py", "-t", "numpy", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Tiger", "my-rule", "1st", "class", "", "a/b", "../up"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is no name for a rule"):
        new_rule(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_that_would_hide_something(tmp_path: Path) -> None:
    for name, message in (("rule", "'Rule' is a word"), ("json", "'json' is installed"), ("sympy", "is installed")):
        with pytest.raises(OutputError, match=message):
            new_rule(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "tiger.py").write_text("mine\n")
    with pytest.raises(OutputError, match="is there already"):
        new_rule("tiger", tmp_path)
    assert (tmp_path / "tiger.py").read_text() == "mine\n"
    new_rule("tiger", tmp_path, force=True)
    assert (tmp_path / "tiger.py").read_text() != "mine\n"
    with pytest.raises(OutputError, match="does not exist"):
        new_rule("tiger", tmp_path / "no")


def pytest_on(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    is_installed = any(entry.value == "optloom.pytest" for entry in entry_points(group="pytest11"))
    plugins = ["-p", "no:cacheprovider", *(() if is_installed else ("-p", "optloom.pytest"))]
    command = [sys.executable, "-m", "pytest", *plugins, "-rA", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    new_rule("tiger", tmp_path)
    (tmp_path / "test_other.py").write_text("def test_it():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\noptloom_targets = numpy\n")
    return tmp_path


def passed(done: subprocess.CompletedProcess[str]) -> set[str]:
    return set(re.findall(r"^PASSED (\S+)", done.stdout, re.MULTILINE))


CELL = "tiger.py::numpy-strict-float32"


def test_the_plugin_judges_a_rule(rules: Path) -> None:
    done = pytest_on(rules, "--optloom", "tiger.py")
    assert done.returncode == 0, done.stdout
    assert {CELL, "test_other.py::test_it"} <= passed(done)


def test_the_plugin_does_nothing_unasked(rules: Path) -> None:
    assert passed(pytest_on(rules)) == {"test_other.py::test_it"}


def test_the_ini_file_names_rules_for_whole_runs(rules: Path) -> None:
    with (rules / "pytest.ini").open("a") as file:
        file.write("optloom_rules = tiger.py\n")
    assert CELL in passed(pytest_on(rules))
    assert passed(pytest_on(rules, "test_other.py")) == {"test_other.py::test_it"}
    assert passed(pytest_on(rules, CELL)) == {CELL}


def test_a_rule_that_is_wrong_fails(rules: Path) -> None:
    (rules / "tiger.py").write_text("x = 1\n")
    done = pytest_on(rules, "--optloom", "tiger.py", "-k", "strict-float32")
    assert done.returncode == 1
    assert "this one holds none" in done.stdout
    assert "Traceback" not in done.stdout
    assert pytest_on(rules, "--optloom", "absent.py").returncode == 4


def test_code_that_does_not_conform_fails_with_the_cells(rules: Path) -> None:
    (rules / "conftest.py").write_text(
        "from optloom.codegen.conformance import campaign\n"
        "right = campaign.rendered\n"
        "def wrong(*arguments, **settings):\n"
        "    file = right(*arguments, **settings)\n"
        "    file.write_text(file.read_text().replace('w - k.', 'w + k.'))\n"
        "    return file\n"
        "campaign.rendered = wrong\n"
    )
    done = pytest_on(rules, "--optloom", "tiger.py", "-k", "strict-float32")
    assert done.returncode == 1
    assert "tiger/default/numpy" in done.stdout or "tiger/" in done.stdout
    assert "to see it again: optloom conform" in done.stdout


def offer(monkeypatch: pytest.MonkeyPatch, folder: Path, **points: str) -> None:
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "somebodys"]:
        del sys.modules[name]
    made = [EntryPoint(name, value, discovery.GROUP) for name, value in points.items()]
    monkeypatch.setattr(discovery, "entry_points", lambda group: made)
    discovery.offered.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "somebodys"
    folder.mkdir()
    (folder / "__init__.py").touch()
    new_rule("tiger", folder)
    return folder


def test_packages_offer_rules(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path, tiger="somebodys.tiger", again="somebodys.tiger:Tiger", adam="somebodys.tiger")
    try:
        assert api.rules_named(["tiger"])["tiger"].__name__ == "Tiger"
        assert api.rules_named(["again"])["again"].__name__ == "Tiger"
        assert api.rules_named(["adam"])["adam"].__module__ == "optloom.spec.rules.adam"
        assert "tiger" in {entry.name for entry in api.catalogue()}
        assert "tiger" not in api.rules_named()
        with pytest.raises(api.UnknownName, match="did you mean tiger"):
            api.rules_named(["tigr"])
    finally:
        discovery.offered.cache_clear()


def test_a_package_that_is_broken_spoils_its_own_rule(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "broken.py").write_text("import no_such_module\n")
    offer(monkeypatch, tmp_path, broken="somebodys.broken")
    try:
        with pytest.raises(SpecError, match="no_such_module"):
            api.rules_named(["broken"])
        with pytest.warns(UserWarning, match="broken"):
            assert "adam" in {entry.name for entry in api.catalogue()}
    finally:
        discovery.offered.cache_clear()
