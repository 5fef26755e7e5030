"""The commands: what they print, their exit status, and that each calls a plain function and no framework."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from optloom.codegen import api
from optloom.codegen.api import Selection, UnknownName
from optloom.codegen.cli import main
from optloom.codegen.conformance.report import Report
from optloom.codegen.conformance.suite import Cell, Result
from optloom.codegen.explain import explain
from optloom.codegen.output import MANIFEST, OutputError

Command = Callable[..., subprocess.CompletedProcess[str]]

IMPORT_ROOT = str(Path(__file__).resolve().parent.parent / ".ci" / "importroot")

RULE = """\
from optloom.spec import *

class Tiny(Rule):
    \"\"\"Gradient descent.\"\"\"

    learning_rate = Hyper(0.1)
    pace = Option("slow", choices=("slow", "still"))
    m = Slot("velocity", when=pace.is_("slow"))

    def step(self, w, g, t):
        self.m = g
        return w - where(self.pace.is_("slow"), self.learning_rate * self.m, 0 * g)
"""


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.py"
    file.write_text(RULE)
    return file


@pytest.fixture
def out(tmp_path: Path, optloom: Command, rule: Path) -> Path:
    """A folder generated from `rule` by the command."""
    done = optloom("generate", str(rule), "--target", "numpy", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"wrote    {tmp_path / 'out' / 'numpy' / 'tiny.py'}", "1 written, 0 unchanged, 0 removed",
    ]  # fmt: skip
    return tmp_path / "out"


def check(optloom: Command, rule: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return optloom("check", str(rule), "-t", "numpy", "--out", str(out), *more)


def test_check_of_fresh_files(optloom: Command, rule: Path, out: Path) -> None:
    done = check(optloom, rule, out)
    assert (done.returncode, done.stdout) == (0, "All generated files are as their rules say.\n")


def test_check_tells_an_edit(optloom: Command, rule: Path, out: Path) -> None:
    file = out / "numpy" / "tiny.py"
    file.write_text(file.read_text() + "# mine\n")
    done = check(optloom, rule, out)
    assert done.returncode == 1
    *diff, state, remedy = done.stdout.splitlines()
    assert "-# mine" in diff
    assert state == "edited     numpy/tiny.py"
    assert "optloom generate --force" in remedy


def test_check_tells_a_stale_file(optloom: Command, rule: Path, out: Path) -> None:
    rule.write_text(RULE.replace("Gradient descent.", "Descent along the gradient."))
    done = check(optloom, rule, out)
    assert done.returncode == 1
    *diff, state, remedy = done.stdout.splitlines()
    assert any(line.startswith("+") and "Descent along the gradient." in line for line in diff)
    assert (state, remedy) == ("stale      numpy/tiny.py", "To mend it: make generate")


def test_check_tells_a_missing_file(optloom: Command, rule: Path, out: Path) -> None:
    (out / "numpy" / "tiny.py").unlink()
    done = check(optloom, rule, out)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["missing    numpy/tiny.py", "To mend it: make generate"]


def test_check_as_json(optloom: Command, rule: Path, out: Path) -> None:
    assert json.loads(check(optloom, rule, out, "--json").stdout) == {"passed": True, "findings": []}
    (out / "numpy" / "tiny.py").unlink()
    done = check(optloom, rule, out, "--json")
    assert done.returncode == 1
    found = [{"path": "numpy/tiny.py", "state": "missing", "diff": ""}]
    assert json.loads(done.stdout) == {"passed": False, "findings": found}


def test_generate_refuses_to_lose_an_edit(optloom: Command, rule: Path, out: Path) -> None:
    file = out / "numpy" / "tiny.py"
    generated = file.read_text()
    file.write_text("mine")
    arguments = ("generate", str(rule), "-t", "numpy", "--out", str(out))
    refused = optloom(*arguments)
    assert (refused.returncode, refused.stdout, file.read_text()) == (1, "", "mine")
    assert str(file) in refused.stderr
    assert "--force" in refused.stderr
    assert optloom(*arguments, "--force").returncode == 0
    assert file.read_text() == generated


def test_a_rule_file_needs_a_folder(optloom: Command, rule: Path) -> None:
    done = optloom("generate", str(rule))
    assert done.returncode == 2
    assert "--out" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "adamm"), "no rule is called 'adamm': did you mean adam"),
        (("explain", "adamm"), "no rule is called 'adamm': did you mean adam"),
        (("list", "zzz"), "no rule is called 'zzz': known: "),
        (("generate", "adam", "--target", "pytorhc"), "no target is called 'pytorhc': did you mean pytorch?"),
        (("check", "--target", "zzz"), "no target is called 'zzz': known: "),
        (("generate", "adam", "--numerics", "quick"), "'quick' is not one of 'strict', 'fast'"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)  # fmt: skip
def test_bad_arguments(optloom: Command, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    out = ("--out", str(tmp_path / "out")) if arguments[0] in ("generate", "check") else ()
    done = optloom(*arguments, *out)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(optloom: Command, rule: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = optloom("generate", str(rule), "-t", "numpy", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out").read_text() == "a file"


def test_a_named_pair_that_is_not_printed_is_an_error(optloom: Command, rule: Path, tmp_path: Path) -> None:
    done = optloom("generate", str(rule), "-t", "numpy", "--numerics", "fast", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "target numpy does not print fast numerics" in done.stderr
    assert not (tmp_path / "out").exists()


def test_list(optloom: Command) -> None:
    done = optloom("list")
    heading, *rows = done.stdout.splitlines()
    assert done.returncode == 0
    assert heading.split()[:1] == ["rule"]
    listed = {row.split()[0] for row in rows if not row.startswith(" ") and ":" not in row.split()[0]}
    assert listed == set(api.rules_named())


def test_list_as_json(optloom: Command) -> None:
    entries = {entry["name"]: entry for entry in json.loads(optloom("list", "--json").stdout)}
    assert entries["adam"]["hyperparameters"] == {
        "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
    }  # fmt: skip
    assert entries["adam"]["slots"] == ["m", "v", "v_hat"]
    assert entries["adam"]["targets"]["numpy"] == "strict"
    for entry in entries.values():
        assert set(entry["targets"]) | set(entry["missing"]) == set(api.targets_named())


def test_explain_shows_every_pass_and_the_bytes(optloom: Command) -> None:
    done = optloom("explain", "lamb")
    assert done.returncode == 0
    for view in explain(api.rules_named(["lamb"])["lamb"]).passes:
        assert f"after {view.name}" in done.stdout
    assert "24 bytes  default" in done.stdout
    assert "16 bytes  default" in done.stdout
    assert "40 bytes  default" in done.stdout.partition("all together")[2]


def test_explain_counts_operations_and_bytes() -> None:
    explanation = explain(api.rules_named(["adam"])["adam"], stages=api.stages_named(["accumulate", "decay"]))
    names = [view.name for view in explanation.passes]
    assert names[0] == "freeze"
    assert names[-1] == "legalise"
    final = explanation.passes[-1].operations
    # m: 2 mul, add; v: 2 mul, square, add; v_hat: maximum; w: mul, div, sqrt, add, sub; decay: mul, sub; the mean's mul
    assert final["per element"] == {
        "add": 4, "div": 1, "maximum": 1, "mul": 7, "sqrt": 1, "square": 1, "sub": 2,
    }  # fmt: skip
    update = explanation.phases[-1].bytes_moved
    assert update["default"] == 4 * (4 + 3)
    assert update["amsgrad=True"] == 4 * (5 + 4)
    assert explanation.bytes_moved["gradient_accumulation_steps given"] == 4 * (5 + 4)


def test_explain_prints_the_bytes_of_the_whole_step(optloom: Command) -> None:
    done = optloom("explain", "adam", "--stages", "unscale,global_clipnorm,decay,ema")
    assert "40 bytes  use_ema, loss_scale_factor, global_clipnorm, weight_decay" in done.stdout
    assert optloom("explain", "adam", "--stages", "clap").returncode == 2


def test_explain_a_rule_of_ones_own(optloom: Command, rule: Path) -> None:
    told = json.loads(optloom("explain", str(rule), "--json").stdout)
    assert told["rule"] == "Tiny"
    assert told["phases"][-1]["bytes_moved"]["default"] == 16
    assert told["phases"][-1]["bytes_moved"]["pace=still"] == 12


def test_nothing_but_text_where_nobody_watches(optloom: Command) -> None:
    for command in (("list",), ("explain", "adam"), ("check", "adam", "--out", "/nonexistent")):
        assert "\x1b" not in optloom(*command).stdout


def test_no_framework_is_imported(optloom: Command, tmp_path: Path) -> None:
    """Frameworks that fail to import change nothing."""
    for framework in ("torch", "tensorflow", "keras", "jax", "jaxlib", "optax", "numpy"):
        (tmp_path / framework).mkdir()
        (tmp_path / framework / "__init__.py").write_text("raise ImportError('imported by the generator')")
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from optloom.codegen import api\n"
        "api.generate(api.Selection(rules=('adam', 'muon')), pathlib.Path(sys.argv[2])); api.catalogue()\n"
    )
    environment = os.environ | {"PYTHONPATH": IMPORT_ROOT}
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / MANIFEST).exists()


def test_conform(optloom: Command, rule: Path) -> None:
    arguments = ("conform", str(rule), "-t", "numpy", "-d", "float32", "--quick")
    done = optloom(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    heading, *rows, counts, verdict = done.stdout.splitlines()
    assert heading.split()[:6] == ["rule", "target", "mode", "numerics", "dtype", "class"]
    assert [row.split()[:6] for row in rows] == [["tiny", "numpy", "plain", "strict", "float32", "BIT"]]
    assert (counts.split(";")[0].split()[1], verdict) == ("BIT", "passed")
    told = json.loads(optloom(*arguments, "--json").stdout)
    assert told["passed"] is True
    assert set(told["counts"]) == {"BIT"}


FAILED = Result(Cell("tiny", "default", "numpy", "plain", "strict", "float32", "step"), "FAIL", False, note="all wrong")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report([FAILED], [], "0" * 64), "FAIL tiny/default/numpy/plain/strict/float32/step: all wrong"),
        (Report([], ["listed, but applies no more"], "0" * 64), "listed, but applies no more"),
        (Report([], [], "0" * 64), "nothing was judged"),
        (Report([replace(FAILED, kind="BIT")], [], "0" * 64, {"numpy": "absent"}), "numpy did not run: absent"),
    ],
    ids=["a cell fails", "a stale deviation", "nothing", "a named target cannot run"],
)  # fmt: skip
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_conform_ends_with_1(
    report: Report, said: str, form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "conform", lambda *_, **__: report)
    with pytest.raises(SystemExit) as ended:
        main(["conform", "adam", "--target", "numpy", *form])
    printed = capsys.readouterr().out
    assert ended.value.code == 1
    assert json.loads(printed) == report.as_json() if form else said in printed


def test_conform_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object, **__: object) -> Report:
        raise ModuleNotFoundError("conform needs gmpy2: pip install optloom[conform]", name="gmpy2")

    monkeypatch.setattr(api, "conform", missing)
    with pytest.raises(SystemExit) as ended:
        main(["conform", "adam"])
    assert ended.value.code == 2
    assert "pip install optloom[conform]" in capsys.readouterr().err


def _all_of(terminal: int) -> str:
    """What was written to a terminal whose other end is closed."""
    parts = []
    with os.fdopen(terminal, "rb", buffering=0) as file, suppress(OSError):  # Linux tells the end by an error
        while part := file.read(10_000):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.parametrize("command", [("generate", "-t", "numpy"), ("page",)])
def test_a_bar_on_a_terminal_only(command: tuple[str, ...], rule: Path, tmp_path: Path, optloom: Command) -> None:
    name, *options = command
    (tmp_path / "out").mkdir()
    arguments = (name, str(rule), *options, "--out", str(tmp_path / "out"))
    assert optloom(*arguments).stderr == ""
    terminal, end = pty.openpty()
    environment = os.environ | {"PYTHONPATH": IMPORT_ROOT, "TERM": "xterm", "COLUMNS": "100"}
    whole = [sys.executable, "-m", "optloom.codegen", *arguments]
    with subprocess.Popen(whole, env=environment, stdout=subprocess.DEVNULL, stderr=end) as running:
        os.close(end)
        shown = _all_of(terminal)  # while it is written: a terminal holds 4 KiB
    assert running.returncode == 0
    assert name in shown
    assert "1/1" in shown or "0/1" in shown


def test_one_rule_again_leaves_nothing_stale(tmp_path: Path) -> None:
    """Support files that several rules bring along belong to none of them."""
    selection = Selection(("adam", "sgd"), ("pytorch",))
    api.generate(selection, tmp_path)
    assert api.generate(Selection(("sgd",), ("pytorch",)), tmp_path).report.written == ()
    assert api.check(selection, tmp_path) == ()


def test_functions_refuse_what_the_command_refuses(rule: Path) -> None:
    with pytest.raises(UnknownName):
        api.rules_named(["nope"])
    with pytest.raises(UnknownName):
        api.targets_named(["nope"])
    with pytest.raises(OutputError, match="--out"):
        api.generate(Selection((str(rule),)))


def test_the_committed_files_are_checked_against_the_rules() -> None:
    """What CI's drift check says, from Python."""
    assert api.check(Selection(rules=("adam", "muon"))) == ()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("optloom ven", {"vendor"}),
        ("optloom show adama", {"adamax"}),
        ("optloom generate adam --target py", {"pytorch"}),
        ("optloom vendor add lam", {"lamb"}),
    ],
)
def test_the_shell_completes(optloom: Command, words: str, offered: set[str]) -> None:
    last = len(words.split()) - 1
    asked = {"_OPTLOOM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(last)}
    assert set(optloom(environment=asked).stdout.split()) == offered


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """What the command prints where standard output and error are a terminal."""
    terminal, end = pty.openpty()
    environment = os.environ | {"PYTHONPATH": IMPORT_ROOT, "COLUMNS": "150", "TERM": "xterm-256color"} | variables
    command = [sys.executable, "-m", "optloom.codegen", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=end, stderr=end)
    os.close(end)
    shown = b""
    while part := _read(terminal):
        shown += part
    process.wait()
    os.close(terminal)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_colours_are_for_terminals_that_have_them(rule: Path) -> None:
    coloured = on_a_terminal("show", str(rule))
    assert "\x1b[1" in coloured and "learning_rate" in coloured
    assert "\x1b" not in on_a_terminal("show", str(rule), TERM="dumb")
    assert not re.search(r"\x1b\[[\d;]*3\d", on_a_terminal("show", str(rule), NO_COLOR="1"))


def test_ctrl_c_leaves_everything_as_it_was(rule: Path, out: Path) -> None:
    """In the middle of generating, and once more in the middle of writing."""
    before = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    rule.write_text(RULE.replace("Gradient descent.", "Descent along the gradient."))
    code = (
        "import os, signal, sys\n"
        "from optloom.codegen import compiler, output\n"
        "from optloom.codegen.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "module = {'render': compiler, 'write': output.os}[sys.argv[1]]\n"
        "name = {'render': 'formatted', 'write': 'replace'}[sys.argv[1]]\n"
        "real = getattr(module, name)\n"
        "def once(*arguments):\n"
        "    setattr(module, name, real)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "setattr(module, name, once)\n"
        "main(sys.argv[2:])\n"
    )
    for moment in ("render", "write"):
        command = [sys.executable, "-c", code, moment, "generate", str(rule), "-t", "numpy", "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": IMPORT_ROOT}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == "interrupted: what was not finished was not written\n"
        assert {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()} == before
