"""The CUDA target."""

from __future__ import annotations

from pathlib import Path

from ...c_family.layout import Dialect
from ...c_family.target import CTarget

DIALECT = Dialect(
    target="cuda", suffix=".cu", function="__device__ inline", float32="Float32", float64="Float64",
    literal="Float64({0})", to_double="double({0}.x)", int64="int64", uint32="uint32", uint16="uint16",
)  # fmt: skip

TARGET = CTarget(DIALECT, Path(__file__).parent)
