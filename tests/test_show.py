"""`optloom show`: all of it derived, in under a second, and without a framework."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from optloom.codegen import mathematics, recorded
from optloom.codegen.compiler import Settings, frozen, specialised
from optloom.codegen.dialects import EVERY
from optloom.codegen.discovery import discover, targets
from optloom.codegen.recorded import view_of
from optloom.codegen.show import memory, names_by_target, show

Command = Callable[..., subprocess.CompletedProcess[str]]
RULES = discover()
GENERATED = Path(__file__).resolve().parent.parent / "generated"


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_shown(name: str) -> None:
    view = show(RULES[name])
    assert (view.name, view.rule) == (name, RULES[name].__name__)
    assert len(view.formula) == len(view.unicode) == view.latex.count("&=")
    assert view.latex.count("{") == view.latex.count("}") and view.latex.count(r"\left") == view.latex.count(r"\right")
    assert [peer.path for peer in view.peers] == [peer.path for peer in RULES[name].peers]
    assert view.bytes_moved["default"] == sum(phase.bytes_moved["default"] for phase in view.phases)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_what_is_recorded_is_what_is_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = json.loads(json.dumps(asdict(show(RULES[name]))))
    assert json.loads(json.dumps(asdict(view_of(name, RULES[name])))) == derived
    monkeypatch.setattr(recorded, "show", lambda rule: "derived")
    assert view_of(name, RULES[name]) != "derived", "nothing is traced"
    assert view_of(name, RULES["sgd"]) == "derived", "another rule of that name"


def test_the_formula_of_adamax() -> None:
    view = show(RULES["adamax"])
    assert view.unicode == (
        "   m = β₁·m + (1 − β₁)·g",  # noqa: RUF001
        "   u = max(β₂·u, |g|)",
        "rate = learning_rate / (1 − β₁ᵗ)",  # noqa: RUF001
        "   w = w − rate·m / (u + ε)",  # noqa: RUF001
    )
    assert view.latex.splitlines()[1:-1] == [
        r"m &= \beta_{1} \, m + \left(1 - \beta_{1}\right) \, g \\",
        r"u &= \max\left(\beta_{2} \, u, \left|g\right|\right) \\",
        r"\mathrm{rate} &= \frac{\mathrm{learning\_rate}}{1 - \beta_{1}^{t}} \\",
        r"w &= w - \frac{\mathrm{rate} \, m}{u + \epsilon}",
    ]
    assert view.formula[0] == "m = beta_1 * m + (1 - beta_1) * g"


@pytest.mark.parametrize("name", RULES)
def test_grouping_survives(name: str) -> None:
    """The Unicode formula, with Python's signs, is the same arithmetic as the ASCII one: the same value at a point."""
    program = specialised(RULES[name], Settings(stages=()))
    plain, pretty = mathematics.plain_lines(program), mathematics.unicode_lines(program)
    back = {letter: word for word, letter in mathematics.GREEK.items()}
    compared = 0
    for a, b in zip(plain, pretty, strict=True):
        if re.search(r"sum|size|total|where|transpose|matmul| if |remainder", a):
            continue
        b = re.sub("[₀-₉]", lambda digit: f"_{ord(digit[0]) - 0x2080}", b.strip())
        b = re.sub(f"(.){mathematics.HAT}", r"\1_hat", b)
        b = "".join(back.get(letter, letter) for letter in b)
        for _ in range(2):  # roots of roots
            b = re.sub(r"√(\w*\((?:[^()]|\([^()]*\))*\)|\w+)", r"sqrt(\1)", b)
        b = b.replace("·", " * ").replace("²", "**2").replace("ᵗ", "**t").replace("max(", "maximum(")
        b = b.replace("min(", "minimum(").replace("−", "-").replace("^", "**")  # noqa: RUF001
        a, b = (re.sub(r"\|(\w+)\|", r"abs(\1)", text).partition(" = ")[2] for text in (a, b))
        names = {word: 0.1 + 0.07 * i for i, word in enumerate(sorted(set(re.findall(r"[a-z]\w*", a))))}
        functions = {"sqrt": lambda x: abs(x) ** 0.5, "maximum": max, "minimum": min, "abs": abs}
        functions |= {"sign": lambda x: (x > 0) - (x < 0), "exp": math.exp, "tanh": math.tanh}
        assert eval(a, {}, names | functions) == eval(b, {}, names | functions), (a, b)
        compared += 1
    assert compared or name in ("muon", "lookahead", "sgd", "adafactor", "prodigy", "sm3")


def test_names_are_those_of_the_generated_code() -> None:
    """What `show` says that users write is in the signature of the generated class."""
    for name, rule in RULES.items():
        named = names_by_target(frozen(rule))
        for target, suffix in (("pytorch", "py"), ("jax", "py"), ("tensorflow", "py")):
            file = GENERATED / target / f"{name}.{suffix}"
            if not file.exists():
                continue
            text = file.read_text()
            for hyper in frozen(rule).hypers:
                if hyper.name in named[target]:
                    argument = named[target][hyper.name].partition("[")[0]
                    assert re.search(rf"\b{argument}\b\s*[:=]", text), (name, target, argument)


def test_names_in_each_ecosystem() -> None:
    view = show(RULES["adam"])
    names = {hyper.name: hyper.names for hyper in view.hyperparameters}
    assert names["beta_1"] == {"jax": "b1", "pytorch": "betas[0]", "tensorflow": "beta_1"}
    assert names["learning_rate"] == {"jax": "learning_rate", "pytorch": "lr", "tensorflow": "learning_rate"}
    slots = {slot.name: slot.names for slot in view.slots}
    assert slots["v"] == {"jax": "nu", "pytorch": "exp_avg_sq", "tensorflow": "velocity"}
    coupled = next(option for option in view.options if option.name == "decoupled_weight_decay")
    assert set(coupled.names) == {"pytorch"}, "only where the target's own peer differs"
    assert set(names["beta_1"]) == {name for name, target in targets().items() if target.ecosystem not in ("", EVERY)}


def test_memory_and_bounds() -> None:
    found = memory(frozen(RULES["adam"]))
    assert found["default"] == 8 and found["amsgrad=True"] == found["gradient_accumulation_steps given"] == 12
    assert memory(frozen(RULES["sgd"]))["default"] == 0
    beta = next(hyper for hyper in show(RULES["adam"]).hyperparameters if hyper.name == "beta_1")
    assert beta.bounds == ((">=", 0), ("<", 1))


def test_the_command(optloom: Command) -> None:
    done = optloom("show", "adamax")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("u = max(β₂·u, |g|)", "betas[0]", ">= 0, < 1", "exp_inf", "8 bytes", "torch.optim.Adamax"):
        assert text in done.stdout, text
    assert "\x1b" not in done.stdout, "no colours where nobody reads them"
    plain = json.loads(optloom("show", "adamax", "--json").stdout)
    assert plain["unicode"][1].strip() == "u = max(β₂·u, |g|)" and plain["memory"] == {
        "default": 8, "gradient_accumulation_steps given": 12, "use_ema=True": 12,
    }  # fmt: skip
    assert optloom("show", "adamax", "--latex").stdout.startswith(r"\begin{aligned}")


def test_a_terminal_without_unicode(optloom: Command) -> None:
    done = optloom("show", "adamax", environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "u = maximum(beta_2 * u, |g|)" in done.stdout and done.stdout.isascii()


@pytest.mark.parametrize(
    ("name", "said"),
    [("adamx", "did you mean"), ("no/such/rule.py", "no such rule file"), ("broken.py", "broken.py:2")],
)
def test_bad_input(optloom: Command, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "broken.py").write_text("from optloom.spec import *\nclass Broken(Rule\n")
    done = optloom("show", name, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_rule_of_ones_own(optloom: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiger.py"
    file.write_text(
        "from optloom.spec import *\n\nclass Tiger(Rule):\n    '''Sign of the momentum.'''\n"
        "    learning_rate = Hyper(0.001, ge=0)\n    beta = Hyper(0.965, ge=0, lt=1)\n    m = Slot('momentum')\n\n"
        "    def step(self, w, g, t):\n        self.m = self.beta * self.m + (1 - self.beta) * g\n"
        "        return w - self.learning_rate * sign(self.m)\n"
    )
    done = optloom("show", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "w = w − learning_rate·sign(m)" in done.stdout  # noqa: RUF001


def test_it_starts_without_a_framework(optloom: Command) -> None:
    assert optloom("show", "adamax").returncode == 0
    script = (
        "import sys; from optloom.codegen.cli import main\n"
        "try: main(['show', 'adam'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'optax', 'numpy'} & sys.modules.keys()))"
    )
    environment = {"PYTHONPATH": str(GENERATED.parent / ".ci" / "importroot")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
