"""Reading the suite's JSON, and Markdown, JUnit's XML and badges made of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_up import MARKUP, cell, run
from optloom.codegen.conformance import conform
from optloom.codegen.discovery import discover
from optloom.codegen.report import Conformance, ReportError, badge, html, junit, load, markdown, summary

Command = Callable[..., subprocess.CompletedProcess[str]]
ID = "adam/plain/{}/eager/strict/float32/step"


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Conformance]:
    def make(*cells: dict[str, Any], **more: Any) -> Conformance:
        file = tmp_path / "made.json"
        file.write_text(json.dumps(run(list(cells), **more)))
        return load([file])

    return make


def test_what_conform_writes_is_read(tmp_path: Path) -> None:
    """A real run: every judged cell has its worst case, whole, and its histogram counts ordinary results."""
    file = tmp_path / "run.json"
    rules = {"adamax": discover()["adamax"]}
    file.write_text(json.dumps(conform(rules, ["numpy"], dtypes=["float32"], extent="quick").as_json()))
    found = load([file])
    assert found.passed and found.extent == "quick" and found.counts() == {"BIT": len(found.cells)}
    for one in found.cells:
        assert sum(one.histogram.values()) > 100 and one.worst is not None
        assert {"w", "g", "m", "u"} <= one.worst["inputs"].keys()
        assert len(one.worst["expected"].partition("e")[0].lstrip("-").replace(".", "")) > 20
        numbers = one.worst["hyperparameters"]
        assert float.fromhex(numbers["beta_1"]) < 1 and one.worst["bound"] > 0
        assert found.command(one) == "optloom conform adamax -t numpy -d float32 --numerics strict --quick"
    assert '"adamax"' in html(found)


def test_the_worst_case_is_the_one_that_was_judged() -> None:
    """Its inputs, put into the formula in exact arithmetic, give the oracle's digits."""
    from fractions import Fraction

    rules = {"adamax": discover()["adamax"]}
    plain = conform(rules, ["numpy"], dtypes=["float32"], extent="quick").as_json()
    for entry in plain["cells"]:
        worst = entry["worst"]
        if "plain" not in entry["id"].split("/")[1]:
            continue
        given = {name: Fraction(float.fromhex(text)) for name, text in worst["inputs"].items()}
        numbers = {n: Fraction(float.fromhex(t)) for n, t in worst["hyperparameters"].items() if isinstance(t, str)}
        b1, b2 = numbers["beta_1"], numbers["beta_2"]
        m, u = b1 * given["m"] + (1 - b1) * given["g"], max(b2 * given["u"], abs(given["g"]))
        assert worst["output"] in ("w", "m", "u")
        if worst["output"] == "w" and worst["step"] > 1000:
            continue
        rate = numbers["learning_rate"] / (1 - b1 ** worst["step"])
        value = {"m": m, "u": u, "w": given["w"] - rate * m / (u + numbers["epsilon"])}[worst["output"]]
        assert abs(Fraction(worst["expected"]) - value) <= Fraction(worst["bound"]), entry["id"]


def test_older_reports_are_read(loaded: Callable[..., Conformance]) -> None:
    old = cell(ID.format("cpp"))
    worst = {key: old["worst"][key] for key in ("element", "output", "step", "actual", "expected")}
    del old["histogram"]
    found = loaded(old | {"worst": worst}, schema=1)
    assert found.cells[0].histogram == {} and "0x1.8" in html(found)


def test_the_markdown_of_one_run(saved: Path) -> None:
    text = markdown(load([saved]))
    assert text.splitlines()[0] == "### Conformance **failed**"
    assert "36 cells: 2 FAIL, 2 DEV, 2 FTZ, 2 BOUND, 26 BIT, 2 SKIP." in text
    assert "- cpp did not run: not installed: g++" in text
    assert "| rule_1 |  | BOUND 1.10 | BIT 1.10 | BIT 1.10 |" in text


def test_the_markdown_has_only_what_changed(loaded: Callable[..., Conformance]) -> None:
    old = loaded(
        cell(ID.format("a")), cell(ID.format("b")), cell(ID.format("c"), digest="1"),
        cell(ID.format("d"), "FAIL", None),
        cell(ID.format("e")), cell(ID.format("f"), ratio=0.50), cell(ID.format("g"), ratio=0.5),
        cell(ID.format("gone")),
    )  # fmt: skip
    new = loaded(
        cell(ID.format("a")), cell(ID.format("b"), "FAIL", 3.0, note="off\nby much"), cell(ID.format("c"), digest="2"),
        cell(ID.format("d")), cell(ID.format("e"), "BOUND"), cell(ID.format("f"), ratio=0.54),
        cell(ID.format("g"), ratio=0.9), cell(ID.format("new")),
    )  # fmt: skip
    assert markdown(new, old).splitlines()[4:] == [
        "**Now failing** (1)", "", "- `adam/plain/b/eager/strict/float32/step`: off; error 3 times the bound", "",
        "**No longer failing** (1)", "", "- `adam/plain/d/eager/strict/float32/step`: BIT", "",
        "**Other class** (1)", "", "- `adam/plain/e/eager/strict/float32/step`: BIT → BOUND", "",
        "**Larger error over bound** (2)", "", "- `adam/plain/b/eager/strict/float32/step`: 0.500 → 3.000",
        "- `adam/plain/g/eager/strict/float32/step`: 0.500 → 0.900", "",
        "**Smaller error over bound** (1)", "", "- `adam/plain/d/eager/strict/float32/step`: inf → 0.500", "",
        "**Other bits after the run** (1)", "", "- `adam/plain/c/eager/strict/float32/step`", "",
        "**New cells** (1)", "", "- adam in new: 1 cells", "", "**Cells that are gone** (1)", "",
        "- adam in gone: 1 cells",
    ]  # fmt: skip
    assert markdown(new, new).splitlines()[-1] == "No cell changed."


def test_junit(saved: Path) -> None:
    root = ElementTree.fromstring(junit(load([saved])))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["cpp", "jax", "numpy", "pytorch"]
    assert suites["jax"].attrib == {"name": "jax", "tests": "12", "failures": "2", "skipped": "2", "errors": "0"}
    failure = suites["jax"].find("testcase/failure")
    assert failure is not None and failure.get("message") == MARKUP
    assert "optloom conform rule_5 -t jax" in (failure.text or "")
    assert suites["cpp"].find("testcase/error") is not None


@pytest.mark.parametrize(
    ("cells", "more", "message", "color"),
    [
        (["BIT", "BOUND", "SKIP"], {}, "2 cells, 1 bit for bit", "brightgreen"),
        (["BIT", "FAIL"], {}, "1 failing", "red"),
        (["BIT"], {"stale_deviations": ["x"]}, "1 failing", "red"),
        (["SKIP"], {}, "nothing judged", "lightgrey"),
    ],
)
def test_badge(loaded: Callable[..., Conformance], cells: list[str], more: Any, message: str, color: str) -> None:
    made = json.loads(badge(loaded(*(cell(ID.format(i), kind) for i, kind in enumerate(cells)), **more)))
    assert made == {"schemaVersion": 1, "label": "conformance", "message": message, "color": color}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"), ("[]", "no report of the suite"), ('{"schema": 9, "cells": []}', "schema 9 is newer"),
        ('{"schema": 2, "corpus": "", "cells": [{"id": "x"}]}', "the cell 'x' cannot be read"),
        ("\udcff", "no JSON"),
    ],
)  # fmt: skip
def test_bad_files(optloom: Command, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReportError, match=said):
        load([file])


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    for name, made in (("a", run([cell(ID.format("x"))])), ("b", run([cell(ID.format("x"), ratio=0.7)])),
                       ("c", run([], corpus="other"))):  # fmt: skip
        (tmp_path / name).write_text(json.dumps(made))
    with pytest.raises(ReportError, match="in another file too"):
        load([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ReportError, match="different corpora"):
        load([tmp_path / "a", tmp_path / "c"])
    assert len(load([tmp_path / "a", tmp_path / "a"]).cells) == 1


def test_the_command(optloom: Command, saved: Path, tmp_path: Path) -> None:
    names = [f"--{kind}={tmp_path / kind}" for kind in ("html", "markdown", "junit", "badge")]
    done = optloom("report", str(saved), *names)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("wrote") == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["badge", "html", "junit", "markdown", "run.json"]
    assert optloom("report", str(saved)).stdout == (tmp_path / "markdown").read_text()
    plain = json.loads(optloom("report", str(saved), "--json").stdout)
    assert plain["passed"] is False and plain["counts"]["FAIL"] == 2
    against = optloom("report", str(saved), "--against", str(saved)).stdout
    assert against.endswith("No cell changed.\n")


@pytest.mark.parametrize("where", ["missing/page.html", "twice"])
def test_where_it_cannot_write(optloom: Command, saved: Path, tmp_path: Path, where: str) -> None:
    arguments = ["--html=x", "--badge=x"] if where == "twice" else [f"--html={where}"]
    done = optloom("report", str(saved), *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_file_that_is_not_there(optloom: Command, tmp_path: Path) -> None:
    done = optloom("report", "absent.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "absent.json: no such file or directory\n")


def test_a_summary_has_the_lowest_class_and_the_worst_error(loaded: Callable[..., Conformance]) -> None:
    adam = "adam/plain/{}/eager/strict/{}/step"
    run_ = loaded(
        cell(adam.format("jax", "float32"), "BOUND", 0.25),
        cell(adam.format("jax", "float64"), "BIT", 1.5),
        cell(adam.format("jax", "float16"), "SKIP", 0.0),
        cell(adam.format("cpp", "float32"), "SKIP", 0.0),
        cell(adam.format("numpy", "float32"), "FAIL", None),
    )
    told = json.loads(summary(run_))
    assert (told["schema"], told["extent"]) == (1, "usual")
    assert told["rules"] == {
        "adam": {
            "jax": {"class": "BOUND", "ratio": 1.5, "counts": {"BOUND": 1, "BIT": 1, "SKIP": 1}},
            "numpy": {"class": "FAIL", "ratio": None, "counts": {"FAIL": 1}},
        }
    }
