"""One of two processes of a gloo group: trains with every rule, sharded, and says what differs from one process.

    python sharded_training.py RANK FOLDER RULE=FILE...

FOLDER is for the processes to meet in. Rank 0 writes FOLDER/results.json: check -> rule -> what was wrong, or "".
"""

from __future__ import annotations

import copy
import gc
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from optloom.codegen.conformance.protocol import load_module
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

STEPS = 3


def model() -> torch.nn.Module:
    """Rows that two processes share unevenly (5 and 3), and a bias of which one of them has nothing."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3), torch.nn.Linear(3, 1))


def backward(net: torch.nn.Module, seed: int) -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(x).square().sum().backward()


def alone(kind: Any, options: dict[str, Any], steps: int = STEPS) -> tuple[torch.nn.Module, Any]:
    net = model()
    optimizer = kind(net.parameters(), **options)
    for seed in range(steps):
        backward(net, seed)
        optimizer.step()
    return net, optimizer


def whole(x: torch.Tensor) -> torch.Tensor:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def compare(net: torch.nn.Module, reference: torch.nn.Module) -> None:
    for a, b in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(whole(a).detach(), b.detach(), rtol=2e-6, atol=2e-7)


def shard(mesh: Any) -> torch.nn.Module:
    net = model()
    for layer in net:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def fsdp(kind: Any, options: dict[str, Any], mesh: Any, folder: Path) -> None:
    net = shard(mesh)
    sizes = [w.to_local().numel() for w in net.parameters()]
    assert dist.get_rank() == 0 or 0 in sizes, "an empty shard is part of the test"
    optimizer = kind(net.parameters(), **options)
    for seed in range(STEPS):
        backward(net, seed)
        optimizer.step()
    reference, plain = alone(kind, options)
    compare(net, reference)
    for w, other in zip(net.parameters(), reference.parameters(), strict=True):
        for name, x in plain.state[other].items():
            if isinstance(x, torch.Tensor) and x.dim():
                torch.testing.assert_close(whole(optimizer.state[w][name]), x, rtol=1e-5, atol=1e-7)


def checkpoint(kind: Any, options: dict[str, Any], mesh: Any, folder: Path) -> None:
    """Saved after two steps by one sharded run; loaded into another, which has made none."""
    net = shard(mesh)
    optimizer = kind(net.parameters(), **options)
    for seed in range(STEPS - 1):
        backward(net, seed)
        optimizer.step()
    place = folder / f"{kind.__name__}"
    dcp.save({"net": net.state_dict(), "optimizer": get_optimizer_state_dict(net, optimizer)}, checkpoint_id=place)
    again = shard(mesh)
    resumed = kind(again.parameters(), **options)
    state = {"net": again.state_dict(), "optimizer": get_optimizer_state_dict(again, resumed)}
    dcp.load(state, checkpoint_id=place)
    again.load_state_dict(state["net"])
    set_optimizer_state_dict(again, resumed, state["optimizer"])
    backward(again, STEPS - 1)
    resumed.step()
    compare(again, alone(kind, options)[0])


def zero(kind: Any, options: dict[str, Any], mesh: Any, folder: Path) -> None:
    net = DistributedDataParallel(model())
    optimizer = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=kind, **options)
    for seed in range(STEPS):
        backward(net, seed)
        optimizer.step()
    compare(net, alone(kind, options)[0])
    optimizer.consolidate_state_dict()
    if dist.get_rank() == 0:
        state = copy.deepcopy(optimizer.state_dict())
        again = kind(model().parameters(), **options)
        again.load_state_dict(state)
        assert {int(each["step"]) for each in again.state.values()} == {STEPS}


CHECKS: dict[str, Callable[..., None]] = {"fsdp": fsdp, "checkpoint": checkpoint, "zero": zero}


def main(rank: int, folder: Path, rules: dict[str, str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    results: dict[str, dict[str, str]] = {}
    for check, run in CHECKS.items():
        for rule, file in rules.items():
            kind = next(
                x for x in vars(load_module(file)).values()
                if isinstance(x, type) and issubclass(x, torch.optim.Optimizer)
                and x.__name__.lower() == rule.replace("_", "")
            )  # fmt: skip
            for foreach in (False, True) if check == "fsdp" else (None,):
                try:
                    run(kind, {"lr": 0.05, "foreach": foreach}, mesh, folder)
                    wrong = ""
                except Exception:
                    wrong = traceback.format_exc(limit=-4)
                both: list[Any] = [None, None]
                dist.all_gather_object(both, wrong)
                results.setdefault(f"{check} {foreach}", {})[rule] = next(filter(None, both), "")
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
    gc.collect()  # what still holds the group (DistributedDataParallel, in cycles) goes first
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), dict(argument.split("=", 1) for argument in sys.argv[3:]))
