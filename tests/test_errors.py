"""Wrong rules: each gets file, line, what is wrong and what to do; nothing is written, files that exist stay."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from optloom.codegen.api import Selection, generate
from optloom.spec.errors import SpecError

Command = Callable[..., subprocess.CompletedProcess[str]]

HEAD = """\
import sympy
from optloom.spec import *

class Wrong(Rule):
    learning_rate = Hyper(0.1, ge=0)
    decay = Hyper(None, ge=0)
    flavour = Option("a", choices=("a", "b"))
    fancy = Option(False)
    m = Slot("moment")
    extra = Slot("only if fancy", when=fancy)

    def step(self, w, g, t):
        self.extra = g
"""
"""What the bodies below stand in; `# <-` marks the line that the message must name."""

BODIES = {
    "unknown name": (
        """
        self.m = g
        return w - self.learning_rat * self.m  # <-
        """,
        "unknown name 'learning_rat'", "did you mean 'learning_rate'",
    ),
    "unknown global": (
        """
        self.m = g
        return w - learning_rate * self.m  # <-
        """,
        "name 'learning_rate' is not defined", "self.",
    ),
    "assigned twice": (
        """
        self.m = g
        self.m = self.m * 2  # <-
        return w - self.m
        """,
        "slot 'm' is assigned twice", "name the first value",
    ),
    "read under a weaker guard": (
        """
        self.m = g + self.extra  # <-
        return w - self.m
        """,
        "reads what exists only under fancy", "where(",
    ),
    "read under another guard": (
        """
        self.m = where(self.flavour.is_("b"), self.extra, g)  # <-
        return w - self.m
        """,
        "reads what exists only under fancy", "where(",
    ),
    "optional hyperparameter unguarded": (
        """
        self.m = g * self.decay  # <-
        return w - self.m
        """,
        "reads what exists only under decay given", "where(",
    ),
    "old before assignment": (
        """
        self.m = g + old(self.m)  # <-
        return w - self.m
        """,
        "old of slot 'm', which is not yet assigned", "read it directly",
    ),
    "old of no slot": (
        """
        self.m = g
        return w - old(g)  # <-
        """,
        "old() takes a slot", "old(self.m)",
    ),
    "never used": (
        """
        self.m = g
        self.forgotten = g * 2  # <-
        return w - self.m
        """,
        "'forgotten' is never used", "use it or remove the line",
    ),
    "truth of an option": (
        """
        self.m = g
        if self.fancy:  # <-
            self.m = g * 2
        return w - self.m
        """,
        "option 'fancy' has no truth value", "where(self.fancy, a, b)",
    ),
    "comparison of an option": (
        """
        self.m = where(self.flavour == "b", g, -g)  # <-
        return w - self.m
        """,
        "option 'flavour' has no truth value", ".is_(",
    ),
    "unequal option": (
        """
        self.m = where(self.flavour != "b", g, -g)  # <-
        return w - self.m
        """,
        "option 'flavour' has no truth value", ".is_(",
    ),
    "arithmetic on an option": (
        """
        self.m = g * self.fancy  # <-
        return w - self.m
        """,
        "option 'fancy'", "where(",
    ),
    "a choice that an option has not": (
        """
        self.m = where(self.flavour.is_("c"), g, -g)  # <-
        return w - self.m
        """,
        "compared with 'c', none of its choices", "'a', 'b'",
    ),
    "truth of a hyperparameter": (
        """
        self.m = g
        return w - self.m if self.learning_rate else w  # <-
        """,
        "'learning_rate' has no truth value", "where(condition, a, b)",
    ),
    "comparison of a value": (
        """
        self.m = where(g == 0, g, -g)  # <-
        return w - self.m
        """,
        "has no truth value", "equal(a, b)",
    ),
    "chained comparison": (
        """
        self.m = where(0 < g < 1, g, -g)  # <-
        return w - self.m
        """,
        "has no truth value", "where(condition, a, b)",
    ),
    "a function of SymPy": (
        """
        self.m = sympy.gamma(g)  # <-
        return w - self.m
        """,
        "SymPy's own functions do not take 'g'", "functions of optloom.spec",
    ),
    "a function of math": (
        """
        import math
        self.m = math.sqrt(g)  # <-
        return w - self.m
        """,
        "'g' is no float", "functions of optloom.spec",
    ),
    "complex number": (
        """
        self.m = g * 1j  # <-
        return w - self.m
        """,
        "1j is not a real number", "real",
    ),
    "root of minus one": (
        """
        self.m = g * (-1) ** 0.5  # <-
        return w - self.m
        """,
        "is not a real number", "real",
    ),
    "SymPy's imaginary unit": (
        """
        self.m = sympy.I * g  # <-
        return w - self.m
        """,
        "SymPy's own functions do not take 'g'", "functions of optloom.spec",
    ),
    "infinite literal": (
        """
        self.m = minimum(g, float("inf"))  # <-
        return w - self.m
        """,
        "inf is not a real number", "finite",
    ),
    "text": (
        """
        self.m = g + "1"  # <-
        return w - self.m
        """,
        "'1' is no value of the language", "use numbers",
    ),
    "assigning a hyperparameter": (
        """
        self.m = g
        self.learning_rate = g  # <-
        return w - self.m
        """,
        "'learning_rate' is declared and cannot be assigned", "another name",
    ),
    "a number as the new parameter": (
        """
        self.m = g
        return 0
        """,
        "step of Wrong returns 0", "return the new w",
    ),
    "a result under a weaker guard": (
        """
        self.m = g
        return w - self.m - self.extra  # <-
        """,
        "reads what exists only under fancy", "where(",
    ),
    "truth of a guard": (
        """
        self.m = g
        return w - self.m if self.decay.given else w  # <-
        """,
        "'decay given' has no truth value", "where(guard, a, b)",
    ),
    "a guard of what is always there": (
        """
        self.m = where(self.learning_rate.given, g, -g)  # <-
        return w - self.m
        """,
        "'learning_rate' is no optional hyperparameter", "default=None",
    ),
    "an attribute that values do not have": (
        """
        self.m = g.mean()  # <-
        return w - self.m
        """,
        "'mean'", "functions of optloom.spec",
    ),
    "a defect of its own": (
        """
        self.m = g / (1 - 1 // 0)  # <-
        return w - self.m
        """,
        "ZeroDivisionError", "",
    ),
}  # fmt: skip

FILES = {
    "never assigned": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            learning_rate = Hyper(0.1)
            m = Slot("moment")  # <-
            def step(self, w, g, t):
                return w - self.learning_rate * g
        """,
        "slot 'm' is never assigned", "assign it in step",
    ),
    "default out of bounds": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            beta = Hyper(1.0, ge=0, lt=1)  # <-
        """,
        "the default 1.0 breaks its own bound: it must be < 1", "change one of them",
    ),
    "a stage's default out of bounds": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            learning_rate = Hyper(0.1)
            stage_defaults = {"weight_decay": -1.0}
            def step(self, w, g, t):
                return w - self.learning_rate * g
        """,
        "the default -1.0 of 'weight_decay' breaks its bound: it must be >= 0", "stage_defaults",
    ),
    "a default for nothing": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            learning_rate = Hyper(0.1)
            stage_defaults = {"weight_decoy": 0.1}
            def step(self, w, g, t):
                return w - self.learning_rate * g
        """,
        "stage_defaults names 'weight_decoy'", "weight_decay",
    ),
    "not a number": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            beta = Hyper(float("nan"))  # <-
        """,
        "it must be finite", "",
    ),
    "no such choice": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            form = Option("c", choices=("a", "b"))  # <-
        """,
        "the default 'c' is none of the choices", "",
    ),
    "a name that a stage has": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            accumulated_gradient = Slot("mine")
            def step(self, w, g, t):
                self.accumulated_gradient = g
                return w - g
        """,
        "'accumulated_gradient' is declared by two layers of Wrong", "rename one",
    ),
    "truth of a declaration": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            fancy = Option(False)
            beta = Hyper(0.9 if fancy else 0.8)  # <-
        """,
        "a declaration has no truth value", ".is_(",
    ),
    "comparison of a declaration": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            form = Option("a", choices=("a", "b"))
            m = Slot("moment", when=form == "b")  # <-
        """,
        "False is no guard", "option.is_(",
    ),
    "a declaration's choice that it has not": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            form = Option("a", choices=("a", "b"))
            m = Slot("moment", when=form.is_("c"))  # <-
        """,
        "compared with 'c', none of its choices", "'a', 'b'",
    ),
    "a wrapper of what is no rule": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            wraps = 3
            def step(self, w, g, t):
                return self.inner(w, g, t)
        """,
        "Wrong wraps 3, which is no rule", "wraps = SomeRule",
    ),
    "a wrapper of itself": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            def step(self, w, g, t):
                return self.inner(w, g, t)
        Wrong.wraps = Wrong
        """,
        "Wrong wraps Wrong, which wraps it", "wraps neither",
    ),
    "a wrapper that does not run its rule": (
        """
        from optloom.spec import *
        from optloom.spec.rules.sgd import SGD
        class Wrong(Rule):
            wraps = SGD
            def step(self, w, g, t):  # <-
                return w - g
        """,
        "Wrong wraps SGD, but does not run it", "self.inner(w, g, t)",
    ),
    "a wrapper that runs its rule twice": (
        """
        from optloom.spec import *
        from optloom.spec.rules.sgd import SGD
        class Wrong(Rule):
            wraps = SGD
            def step(self, w, g, t):
                self.first = self.inner(w, g, t)
                return self.inner(self.first, g, t)  # <-
        """,
        "Wrong runs SGD, which it wraps, twice in a step", "call self.inner once",
    ),
    "a wrapper that declares what its rule does": (
        """
        from optloom.spec import *
        from optloom.spec.rules.sgd import SGD
        class Wrong(Rule):
            learning_rate = Hyper(0.5, ge=0)
            wraps = SGD
            def step(self, w, g, t):
                return w + self.learning_rate * (self.inner(w, g, t) - w)
        """,
        "'learning_rate' is declared by two layers of Wrong", "rename one",
    ),
    "a modifier of no rule": (
        """
        from optloom.spec.modifiers import Cautious
        class Wrong(Cautious):  # <-
            pass
        """,
        "Cautious modifies a rule, and none comes after it in the bases of Wrong", "class Wrong(Cautious, SomeRule)",
    ),
    "a modifier after its rule": (
        """
        from optloom.spec.modifiers import Cautious
        from optloom.spec.rules.sgd import SGD
        class Wrong(SGD, Cautious):  # <-
            pass
        """,
        "Cautious comes after a rule in the bases of Wrong, and so modifies nothing", "name Cautious first",
    ),
    "rows of what may have none": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            r = Slot("row means", shape="rows")  # <-
            def step(self, w, g, t):
                self.r = 0 * self.r
                return w - g
        """,
        "slot 'r' of rows exists only for at least 2 axes", "Takes(has_axes(2))",
    ),
    "a product of what may be no matrix": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            def step(self, w, g, t):
                return w - matmul(g, transpose(g))  # <-
        """,
        "reads what exists only under at least 2 axes", "Takes(<that guard>)",
    ),
    "columns under an option that takes fewer axes": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            by_columns = Option(False)
            shapes = Takes(has_axes(2), when=by_columns)
            def step(self, w, g, t):
                return w - where(self.by_columns, g, mean(g, axis=-2))  # <-
        """,
        "reads what exists only under at least 2 axes", "Takes(<that guard>)",
    ),
    "shapes that are not said in axes": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            shapes = Takes(2)  # <-
            def step(self, w, g, t):
                return w - g
        """,
        "2 does not say how many axes", "Takes(has_axes(2))",
    ),
    "a default of a stage that does not fit": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            lr = Hyper(0.1)
            stage_defaults = {"weight_decay": 0.1}
            def step(self, w, g, t):
                return w - self.lr * g
        """,
        "stage_defaults names 'weight_decay', which no stage around Wrong declares", "",
    ),
    "no new parameter": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            learning_rate = Hyper(0.1)
            def step(self, w, g, t):  # <-
                w - self.learning_rate * g
        """,
        "step of Wrong returns nothing", "return the new w",
    ),
    "no step": (
        """
        from optloom.spec import *
        class Wrong(Rule):  # <-
            learning_rate = Hyper(0.1)
        """,
        "Wrong has no step", "def step(self, w, g, t)",
    ),
    "two rules in a file": (
        """
        from optloom.spec import *  # <-
        class One(Rule):
            pass
        class Two(Rule):
            pass
        """,
        "this one holds One, Two", "one file per rule",
    ),
    "no rule": ("x = 1  # <-", "this one holds none", "one file per rule"),
    "syntax": (
        """
        from optloom.spec import *
        class Wrong(Rule:  # <-
            pass
        """,
        "the rule does not import: SyntaxError", "",
    ),
    "import": ("import no_such_module  # <-", "ModuleNotFoundError: No module named 'no_such_module'", ""),
    "fails while importing": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            beta = Hyper("0.9")  # <-
        """,
        "the default '0.9' is no number", "",
    ),
    "an unknown declaration argument": (
        """
        from optloom.spec import *
        class Wrong(Rule):
            beta = Hyper(0.9, min=0)  # <-
        """,
        "the rule does not import: TypeError", "",
    ),
}  # fmt: skip


def whole(body: str) -> str:
    return HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8) + "\n"


CASES = {name: (whole(body), message, hint) for name, (body, message, hint) in BODIES.items()} | {
    name: (textwrap.dedent(text).strip("\n") + "\n", message, hint) for name, (text, message, hint) in FILES.items()
}

RIGHT = """\
from optloom.spec import *

class Fine(Rule):
    learning_rate = Hyper(0.1)

    def step(self, w, g, t):
        return w - self.learning_rate * g
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that a correct rule, in fine.py beside it, once made."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "fine.py").write_text(RIGHT)
    generate(Selection((str(folder / "fine.py"),), ("numpy",)), folder / "out")
    return folder / "out"


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_wrong_rule(name: str, tmp_path: Path, generated: Path) -> None:
    text, message, hint = CASES[name]
    file = tmp_path / "wrong.py"
    file.write_text(text)
    before = contents(generated)
    with pytest.raises(SpecError) as caught:
        generate(Selection((str(generated.parent / "fine.py"), str(file)), ("numpy",)), generated)
    said = str(caught.value)
    marked = [number for number, line in enumerate(text.splitlines(), start=1) if "# <-" in line]
    where = f"{file}:{marked[0]}: " if marked else ""
    assert said.startswith(where), said
    assert message in said
    assert hint in said
    assert contents(generated) == before


def test_two_rules_of_one_name(tmp_path: Path, generated: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "first.py").write_text(RIGHT)
    (folder / "second.py").write_text("# the same again\n" + RIGHT)
    before = contents(generated)
    with pytest.raises(SpecError) as caught:
        generate(Selection((str(folder),)), generated)
    assert str(caught.value).startswith(f"{folder / 'second.py'}:4: two rules are called Fine")
    assert "first.py" in str(caught.value)
    assert contents(generated) == before


def test_no_such_rule_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such rule file"):
        generate(Selection((str(tmp_path / "absent.py"),)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["generate", "check", "explain", "list"])
def test_the_commands_say_it_and_end_with_2(command: str, tmp_path: Path, generated: Path, optloom: Command) -> None:
    text, message, _ = CASES["assigned twice"]
    file = tmp_path / "wrong.py"
    file.write_text(text)
    before = contents(generated)
    out = ["--out", str(generated)] if command in ("generate", "check") else []
    done = optloom(command, str(file), *out)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"{file}:15: {message}"
    assert done.stderr.splitlines()[1].startswith("  name the first value")
    assert done.stdout == ""
    assert contents(generated) == before
