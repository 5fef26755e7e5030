"""What may be said of conventions and dialects, and what is an error at the rule's line."""

from __future__ import annotations

from pathlib import Path

import pytest
from optloom.codegen.discovery import discover
from optloom.spec import Hyper, SpecError

RULE = """\
from optloom.spec import *

class Own(Rule):
    learning_rate = Hyper(0.1, ge=0)
    inside = Option(True, convention=True)
    form = Option("a", choices=("a", "b"))
    peers = (Peer("torch.optim.Own", dialect={%s}),)

    def step(self, w, g, t):
        return w - where(self.inside, g, where(self.form.is_("a"), -g, 2 * g))
"""


def found(folder: Path, dialect: str) -> object:
    (folder / "own.py").write_text(RULE % dialect)
    return discover(folder / "own.py")["own"]


def test_a_dialect_names_options_of_the_rule_and_of_stages(tmp_path: Path) -> None:
    assert found(tmp_path, '"inside": False, "form": "b", "decoupled_weight_decay": False')


@pytest.mark.parametrize(
    ("dialect", "problem", "hint"),
    [
        ('"insied": False', "names 'insied', which is no option of Own", "inside"),
        ('"form": "c"', "sets 'form' to 'c'", "it is one of 'a', 'b'"),
        ('"inside": "no"', "sets 'inside' to 'no'", "it is one of True, False"),
    ],
)
def test_a_wrong_dialect_is_an_error_at_the_rule(tmp_path: Path, dialect: str, problem: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        found(tmp_path, dialect)
    message = str(caught.value)
    assert problem in message
    assert hint in message
    assert "torch.optim.Own" in message
    assert "own.py:3" in message


def test_a_number_that_only_some_peer_has_is_off_by_default() -> None:
    with pytest.raises(SpecError, match="a convention that is on by default: 0"):
        Hyper(0.5, convention=True)
    assert Hyper(None, convention=True).optional
    assert Hyper(0.0, off=0, convention=True).optional
