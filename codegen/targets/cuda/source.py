"""What a generated .cu file says of itself, and what it can be built for."""

from __future__ import annotations

import ctypes
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ARGUMENT_BYTES = 4096 - 256
"""Room for tensors among the arguments of a launch; the state's and the table's own numbers take the rest."""

SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
FIELDS = {"float64": ctypes.c_double, "int64": ctypes.c_int64}


@dataclass(frozen=True)
class Choice:
    """What a build is for. `options`: bits of the file's options. Dtypes: of the parameters, and of their gradients,
    empty for the same. `gradients`: the sum of 1 to go up the gradient, 2 to divide it by a scale, 4 to write it back
    divided."""

    options: int
    parameter: str
    gradient: str = ""
    gradients: int = 0

    @property
    def defines(self) -> tuple[str, ...]:
        """The compiler's arguments."""
        values = {
            "OPTIONS": self.options,
            "PARAMETER": self.parameter,
            "GRADIENT": self.gradient,
            "GRADIENTS": self.gradients,
        }
        return tuple(f"-DOPTLOOM_{name}={value}" for name, value in values.items() if value)

    @property
    def name(self) -> str:
        """A part of a file's name."""
        return f"o{self.options}-g{self.gradients}-{self.parameter}-{self.gradient or self.parameter}"

    @property
    def pack(self) -> int:
        """Elements of 128 bits of the narrowest array."""
        return 16 // min(SIZES[dtype] for dtype in (self.parameter, self.gradient) if dtype)


@dataclass(frozen=True)
class Source:
    """A generated .cu file, and what it says of itself. Raises ValueError if it is none."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    def _described(self, what: str) -> dict[str, list[Any]]:
        found = re.search(rf'_{what} = R"\((.*?)\)"', self.text, re.DOTALL)
        if found is None:
            raise ValueError(f"{self.path} describes no {what}: it was not generated as a CUDA file of this version")
        described: dict[str, list[Any]] = json.loads(found[1])
        return described

    @cached_property
    def interface(self) -> dict[str, list[Any]]:
        return self._described("interface")

    @cached_property
    def launches(self) -> dict[str, list[Any]]:
        return self._described("launches")

    @cached_property
    def row(self) -> type[ctypes.Structure]:
        """A param group at one step: its hyperparameters, counters, scalar slots and inputs."""
        members = [(hyper["name"], FIELDS[hyper["type"]]) for hyper in self.interface["hypers"]]
        members += [(counter["name"], ctypes.c_int64) for counter in self.interface["counters"]]
        members += [(slot["name"], ctypes.c_double) for slot in self.interface["scalar_slots"]]
        members += [(each["name"], ctypes.c_double) for each in self.interface["inputs"] if each["shape"] == "scalar"]
        return _structure("Row", members)

    @cached_property
    def tensor(self) -> type[ctypes.Structure]:
        """A parameter: its size, its row's index, and the addresses of its arrays."""
        numbers = ("size", "row", "axes", "matrices", "rows", "columns")
        members = self.interface["tensor"]
        return _structure(
            "Tensor", [(name, ctypes.c_int64 if name in numbers else ctypes.c_void_p) for name in members]
        )

    @cached_property
    def table(self) -> type[ctypes.Structure]:
        """Tensors in device memory."""
        pointers = [(name, ctypes.c_void_p) for name in ("tensor", "first", "owner")]
        return _structure("Table", [("tensors", ctypes.c_int64), *pointers])

    @cached_property
    def capacity(self) -> int:
        """The tensors that one launch takes by value."""
        return ARGUMENT_BYTES // (ctypes.sizeof(self.tensor) + 8)

    @cached_property
    def tensors(self) -> type[ctypes.Structure]:
        """Tensors as an argument."""
        first, tensor = ctypes.c_int64 * (self.capacity + 1), self.tensor * self.capacity
        return _structure(
            "Tensors", [("tensors", ctypes.c_int64), ("number", ctypes.c_int64), ("first", first), ("tensor", tensor)]
        )

    @cached_property
    def state(self) -> type[ctypes.Structure]:
        """What the launches of a call share: addresses."""
        names = ["row", "gradient_scale", "found_inf", *(buffer["name"] for buffer in self.launches["buffers"])]
        return _structure("State", [(name, ctypes.c_void_p) for name in names])


def _structure(name: str, members: list[Any]) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": members})
