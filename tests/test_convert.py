"""States under other names and layouts: what moves, what stays, and what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optloom.codegen.convert import ConversionError, Move, convert_state, read_moves
from safetensors.numpy import load_file, save_file

Command = Callable[..., subprocess.CompletedProcess[str]]
MOVES = """\
[[move]]
from = 'block_(\\d+)/kernel'
to = 'blocks/\\1/weight'
axes = [1, 0]

[[move]]
from = '(.*)/gamma'
to = '\\1/weight'
"""


def state() -> dict[str, np.ndarray]:
    return {
        "iterations": np.array(7),
        "updates/block_0/kernel": np.array(7),
        "slots/m/block_0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "slots/v/block_0/kernel": np.ones((2, 3), np.float64),
        "slots/m/norm/gamma": np.arange(3, dtype=np.float32),
        "slots/m/bias": np.zeros((), np.float32),
        "scalars/d": np.array(0.5, np.float32),
    }


@pytest.fixture
def moves(tmp_path: Path) -> Path:
    file = tmp_path / "moves.toml"
    file.write_text(MOVES)
    return file


def test_names_and_axes_move_and_numbers_do_not(moves: Path) -> None:
    before = state()
    after = convert_state(before, read_moves(moves))
    assert list(after) == [
        "iterations", "updates/blocks/0/weight", "slots/m/blocks/0/weight", "slots/v/blocks/0/weight",
        "slots/m/norm/weight", "slots/m/bias", "scalars/d",
    ]  # fmt: skip
    assert np.array_equal(after["slots/m/blocks/0/weight"], before["slots/m/block_0/kernel"].T)
    assert after["slots/v/blocks/0/weight"].dtype == np.float64
    assert after["updates/blocks/0/weight"] == 7 and after["scalars/d"] == np.float32(0.5)


def test_the_command_keeps_metadata_and_round_trips(moves: Path, tmp_path: Path, optloom: Command) -> None:
    first, second, third = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "third"))
    back = tmp_path / "back.toml"
    back.write_text(
        "[[move]]\nfrom = 'blocks/(\\d+)/weight'\nto = 'block_\\1/kernel'\naxes = [1, 0]\n"
        "[[move]]\nfrom = 'norm/weight'\nto = 'norm/gamma'\n"
    )
    save_file(state(), first, metadata={"rule": "adam"})
    assert optloom("convert", str(first), str(second), "--map", str(moves)).returncode == 0
    done = optloom("convert", str(second), str(third), "--map", str(back))
    assert done.returncode == 0 and done.stdout.startswith("7 arrays")
    assert {key: value.tobytes() for key, value in load_file(third).items()} == {
        key: value.tobytes() for key, value in state().items()
    }
    assert b'"rule":"adam"' in third.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[move]]\nfrom = 'a'", "move 1: it needs `from` and `to`"),
        ("[[move]]\nfrom = 'a'\nto = 'b'\naxis = [0]", "move 1: it needs `from` and `to`"),
        ("[[move]]\nfrom = '('\nto = 'b'", "no regular expression"),
        ("[[move]]\nfrom = 'a'\nto = 'b'\naxes = [1, 2]", "each axis once, from 0 on, not [1, 2]"),
        ("[[move]]\nfrom = 'nothing'\nto = 'b'", "no parameter of the state matches 'nothing'"),
        ("[[move]]\nfrom = 'norm/gamma'\nto = 'bias'", "slots/m/bias: two arrays"),
        ("[[move]]\nfrom = 'norm/gamma'\nto = 'n'\naxes = [1, 0]", "slots/m/norm/gamma: it has 1 axes"),
        ("other = 1", "entries [[move]] and nothing else"),
        ("= 1", "moves.toml: "),
    ],
)
def test_wrong_moves_are_named_and_nothing_is_written(
    text: str, message: str, tmp_path: Path, optloom: Command
) -> None:
    source, out, file = tmp_path / "state.safetensors", tmp_path / "out.safetensors", tmp_path / "moves.toml"
    save_file(state(), source)
    file.write_text(text)
    done = optloom("convert", str(source), str(out), "--map", str(file))
    assert done.returncode == 2 and message in done.stderr
    assert not out.exists() and len(list(tmp_path.iterdir())) == 2


def test_what_is_no_state_is_refused(tmp_path: Path, optloom: Command) -> None:
    with pytest.raises(ConversionError, match="model/weight: not a key of a state"):
        convert_state({"model/weight": np.zeros(2)}, ())
    (tmp_path / "text").write_text("no tensors")
    done = optloom("convert", str(tmp_path / "text"), str(tmp_path / "out"))
    assert done.returncode == 2 and "text" in done.stderr


def test_the_first_move_that_matches_wins() -> None:
    import re

    moves = [Move(re.compile("norm/.*"), "first"), Move(re.compile(".*/gamma|bias"), "second")]
    assert {"slots/m/first", "slots/m/second"} <= convert_state(state(), moves).keys()
