"""The lines that the pages show for each framework run, for every rule that has them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from optloom.codegen.api import catalogue
from optloom.codegen.discovery import discover
from optloom.codegen.pages.usage import usages

ROOT = Path(__file__).resolve().parent.parent.parent
README = re.findall(r"```python (\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
"""Target and text of the lines that the README shows for it."""
TARGETS = sorted({target for name, rule in discover().items() for target in usages(rule, name)})


def put_in_place(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's optimizers, as if they had been vendored into a folder `optim`."""
    optim = ModuleType("optim")
    optim.__path__ = [str(ROOT / "generated" / target)]
    monkeypatch.setitem(sys.modules, "optim", optim)


@pytest.mark.parametrize("target", TARGETS)
def test_the_lines_shown_run(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(target, monkeypatch)
    shown = {info.name: usages(discover()[info.name], info.name) for info in catalogue() if target in info.targets}
    ran = [name for name, code in shown.items() if target in code]
    assert len(ran) > 5
    for name in ran:
        exec(compile(shown[name][target], f"{name} for {target}", "exec"), {})


def test_a_peer_is_named_where_there_is_one() -> None:
    assert "# instead of torch.optim.Adam\n" in usages(discover()["adam"], "adam")["pytorch"]
    assert "instead of" not in usages(discover()["lamb"], "lamb")["pytorch"]


@pytest.mark.parametrize(("target", "text"), [pytest.param(*shown, id=shown[0]) for shown in README])
def test_the_readme_s_lines_run(target: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(target, monkeypatch)
    exec(compile(text, f"README for {target}", "exec"), {})


def test_the_readme_has_lines_for_every_framework() -> None:
    assert {target for target, _ in README} == set(TARGETS) - {"numpy"}
