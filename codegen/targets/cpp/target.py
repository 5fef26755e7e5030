"""The C++ target."""

from __future__ import annotations

from pathlib import Path

from ...c_family.layout import Dialect
from ...c_family.target import CTarget

DIALECT = Dialect(
    target="cpp", suffix=".cpp", function="inline", float32="float", float64="double", literal="{0}",
    to_double="double({0})", int64="int64_t", uint32="uint32_t", uint16="uint16_t",
)  # fmt: skip

TARGET = CTarget(DIALECT, Path(__file__).parent, missing_stages=frozenset())
