"""One of two processes of a gloo group: rounds sharded parameters by chance, and says what differs from whole ones.

    python sharded_rounding.py RANK FOLDER FILE CLASS

FOLDER is for the processes to meet in. FILE has the optimizer's kernel beside it. Prints what is wrong, or nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from optloom.codegen.conformance.protocol import load_module
from torch.distributed.tensor import DeviceMesh, Placement, Shard, distribute_tensor, init_device_mesh

SHAPE = (5, 6)
PLACEMENTS: tuple[tuple[Placement, ...], ...] = ((Shard(0),), (Shard(1),))
"""Rows that two processes share unevenly (3 and 2), and columns, of which neither has a row whole."""
OPTIONS = {"lr": 1e-3, "stochastic_rounding": True}


def start() -> torch.Tensor:
    return torch.linspace(-1, 1, 30, dtype=torch.bfloat16).reshape(SHAPE)


def gradient(step: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(step)).to(torch.bfloat16)


def trained(kind: Any, mesh: DeviceMesh | None, placements: tuple[Placement, ...], **options: Any) -> torch.Tensor:
    """The parameter after three steps, whole."""

    def placed(x: torch.Tensor) -> torch.Tensor:
        return x if mesh is None else distribute_tensor(x, mesh, placements)

    w = torch.nn.Parameter(placed(start()))
    optimizer = kind([w], **OPTIONS, **options)
    for step in range(3):
        w.grad = placed(gradient(step))
        optimizer.step()
    found: torch.Tensor = (w if mesh is None else w.full_tensor()).detach()  # type: ignore[attr-defined]
    return found


def check(kind: Any, mesh: DeviceMesh, placements: tuple[Placement, ...]) -> None:
    expected = trained(kind, None, ())
    for foreach in (False, True):
        found = trained(kind, mesh, placements, foreach=foreach)
        assert torch.equal(found, expected), f"{placements}, foreach={foreach}: {int((found != expected).sum())} differ"
    try:
        trained(kind, mesh, placements, fused=True)
    except ValueError as refused:
        message = "parameter 0 is distributed, and the step counts elements of whole tensors; pass fused=False"
        assert message in str(refused), refused
    else:
        raise AssertionError("fused=True was not refused")


def main(rank: int, folder: Path, file: str, name: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh, kind = init_device_mesh("cpu", (2,)), getattr(load_module(file), name)
    for placements in PLACEMENTS:
        check(kind, mesh, placements)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
