"""What is wrong ends with one clear message and a status, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen import output, vendor
from optloom.codegen.cli import main
from optloom.codegen.vendor import LOCK, LockError, VendorError

from .conftest import FILE, RULE, contents

ADD = ("vendor", "add")
TINY = (*ADD, "tiny.py", "--target", "numpy", "--to", "src/mine/optim")


class Ended(Exception):
    pass


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command here: its exit status and its message."""

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(ended.value.code or 0), " ".join(printed.err.replace("│", " ").split())

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*ADD, "adamm", "-t", "numpy", "--to", "o"), "no rule is called 'adamm': did you mean adam"),
        ((*ADD, "adam", "-t", "numpyy", "--to", "o"), "no target is called 'numpyy': did you mean numpy?"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--stages", "decai"), "called 'decai': did you mean decay?"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--dialect", "torch.optim.Adan"), "did you mean torch.optim.Adam"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--dialect", "zzz"), "known: keras, optax, torch"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--numerics", "fasst"), "'fasst' is not one of 'strict', 'fast'"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--numerics", "fast"), "does not print fast numerics"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--package", "a-b"), "'a-b' is no name of a package"),
        ((*ADD, "adam", "-t", "numpy", "--to", "o", "--stagse", "decay"), "No such option: --stagse"),
        ((*ADD, "adam", "-t", "numpy", "--to", "no/such/folder"), "make"),
        ((*ADD, "adam", "-t", "numpy", "--to", "../elsewhere"), "is outside of the project"),
        ((*ADD, "adam", "-t", "numpy", "--to", "pyproject.toml"), "is a file, not a folder"),
        ((*ADD, "absent.py", "-t", "numpy", "--to", "o"), "no such rule file"),
        ((*ADD, "broken.py", "-t", "numpy", "--to", "o"), "broken.py:4: the rule does not import: SyntaxError"),
        ((*ADD, "two.py", "-t", "numpy", "--to", "o"), "this one holds Tiny, Other"),
        ((*ADD, "none.py", "-t", "numpy", "--to", "o"), "this one holds none"),
        (("vendor", "check", "adam"), "no vendored rule is called 'adam': known: none, nothing is vendored here"),
        (("vendor", "updat"), "No such command 'updat'"),
    ],
)  # fmt: skip
def test_bad_arguments(
    command: Callable[..., tuple[int, str]], project: Path, arguments: tuple[str, ...], message: str
) -> None:
    (project / "broken.py").write_text(RULE.replace("class Tiny(Rule)", "class Tiny(Rule"))
    (project / "two.py").write_text(f"{RULE}\n\nclass Other(Rule):\n    pass\n")
    (project / "none.py").write_text("x = 1\n")
    before = contents(project.parent)
    status, said = command(*arguments)
    assert (status, message in said) == (2, True), said
    assert contents(project.parent) == before


def test_a_link_that_leads_out_of_the_project(command: Callable[..., tuple[int, str]], project: Path) -> None:
    (project.parent / "outside").mkdir()
    (project / "optim").symlink_to(project.parent / "outside")
    status, said = command(*TINY[:-1], "optim")
    assert (status, "is outside of the project" in said) == (2, True)
    assert not contents(project.parent / "outside")


def test_a_stage_that_does_not_fit(command: Callable[..., tuple[int, str]], project: Path) -> None:
    rule = RULE.replace("learning_rate", "pace").replace(', dialect={"decoupled_weight_decay": False}', "")
    (project / "tiny.py").write_text(rule)
    status, said = command(*TINY, "--stages", "decay")
    assert (status, "'decay' has no place around Tiny: it needs learning_rate" in said) == (2, True)


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that another user may enter: a superuser's writes are never refused."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", ["optim", "."])
def test_a_read_only_folder(anybodys: Path, read_only: str, command: Callable[..., tuple[int, str]]) -> None:
    project = anybodys / "project"
    (project / "optim").mkdir(parents=True)
    (project / "tiny.py").write_text(RULE)
    arguments = [*ADD, str(project / "tiny.py"), "-t", "numpy", "--project", str(project), "--to"]
    assert command(*arguments, str(project / "other")) == (0, "")
    before = contents(project)
    user = os.geteuid()
    for path in (project, project / "optim", *(project / name for name in before)):
        if user == 0:
            os.chown(path, 65534, 65534)
    (project / read_only).chmod(0o555)
    try:
        if user == 0:
            os.seteuid(65534)
        status, said = command(*arguments, str(project / "optim"))
    finally:
        os.seteuid(user)
        (project / read_only).chmod(0o755)
    assert (status, "cannot be written: Permission denied; nothing was changed" in said) == (2, True), said
    assert contents(project) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is no JSON"),
        (lambda text: "", "is no JSON"),
        (lambda text: "[]", "has schema None"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "has schema 2, this optloom reads 1: use a newer"),
        (lambda text: text.replace('"schema": 1', '"schema": "x"'), "has schema 'x'"),
        (lambda text: text.replace('"src/mine/optim"', '"../../etc"'), "'../../etc' is no path inside the project"),
        (lambda text: text.replace('"numerics": "strict"', '"numerics": "lax"'), "numerics is 'lax'"),
        (lambda text: text.replace('"target"', '"tarket"'), "'target' is missing"),
        (lambda text: text.replace('"base": "eN', '"base": "!!'), "cannot be unpacked"),
        (lambda text: text.replace('"generated": "', '"generated": "0'), "does not fit its digest"),
        (lambda text: text.replace('"tiny.py"\n', '"tinier.py"\n'), "tinier.py' is part of an entry, but not of"),
        (lambda text: text.replace('"rule": "tiny.py"', '"rule": 3'), "rule is 3, no text"),
    ],
)  # fmt: skip
def test_a_lock_that_cannot_be_used(
    damage: Callable[[str], str], message: str, command: Callable[..., tuple[int, str]], project: Path, vendored: Path
) -> None:
    lock = project / LOCK
    text = damage(lock.read_text())
    assert text != lock.read_text()
    lock.write_text(text)
    before = contents(project)
    for arguments in (TINY, ("vendor", "update"), ("vendor", "check"), ("vendor", "diff")):
        status, said = command(*arguments)
        assert (status, message in said) == (2, True), said
        assert LOCK in said
    assert contents(project) == before
    with pytest.raises(LockError):
        vendor.read_lock(project)


def test_settings_edited_by_hand_are_what_update_follows(project: Path, vendored: Path) -> None:
    lock = project / LOCK
    content = json.loads(lock.read_text())
    content["entries"][0]["stages"] = []
    lock.write_text(json.dumps(content))
    assert vendor.update().written == (FILE,)
    assert "weight_decay" not in vendored.read_text()


def test_an_entry_taken_out_by_hand_is_forgotten(project: Path, vendored: Path) -> None:
    lock = project / LOCK
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "entries": []}))
    assert vendor.examine() == ()
    vendor.update()
    assert json.loads(lock.read_text())["files"] == {}
    assert vendored.exists()


def test_a_vendored_rule_whose_file_is_gone(
    command: Callable[..., tuple[int, str]], project: Path, vendored: Path
) -> None:
    (project / "tiny.py").unlink()
    before = contents(project)
    for name in ("check", "diff", "update"):
        status, said = command("vendor", name)
        assert (status, "tiny.py:1: no such rule file" in said) == (2, True)
    assert contents(project) == before


def test_check_by_its_status(
    command: Callable[..., tuple[int, str]], project: Path, vendored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("vendor", "check") == (0, "")
    vendored.unlink()
    assert command("vendor", "check")[0] == 1
    assert command("vendor", "update")[0] == 0
    vendored.write_text("mine\n")
    assert command("vendor", "check")[0] == 1
    status, said = command(*TINY)
    assert (status, FILE in said, "--force" in said) == (1, True, True)


def test_check_and_diff_as_json(project: Path, vendored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vendored.write_text(vendored.read_text() + "# mine\n")
    for name in ("check", "diff"):
        with pytest.raises(SystemExit):
            main(["vendor", name, "--json"])
    text = capsys.readouterr().out
    judged, end = json.JSONDecoder().raw_decode(text)
    assert judged == {"passed": False, "files": [{"path": FILE, "problems": ["edited"]}]}
    (shown,) = json.loads(text[end:])
    assert (shown["path"], shown["upstream"]) == (FILE, "")
    assert "+# mine" in shown["edits"]


@pytest.mark.parametrize("after", range(3))
def test_ctrl_c_in_the_middle(
    after: int, command: Callable[..., tuple[int, str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two files, everything is as it was before."""
    before = contents(project)
    replaced = []
    replace = os.replace

    def interrupted(*arguments: Any) -> None:
        if len(replaced) == after:
            replaced.append(None)
            signal.raise_signal(signal.SIGINT)
        replaced.append(None)
        replace(*arguments)

    monkeypatch.setattr(output.os, "replace", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        status, said = command(*TINY)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert status not in (0, None)
    assert len(said.splitlines()) <= 1
    assert contents(project) == before
    assert not (project / "src/mine/optim").exists()
    monkeypatch.undo()


def test_text_that_is_none(project: Path, vendored: Path) -> None:
    vendored.write_bytes(b"\xff\xfe")
    with pytest.raises(VendorError, match="is not UTF-8 text"):
        vendor.update()
    assert vendored.read_bytes() == b"\xff\xfe"
