"""State of one framework's optimizer as another's: parameters renamed, their axes permuted.

The state is what `export_state` gives: `iterations`, `skipped`, `updates/<parameter>`, `slots/<slot>/<parameter>`,
`scalars/<slot>`. Moves say how parameters are called on the other side, and how their axes lie there; they are kept in
a TOML file:

    [[move]]
    from = 'layers/(\\d+)/kernel'    # a regular expression for the parameter's whole path
    to = 'net/\\1/weight'
    axes = [1, 0]                   # axis i of the result is axis axes[i] of the original
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ConversionError", "Move", "convert_file", "convert_state", "read_moves"]

WHOLE = ("iterations", "skipped")
SCALARS = "scalars/"
PER_PARAMETER = re.compile(r"(updates/|slots/[^/]+/)(.+)")


class ConversionError(Exception):
    """A state or a file of moves that does not fit; the message names the key, or the file and the entry."""


@dataclass(frozen=True)
class Move:
    """Parameters whose whole path matches `source` are called `to` (which may refer to groups: `\\1`)."""

    source: re.Pattern[str]
    to: str
    axes: tuple[int, ...] | None = None


def read_moves(file: Path) -> list[Move]:
    """The moves of a TOML file, in its order. Raises ConversionError."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConversionError(f"{file}: {error}") from error
    entries = table.pop("move", [])
    if table or not isinstance(entries, list):
        raise ConversionError(f"{file}: it holds entries [[move]] and nothing else")
    return [_move(entry, f"{file}, move {number}") for number, entry in enumerate(entries, start=1)]


def _move(entry: Any, where: str) -> Move:
    if not isinstance(entry, dict) or not {"from", "to"} <= entry.keys() <= {"from", "to", "axes"}:
        raise ConversionError(f"{where}: it needs `from` and `to`, and may have `axes`")
    if not isinstance(entry["from"], str) or not isinstance(entry["to"], str):
        raise ConversionError(f"{where}: `from` and `to` are texts")
    try:
        source = re.compile(entry["from"])
    except re.error as error:
        raise ConversionError(f"{where}: `from` is no regular expression: {error}") from error
    axes = entry.get("axes")
    if axes is None:
        return Move(source, entry["to"])
    if not isinstance(axes, list) or sorted(map(str, axes)) != sorted(map(str, range(len(axes)))):
        raise ConversionError(f"{where}: `axes` must hold each axis once, from 0 on, not {axes}")
    return Move(source, entry["to"], tuple(axes))


def convert_state(state: Mapping[str, NDArray[Any]], moves: Sequence[Move]) -> dict[str, NDArray[Any]]:
    """`state` with every move carried out: the first that matches a parameter; one that none matches stays as it is.

    Raises ConversionError: a key is none of a state's, a move matches nothing or has other axes than the array, or
    two parameters get one name.
    """
    used: set[int] = set()
    made: dict[str, NDArray[Any]] = {}
    for key, array in state.items():
        new, converted = _converted(key, array, moves, used)
        if new in made:
            raise ConversionError(f"{new}: two arrays of the state would get this name")
        made[new] = converted
    idle = [move.source.pattern for index, move in enumerate(moves) if index not in used]
    if idle:
        raise ConversionError(f"no parameter of the state matches {', '.join(map(repr, idle))}")
    return made


def _converted(key: str, array: NDArray[Any], moves: Sequence[Move], used: set[int]) -> tuple[str, NDArray[Any]]:
    if key in WHOLE or key.startswith(SCALARS):
        return key, array
    parts = PER_PARAMETER.fullmatch(key)
    if parts is None:
        raise ConversionError(
            f"{key}: not a key of a state; those are iterations, skipped, updates/<parameter>, "
            "slots/<slot>/<parameter>, scalars/<slot>"
        )
    kind, parameter = parts.groups()
    for index, move in enumerate(moves):
        if found := move.source.fullmatch(parameter):
            used.add(index)
            return kind + found.expand(move.to), _permuted(key, array, move.axes) if kind != "updates/" else array
    return key, array


def _permuted(key: str, array: NDArray[Any], axes: tuple[int, ...] | None) -> NDArray[Any]:
    if axes is None:
        return array
    if array.ndim != len(axes):
        raise ConversionError(f"{key}: it has {array.ndim} axes, and the move permutes {len(axes)}")
    import numpy as np

    return np.ascontiguousarray(array.transpose(axes))


def convert_file(source: Path, destination: Path, moves: Sequence[Move]) -> int:
    """Converts a safetensors file, whose metadata is kept. Returns how many arrays it holds.

    The destination is replaced whole, or not touched. Raises ConversionError.
    """
    import safetensors
    from safetensors.numpy import load_file, save

    try:
        state = load_file(source)
        with safetensors.safe_open(source, framework="np") as file:
            metadata = file.metadata()
    except (OSError, safetensors.SafetensorError) as error:
        raise ConversionError(f"{source}: {error}") from error
    made = convert_state(state, moves)
    beside = destination.with_name(f".{destination.name}.new")
    try:
        beside.write_bytes(save(made, metadata=metadata))
        beside.replace(destination)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConversionError(f"{destination}: {error}") from error
    return len(made)
