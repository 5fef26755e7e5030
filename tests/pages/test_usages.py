"""The lines that the pages show for each framework run, for every rule that has them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from optloom.codegen.api import catalogue
from optloom.codegen.discovery import discover
from optloom.codegen.pages.usage import usages

GENERATED = Path(__file__).resolve().parent.parent.parent / "generated"
TARGETS = sorted({target for name, rule in discover().items() for target in usages(rule, name)})


@pytest.mark.parametrize("target", TARGETS)
def test_the_lines_shown_run(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optim = ModuleType("optim")
    optim.__path__ = [str(GENERATED / target)]
    monkeypatch.setitem(sys.modules, "optim", optim)
    shown = {info.name: usages(discover()[info.name], info.name) for info in catalogue() if target in info.targets}
    ran = [name for name, code in shown.items() if target in code]
    assert len(ran) > 5
    for name in ran:
        exec(compile(shown[name][target], f"{name} for {target}", "exec"), {})


def test_a_peer_is_named_where_there_is_one() -> None:
    assert "# instead of torch.optim.Adam\n" in usages(discover()["adam"], "adam")["pytorch"]
    assert "instead of" not in usages(discover()["lamb"], "lamb")["pytorch"]
