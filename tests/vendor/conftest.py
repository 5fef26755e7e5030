"""A project of somebody's, with a rule of its own in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from optloom.codegen import vendor

RULE = """\
from optloom.spec import Hyper, Peer, Rule, Slot, Value


class Tiny(Rule):
    \"\"\"Gradient descent along a moving average.\"\"\"

    learning_rate = Hyper(0.1, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate")
    m = Slot("moving average")

    peers = (Peer("torch.optim.SGD", dialect={"decoupled_weight_decay": False}), Peer("torch.optim.Tiny"))

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + (1 - self.beta) * g
        return w - self.learning_rate * self.m
"""

FILE = "src/mine/optim/tiny.py"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its root, which is the working folder."""
    root = tmp_path / "project"
    (root / "src" / "mine").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    (root / "tiny.py").write_text(RULE)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def request_tiny(project: Path) -> Callable[..., vendor.Request]:
    """A request for the project's own rule, for NumPy unless said otherwise."""

    def make(**settings: object) -> vendor.Request:
        return vendor.Request(**{"rule": "tiny.py", "target": "numpy", "to": Path("src/mine/optim"), **settings})  # type: ignore[arg-type]

    return make


@pytest.fixture
def vendored(project: Path, request_tiny: Callable[..., vendor.Request]) -> Path:
    """The vendored file."""
    vendor.add(request_tiny())
    return project / FILE


def upstream(project: Path, old: str = "moving average.", new: str = "running mean.") -> None:
    """The rule changes."""
    rule = project / "tiny.py"
    text = rule.read_text()
    assert old in text
    rule.write_text(text.replace(old, new))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
