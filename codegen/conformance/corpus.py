"""The committed inputs of every cell: `corpora/<dtype>.txt`, hexadecimal floats with ids, only ever added to.

An element is a parameter, three gradients of the past, which make the slots' values, and the gradient of the step that
is judged. Elements of one kind make up one tensor, so that infinities and NaN stay out of the others' sums.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .protocol import DTYPES, Array, numpy_dtype

FOLDER = Path(__file__).parent / "corpora"
SHAPES = {"matrix": (8, 6), "wide": (3, 7), "cube": (2, 3, 2), "scalar": ()}
"""Tensors with a fixed number of elements; the others are vectors, and grow with the corpus."""
ORDINARY = ("matrix", "wide", "update", "cube", "scalar")
"""Kinds whose numbers are those of training; the others are adversarial."""
REPRESENTATIVE = ("matrix", "cube", "scalar", "empty")
"""One ordinary tensor of every number of axes, and an empty one."""
PAST = 3


@dataclass(frozen=True, eq=False)
class Tensor:
    """One parameter of a cell: `past` has a first axis of length 3, the oldest gradient first."""

    name: str
    ids: tuple[str, ...]
    parameter: Array
    past: Array
    gradient: Array


@cache
def tensors(dtype: str) -> tuple[Tensor, ...]:
    """All tensors of the corpus, and an empty one."""
    rows: dict[str, list[tuple[str, list[float]]]] = {}
    for line in (FOLDER / f"{dtype}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, *numbers = line.split()
            rows.setdefault(name.partition("/")[0], []).append((name, [float.fromhex(number) for number in numbers]))
    made = [_tensor(kind, entries, dtype) for kind, entries in rows.items()]
    return (*made, _tensor("empty", [], dtype))


def _tensor(kind: str, entries: list[tuple[str, list[float]]], dtype: str) -> Tensor:
    table = np.array([numbers for _, numbers in entries], np.float64).reshape(len(entries), PAST + 2)
    typed: NDArray[np.float64] = table.astype(numpy_dtype(dtype))
    if not np.array_equal(typed.astype(np.float64), table, equal_nan=True):
        raise ValueError(f"corpora/{dtype}.txt: numbers of '{kind}' are not {dtype}")
    shape = SHAPES.get(kind, (len(entries),))
    columns = [typed[:, column].reshape(shape) for column in range(PAST + 2)]
    return Tensor(kind, tuple(name for name, _ in entries), columns[0], np.stack(columns[1:-1]), columns[-1])


def merged(parts: tuple[Tensor, ...], name: str) -> Tensor:
    """One vector of several tensors, for rules in which no element sees another."""
    return Tensor(
        name,
        tuple(name for part in parts for name in part.ids),
        np.concatenate([part.parameter.ravel() for part in parts]),
        np.concatenate([part.past.reshape(PAST, -1) for part in parts], axis=1),
        np.concatenate([part.gradient.ravel() for part in parts]),
    )


def grouped(dtype: str, features: frozenset[str]) -> list[tuple[Tensor, ...]]:
    """The tensors of each optimizer that a rule is run on; `features`: what it sums over (see `value.Engine`).

    Without sums, the kinds are told apart by nothing, and make few tensors (compilers are slow on many). With sums over
    all tensors, every adversarial kind gets an optimizer of its own; with a gate, those whose gradients are not finite.
    """
    every = tensors(dtype)
    if "gate" in features and "tensors" not in features:
        closed = [part for part in every if not np.isfinite(part.gradient).all()]
        open_ = tuple(part for part in every if part not in closed)
        return [*_without_gate(open_, features), *((part,) for part in closed)]
    return _without_gate(every, features)


def _without_gate(every: tuple[Tensor, ...], features: frozenset[str]) -> list[tuple[Tensor, ...]]:
    if not features - {"library", "gate"}:
        shaped = tuple(part for part in every if part.name in REPRESENTATIVE)
        return [(*shaped, merged(tuple(part for part in every if part not in shaped), "mixed"))]
    if "tensors" not in features:
        return [every]
    ordinary = tuple(part for part in every if part.name in (*ORDINARY, "empty"))
    return [ordinary, *((part,) for part in every if part not in ordinary)]


@cache
def digest() -> str:
    """SHA-256 of all files, in the order of the dtypes."""
    return hashlib.sha256(b"".join((FOLDER / f"{dtype}.txt").read_bytes() for dtype in DTYPES)).hexdigest()


def uniform(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers from -1 to 1, from raw bits, which no version of NumPy may change."""
    count = int(np.prod(shape, dtype=int))
    raw = bits.random_raw(count).reshape(shape) if count else np.zeros(shape, np.uint64)
    return np.asarray((raw >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1)


def stream(shapes: list[tuple[int, ...]], calls: int, dtype: str) -> tuple[list[Array], list[list[Array]]]:
    """Parameters and gradients of a long run: ordinary numbers of many magnitudes, the same on every machine."""
    bits = np.random.PCG64(20)
    kind = numpy_dtype(dtype)
    parameters = [np.asarray(uniform(bits, shape)) for shape in shapes]
    scales = [np.ldexp(1.0, np.round(uniform(bits, shape) * 6).astype(int)) for shape in shapes]
    gradients = [
        [
            np.where(np.abs(uniform(bits, shape)) < 0.06, 0, uniform(bits, shape) * scale)
            for shape, scale in zip(shapes, scales, strict=True)
        ]
        for _ in range(calls)
    ]
    return [p.astype(kind) for p in parameters], [[np.asarray(g).astype(kind) for g in each] for each in gradients]
