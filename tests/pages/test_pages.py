"""The pages made from the specs: all that a rule declares is on its page, formulas are well-formed, runs are right."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from optloom.codegen.compiler import Settings, specialised
from optloom.codegen.discovery import discover
from optloom.codegen.pages import mathml
from optloom.codegen.pages.commands import reference
from optloom.codegen.pages.landscapes import BESIDE, LANDSCAPES, RATES, SEEDS, STEPS, Landscape, tuned
from optloom.codegen.pages.measured import Measured, measured
from optloom.codegen.pages.readme import conformance, filled
from optloom.codegen.pages.rule import page
from optloom.codegen.show import show

Command = Callable[..., subprocess.CompletedProcess[str]]
RULES = discover()
ROOT = Path(__file__).resolve().parent.parent.parent


def formula(name: str) -> ElementTree.Element:
    text = page(RULES[name], Measured())
    found = re.search(r"<math.*?</math>", text, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


@pytest.mark.parametrize("name", RULES)
def test_all_that_a_rule_declares_is_on_its_page(name: str) -> None:
    view, text = show(RULES[name]), page(RULES[name], Measured())
    assert text.startswith(f"# {view.rule}\n")
    assert len(formula(name).findall("mtable/mtr")) == len(view.formula)
    for declared in (*view.hyperparameters, *view.options, *view.slots):
        assert f"| `{declared.name}` |" in text, declared.name
    for peer in view.peers:
        assert f"### `{peer.path}`" in text
    assert text.count("Not measured yet") == 2
    cells = {line.count("|") - line.count(r"\|") for line in text.splitlines() if line.startswith("| `")}
    assert len(cells) <= 3, "the rows of a table have its columns"


def test_a_formula_is_mathematics() -> None:
    """Fractions are fractions, indices are indices; what it says is what the terminal's line says."""
    rows = formula("adamax").findall("mtable/mtr")
    said = ["".join(row.itertext()) for row in rows]
    assert said == ["m=β1·m+(1−β1)·g", "u=max(β2·u,|g|)", "rate=learning_rate1−β1t", "w=w−rate·mu+ε"]  # noqa: RUF001
    (fraction,) = rows[2].iter("mfrac")
    assert ["".join(part.itertext()) for part in fraction] == ["learning_rate", "1−β1t"]  # noqa: RUF001
    (power,) = fraction.iter("msubsup")
    assert [part.tag for part in power] == ["mi", "mn", "mrow"]


def test_grouping_is_kept() -> None:
    program = specialised(RULES["lamb"], Settings(stages=()))
    shown = mathml.block(program)
    assert shown.count("<msqrt>") == 3
    assert "<mtext>if&#160;</mtext>" in shown and "<mtext>otherwise</mtext>" in shown


def test_what_was_measured_is_shown() -> None:
    cell = {"class": "BOUND", "ratio": 0.71, "counts": {"BIT": 3, "BOUND": 9}}
    accuracy = {"target": "numpy", "who": "Adam", "way": "plain", "median": 0.912, "worst": 5.25}
    speed = {"target": "pytorch", "way": "fused", "workload": "one of 1M", "peer": "torch.optim.Adam",
             "ratio": 1.234, "ns": 0.5}  # fmt: skip
    measured = Measured(
        {"adam": {"pytorch": cell}}, "", {"adam": {"accuracy": [accuracy], "speed": [speed]}},
        {"processor": "a <machine>", "cores": 2},
    )  # fmt: skip
    text = page(RULES["adam"], measured)
    assert "| pytorch | BOUND | 0.71 | 3 BIT, 9 BOUND |" in text
    assert "| `Adam` | plain | 0.91 | 5.25 |" in text
    assert "| pytorch | fused | one of 1M | `torch.optim.Adam` | 1.23 | 0.50 |" in text
    assert "a &lt;machine&gt;, 2 cores" in text
    assert "Not measured yet" not in text


def test_targets_that_do_not_print_it_say_why() -> None:
    text = page(RULES["adam"], Measured(), missing={"jax": "no such <operation>"})
    assert "Not for jax: no such &lt;operation&gt;." in text
    assert "--target jax" not in text
    assert "--target pytorch" in text


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)
def test_gradients_and_curvatures_are_derivatives(landscape: Landscape) -> None:
    h = 1e-5
    for seed in range(5):
        p = landscape.start(seed)
        for axis, unit in enumerate(np.eye(2) * h):
            forth, back = landscape.value(*(p + unit)), landscape.value(*(p - unit))
            assert landscape.gradient(p)[axis] == pytest.approx((forth - back) / (2 * h), rel=1e-6, abs=1e-5)
            second = (landscape.gradient(p + unit)[axis] - landscape.gradient(p - unit)[axis]) / (2 * h)
            assert landscape.curvature(p)[axis] == pytest.approx(second, rel=1e-6, abs=1e-5)
    assert landscape.value(*landscape.lowest) == 0
    assert not landscape.gradient(np.array(landscape.lowest)).any()


def test_the_run_shown_is_the_best_of_the_budget() -> None:
    """Gradient descent done by hand, at every learning rate."""
    landscape = LANDSCAPES[0]
    run = tuned(RULES["sgd"], landscape)
    last = {}
    for rate in RATES:
        ends = []
        for seed in SEEDS:
            p = landscape.start(seed)
            with np.errstate(all="ignore"):
                for _ in range(STEPS):
                    p = p - rate * landscape.gradient(p)
                ends.append(landscape.value(*p))
        last[rate] = np.nan_to_num(np.mean(ends), nan=np.inf)
    assert run.rate == min(last, key=lambda rate: last[rate])
    assert [len(path) for path in run.paths] == [STEPS + 1] * len(SEEDS)
    assert np.mean([values[-1] for values in run.values(landscape)]) == pytest.approx(last[run.rate], rel=1e-9)


def test_the_drawing() -> None:
    pytest.importorskip("contourpy")
    from optloom.codegen.pages.drawing import figure

    rows = [(landscape, [tuned(RULES[name], landscape) for name in BESIDE]) for landscape in LANDSCAPES]
    drawn = figure(rows, "two rules")
    picture = ElementTree.fromstring(drawn)
    svg = "{http://www.w3.org/2000/svg}"
    for index in range(len(BESIDE)):
        kind = ("rule", "beside-0")[index]
        assert len([one for one in picture.iter(f"{svg}path") if one.get("class") == kind]) == 2 * len(LANDSCAPES)
    assert len(drawn) < 80_000
    assert figure(rows, "two rules") == drawn
    assert not re.search("nan|inf", "".join(path.get("d", "") for path in picture.iter(f"{svg}path")))


def test_a_page_of_a_rule_of_ones_own(optloom: Command, tmp_path: Path) -> None:
    pytest.importorskip("contourpy")
    assert optloom("new", "tiger", cwd=tmp_path).returncode == 0
    done = optloom("page", "./tiger.py", "--out", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "wrote tiger.md")
    text = (tmp_path / "tiger.md").read_text()
    assert text.startswith("# Tiger\n") and "<svg class=" in text
    lost = optloom("page", "./tiger.py", "--out", "nowhere", cwd=tmp_path)
    assert (lost.returncode, "nowhere does not exist" in lost.stderr) == (2, True)


def test_the_command_line_s_page(optloom: Command) -> None:
    text = reference()
    shown = set(re.findall(r"^## `optloom ([a-z]+)`", text, re.MULTILINE))
    helped = set(re.findall(r"^│ ([a-z]+) ", optloom("--help").stdout, re.MULTILINE))
    assert shown == helped
    assert "### `optloom vendor add`" in text
    assert "| `--numerics` |" in text


def test_the_readme_s_tables_are_what_was_measured() -> None:
    text = (ROOT / "README.md").read_text()
    assert filled(text, measured(), ROOT) == text, "python benchmarks/rules.py --tables"
    assert f"| torch | 2.13 | {version('torch')[:6]} |" in text


def test_a_table_of_conformance() -> None:
    cell = {"class": "BIT", "ratio": 0.987, "counts": {"BIT": 3}}
    found = conformance(Measured({"adam": {"jax": cell}, "lamb": {"cpp": {**cell, "ratio": None}}}))
    assert found.splitlines() == [
        "| rule | cpp | jax |",
        "| --- | --- | --- |",
        "| `adam` | \N{EN DASH} | BIT 0.99 |",
        "| `lamb` | BIT | \N{EN DASH} |",
    ]
