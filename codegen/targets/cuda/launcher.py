"""Launches the kernels of a generated .cu file: the tables of tensors, the arguments, the grids.

It knows files by what they say of themselves (see `source`), and devices by the protocol `Device`: the CUDA driver (see
`loader`), or the host under emulation. It reads nothing back, and copies to the device only what has changed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, Protocol

from .products import Multiplication, Product, Products, holds
from .source import Choice, Source

CHUNK, BLOCK, THREADS, TILE = 16384, 4096, 256, 32


class Memory(Protocol):
    """An array on the device that lives as long as this object."""

    @property
    def address(self) -> int: ...


class Device(Protocol):
    """What runs kernels. `stream`: the address of one; 0 for the device's own."""

    def empty(self, size: int) -> Memory:
        """`size` bytes."""
        ...

    def write(self, address: int, data: bytes, stream: int) -> None:
        """Copies `data` to `address`, after what is in `stream`."""
        ...

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any], stream: int) -> None:
        """Queues a kernel of the library that the device has loaded; `arguments` are ctypes objects."""
        ...


@dataclass
class _Uploaded:
    """A table on the device, and what it holds."""

    tensors: bytes
    table: ctypes.Structure
    memory: Memory


@dataclass
class Launcher:
    """The launches of one build's calls. One object serves one set of tensors at a time: it keeps their table.

    `product`: how matrices are multiplied; None for the file's own kernel, which is plain.
    """

    source: Source
    choice: Choice
    device: Device
    product: Product | None = None
    _buffers: dict[str, Memory] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _uploaded: _Uploaded | None = None

    def run(
        self, part: Literal["start", "step"], rows: int, row: int, tensors: ctypes.Array[Any], *,
        gradient_scale: int = 0, found_inf: int = 0, stream: int = 0, by_value: bool | None = None,
    ) -> None:  # fmt: skip
        """Queues the start of the slots, or a step.

        rows: param groups. row: address of as many `source.row` on the device. tensors: a ctypes array of
        `source.tensor`. gradient_scale, found_inf: addresses of float32 numbers on the device; 0 for none.
        by_value: the tensors travel with the launches, as a graph wants it, in groups of `source.capacity`; None
        chooses so if one launch takes all. Raises ValueError for a tensor that the formula does not take, TypeError
        for one that a step has no input for.
        """
        self._check_axes(tensors)
        if part == "step":
            self._check_inputs(tensors)
        if by_value is None:
            by_value = len(tensors) <= self.source.capacity
        first = self._first_chunks(tensors)
        self._give_scratch(tensors)
        self._give_places(tensors)
        state = self._state(rows, tensors, first[-1], row, gradient_scale, found_inf)
        groups = list(self._by_value(tensors, first) if by_value else self._in_memory(tensors, first, stream))
        at_once = {"rows": rows, "tensors": len(tensors)}
        for launch in filter(self._is_wanted, self.source.launches[part]):
            if launch["grid"] == "products":
                self._multiply(launch["kernel"], tensors, first, state, stream)
                continue
            threads = THREADS // self.choice.pack if launch["packs"] else THREADS
            if launch["grid"] in at_once:
                arguments = ctypes.c_int64(at_once[launch["grid"]]), state
                self.device.launch(launch["kernel"], 1, threads, arguments, stream)
                continue
            for table, count, chunks in groups:
                kernel = launch["kernel"] + ("_by_value" if by_value else "")
                blocks = chunks if launch["grid"] == "chunk" else count
                self.device.launch(kernel, blocks, threads, (table, state), stream)

    def _check_axes(self, tensors: ctypes.Array[Any]) -> None:
        for each in self.source.interface.get("refused", ()):
            for index, x in enumerate(tensors):
                has = {axis["name"] for axis in self.source.interface["axes"] if x.axes >= axis["count"]}
                if all(holds(name, self._chosen | has) for name in each["when"]):
                    raise ValueError(f"{each['takes']}, and parameter {index} has {x.axes}")

    def _check_inputs(self, tensors: ctypes.Array[Any]) -> None:
        for name in (each["name"] for each in self.source.interface["inputs"] if each["shape"] == "parameter"):
            for index, x in enumerate(tensors):
                if x.size and not getattr(x, name):
                    raise TypeError(f"a step needs `{name}`, and parameter {index} has none")

    @cached_property
    def _chosen(self) -> frozenset[str]:
        """The switches that are set."""
        names = [switch["name"] for switch in self.source.interface["switches"]]
        return frozenset(name for bit, name in enumerate(names) if self.choice.options >> bit & 1)

    def _is_wanted(self, launch: Mapping[str, Any]) -> bool:
        """Whether the options chosen call for a kernel."""
        return not launch["when"] or any(all(holds(name, self._chosen) for name in names) for names in launch["when"])

    @staticmethod
    def _first_chunks(tensors: ctypes.Array[Any]) -> list[int]:
        """The number of each tensor's first chunk, then that of all chunks. An empty tensor has one, too."""
        first = [0]
        for tensor in tensors:
            first.append(first[-1] + max(1, -(-tensor.size // CHUNK)))
        return first

    def _by_value(self, tensors: ctypes.Array[Any], first: list[int]) -> Iterator[tuple[ctypes.Structure, int, int]]:
        capacity = self.source.capacity
        for begin in range(0, len(tensors), capacity):
            count = min(capacity, len(tensors) - begin)
            yield self._group(tensors, first, begin, count), count, first[begin + count] - first[begin]

    def _group(self, tensors: ctypes.Array[Any], first: list[int], begin: int, count: int) -> ctypes.Structure:
        """`count` tensors from `begin` on, by value."""
        table = self.source.tensors(count, begin)
        table.first[: count + 1] = first[begin : begin + count + 1]
        size = ctypes.sizeof(self.source.tensor)
        ctypes.memmove(table.tensor, ctypes.addressof(tensors[begin]), count * size)
        return table

    def _in_memory(
        self, tensors: ctypes.Array[Any], first: list[int], stream: int
    ) -> Iterator[tuple[ctypes.Structure, int, int]]:
        if not tensors:
            return
        data = bytes(tensors)
        if self._uploaded is None or self._uploaded.tensors != data:
            chunks = (first[i + 1] - first[i] for i in range(len(tensors)))
            owner = [i for i, count in enumerate(chunks) for _ in range(count)]
            parts = (data, bytes((ctypes.c_int64 * len(first))(*first)), bytes((ctypes.c_int32 * len(owner))(*owner)))
            memory = self.device.empty(sum(map(len, parts)))
            self.device.write(memory.address, b"".join(parts), stream)
            places = (memory.address, memory.address + len(data), memory.address + len(data) + len(parts[1]))
            self._uploaded = _Uploaded(data, self.source.table(len(tensors), *places), memory)
        yield self._uploaded.table, len(tensors), first[-1]

    def _give_scratch(self, tensors: ctypes.Array[Any]) -> None:
        """Memory for sums along axes: of each row, of the columns of each tile, and so on."""
        kinds = {each["per"]: each["numbers"] for each in self.source.launches["scratch"]}
        if not kinds:
            return
        begins = [0]
        for x in tensors:
            tiles = -(-x.rows // TILE)
            of_matrix = {"row": x.rows, "column": tiles * x.columns, "tile": tiles, "matrix": 1}
            numbers = x.matrices * sum(count * of_matrix[kind] for kind, count in kinds.items())
            begins.append(begins[-1] + numbers)
        address = self._buffer("scratch", 8 * begins[-1])
        for x, begin in zip(tensors, begins, strict=False):
            x.scratch = address + 8 * begin

    @cached_property
    def _products(self) -> Products:
        axes = {axis["name"]: axis["count"] for axis in self.source.interface["axes"]}
        dtype = "float64" if self.choice.parameter == "float64" else "float32"
        return Products(self.source.launches.get("products", ()), self._chosen, axes, dtype)

    def _give_places(self, tensors: ctypes.Array[Any]) -> None:
        """Memory for the matrices that are kept of each tensor."""
        if not self._products.plans:
            return
        begins = list(accumulate((self._products.most("kept", x) for x in tensors), initial=0))
        address = self._buffer("kept", begins[-1])
        for x, begin in zip(tensors, begins, strict=False):
            x.kept = address + begin

    def _multiply(
        self, launch: str, tensors: ctypes.Array[Any], first: list[int], state: ctypes.Structure, stream: int
    ) -> None:
        """The steps over the matrices of each tensor."""
        for index, x in enumerate(tensors):
            table = self._group(tensors, first, index, 1)
            for step in self._products.steps(launch, x, self._buffers):
                if isinstance(step, str):
                    self.device.launch(step, first[index + 1] - first[index], THREADS, (table, state), stream)
                elif self.product:
                    self.product(*step)
                else:
                    of = Multiplication.of(*step)
                    blocks = -(-of.matrices * of.rows * of.columns // THREADS)
                    self.device.launch(f"{self.source.path.stem}_multiply", blocks, THREADS, (of,), stream)

    def _buffer(self, name: str, size: int) -> int:
        """The address of a buffer of so many bytes at least, which lives on."""
        if self._sizes.get(name, 0) < size:
            self._buffers[name], self._sizes[name] = self.device.empty(size), size
        return self._buffers[name].address if size else 0

    def _state(
        self, rows: int, tensors: ctypes.Array[Any], chunks: int, row: int, gradient_scale: int, found_inf: int
    ) -> ctypes.Structure:
        counts = {"row": rows, "tensor": len(tensors), "block": chunks * (CHUNK // BLOCK), "call": 1}
        counts["products"] = max((self._products.most("working", x) for x in tensors), default=0) // 8
        addresses = [
            self._buffer(buffer["name"], max(1, counts[buffer["per"]]) * buffer["words"] * 8)
            for buffer in self.source.launches["buffers"]
        ]
        return self.source.state(row, gradient_scale, found_inf, *addresses)
