"""One of two processes of a gloo group: trains with every rule, sharded, and says what differs from one process.

    python sharded_training.py RANK FOLDER RULE=FILE...

FOLDER is for the processes to meet in. Rank 0 writes FOLDER/results.json: check -> rule -> what was wrong, or "".
"""

from __future__ import annotations

import copy
import gc
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from optloom.codegen.conformance.protocol import load_module
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

STEPS = 3
CLIPPED = {"global_clipnorm": 0.5}
STAGED = CLIPPED | {
    "loss_scale_factor": 2.0, "gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.5,
}  # fmt: skip
SMALL = {"d_0", "first_step", "trust_coefficient"}
"""Where rules find their step size themselves: by default too small for three steps to show."""
EXACT = {"rtol": 2e-6, "atol": 2e-7}
LOW = {"rtol": 1e-2, "atol": 1e-3}


def model(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """Rows that two processes share unevenly (5 and 3), and a bias of which one of them has nothing."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3), torch.nn.Linear(3, 1)
    return torch.nn.Sequential(*layers).to(dtype)


def train(net: torch.nn.Module, optimizer: Any, seeds: Iterable[int] = range(STEPS)) -> None:
    dtype = next(net.parameters()).dtype
    for seed in seeds:
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
        net.zero_grad()
        net(x).square().sum().backward()
        optimizer.step(**inputs(optimizer, net))


def inputs(optimizer: Any, net: torch.nn.Module) -> dict[str, Any]:
    """What a step is given beside gradients: a number, or tensors that lie as the parameters do."""
    shapes = getattr(optimizer, "optim", optimizer)._inputs
    squares = [w.grad.square() for w in net.parameters()]
    return {name: 0.5 if shape == "scalar" else squares for name, shape in shapes.items()}


def alone(kind: Any, options: dict[str, Any], steps: int = STEPS, dtype: torch.dtype = torch.float32) -> Any:
    net = model(dtype)
    optimizer = kind(net.named_parameters(), **options)
    train(net, optimizer, range(steps))
    return net, optimizer


def whole(x: torch.Tensor) -> torch.Tensor:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def compare(net: torch.nn.Module, reference: torch.nn.Module, tolerance: dict[str, float] = EXACT) -> None:
    starts = model().parameters()
    for a, b, start in zip(net.parameters(), reference.parameters(), starts, strict=True):
        torch.testing.assert_close(whole(a).detach(), whole(b).detach(), **tolerance)
        assert not torch.allclose(whole(b).float(), start, rtol=1e-3), "a step too small to be compared"


def shard(mesh: DeviceMesh, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    net = model(dtype)
    for layer in net:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    sizes = [w.to_local().numel() for w in net.parameters()]
    assert dist.get_rank() == 0 or 0 in sizes, "an empty shard is part of the test"
    return net


def fsdp(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    """And state that is exported whole, imported, and trained on."""
    net = shard(mesh)
    optimizer = kind(net.named_parameters(), **options)
    train(net, optimizer)
    reference, plain = alone(kind, options)
    compare(net, reference)
    exported, expected = optimizer.export_state(), plain.export_state()
    assert exported.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(exported[name], x, rtol=1e-5, atol=1e-7, err_msg=name)
    resumed = kind(net.named_parameters(), **options)
    resumed.import_state(exported)
    train(net, resumed, [STEPS])
    compare(net, alone(kind, options, STEPS + 1)[0])


def beside_plain(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    """One layer sharded, one on a mesh of other axes, and one that every process has whole."""
    net = model()
    fully_shard(net[0], mesh=mesh)
    fully_shard(net[2], mesh=init_device_mesh("cpu", (1, 2), mesh_dim_names=("replicas", "shards")))
    train(net, kind(net.named_parameters(), **options))
    compare(net, alone(kind, options)[0])


def differentiable(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    net = shard(mesh)
    message = "differentiable=True is not implemented yet for sharded parameters"
    try:
        train(net, kind(net.parameters(), **options))
    except NotImplementedError as refused:
        assert message in str(refused)
    else:
        raise AssertionError(f"not refused: {message}")


def low(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    net = shard(mesh, torch.bfloat16)
    train(net, kind(net.named_parameters(), **options))
    compare(net, alone(kind, options, dtype=torch.bfloat16)[0], LOW)


def checkpoint(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    """Saved after two steps by one sharded run; loaded into another, which has made none."""
    net = shard(mesh)
    optimizer = kind(net.parameters(), **options)
    train(net, optimizer, range(STEPS - 1))
    place = folder / f"{kind.__name__}"
    dcp.save({"net": net.state_dict(), "optimizer": get_optimizer_state_dict(net, optimizer)}, checkpoint_id=place)
    again = shard(mesh)
    resumed = kind(again.parameters(), **options)
    state = {"net": again.state_dict(), "optimizer": get_optimizer_state_dict(again, resumed)}
    dcp.load(state, checkpoint_id=place)
    again.load_state_dict(state["net"])
    set_optimizer_state_dict(again, resumed, state["optimizer"])
    compare(again, net, {"rtol": 0, "atol": 0})
    train(again, resumed, [STEPS - 1])
    compare(again, alone(kind, options)[0])


def zero(kind: Any, options: dict[str, Any], mesh: DeviceMesh, folder: Path) -> None:
    net = DistributedDataParallel(model())
    optimizer = ZeroRedundancyOptimizer(net.parameters(), optimizer_class=kind, **options)
    train(net, optimizer)
    compare(net, alone(kind, options)[0])
    optimizer.consolidate_state_dict()
    if dist.get_rank() == 0:
        state = copy.deepcopy(optimizer.state_dict())
        again = kind(model().parameters(), **options)
        again.load_state_dict(state)
        assert {int(each["step"]) for each in again.state.values()} == {STEPS}


CHECKS: tuple[tuple[Callable[..., None], dict[str, Any]], ...] = (
    (fsdp, {"foreach": False}),
    (fsdp, {"foreach": True}),
    (beside_plain, {"foreach": True, **CLIPPED}),
    (low, {"capturable": True}),
    (checkpoint, {}),
    (fsdp, STAGED),
    (checkpoint, STAGED),
    (differentiable, {"differentiable": True}),
    (zero, {}),
    (zero, CLIPPED),
)


def name_of(check: Callable[..., None], options: dict[str, Any]) -> str:
    named = ["staged"] if options is STAGED else [f"{name}={value}" for name, value in options.items()]
    return " ".join([check.__name__, *named])


def main(rank: int, folder: Path, rules: dict[str, str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    results: dict[str, dict[str, str]] = {name_of(*each): {} for each in CHECKS}
    for check, options in CHECKS:
        for rule, file in rules.items():
            kind = next(
                x for x in vars(load_module(file)).values()
                if isinstance(x, type) and issubclass(x, torch.optim.Optimizer)
                and x.__name__.lower() == rule.replace("_", "")
            )  # fmt: skip
            starts = dict.fromkeys(SMALL & inspect.signature(kind).parameters.keys(), 0.1)
            try:
                check(kind, {"lr": 0.05} | starts | options, mesh, folder)
                wrong = ""
            except Exception:
                wrong = traceback.format_exc(limit=-4)
            both: list[Any] = [None, None]
            dist.all_gather_object(both, wrong)
            results[name_of(check, options)][rule] = next(filter(None, both), "")
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
    gc.collect()  # what still holds the group (DistributedDataParallel, in cycles) goes first
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), dict(argument.split("=", 1) for argument in sys.argv[3:]))
