"""Two processes over gloo, with uneven and empty shards: each equals one process that has everything."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optloom.codegen.compiler import discover, render
from torch_training import EACH_KIND, WITH_INPUTS

HERE = Path(__file__).parent
ROOT = Path(__file__).resolve().parents[3]
RULES = (*EACH_KIND, *WITH_INPUTS)


def _run_twice(worker: str, folder: Path, *arguments: str) -> None:
    """Two processes, of rank 0 and 1, which meet in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".ci" / "importroot"), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(HERE / worker), str(rank), str(folder), *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), "\n".join(outputs)


@pytest.fixture(scope="module")
def results(rendered: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the two processes found, by check and rule."""
    folder = tmp_path_factory.mktemp("sharded")
    _run_twice("sharded_training.py", folder, *(f"{name}={inspect.getsourcefile(rendered(name))}" for name in RULES))
    made: dict[str, dict[str, str]] = json.loads((folder / "results.json").read_text())
    return made


CHECKS = (
    "fsdp foreach=False", "fsdp foreach=True", "beside_plain foreach=True global_clipnorm=0.5", "low capturable=True",
    "differentiable differentiable=True", "checkpoint", "zero",
    "fsdp staged", "checkpoint staged",
)  # fmt: skip


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("check", CHECKS)
def test_sharded_is_as_unsharded(
    check: str, name: str, results: dict[str, dict[str, str]], rendered: Callable[..., Any]
) -> None:
    refusal = refused(rendered(name)) if check == "zero" else ""
    found = results[check][name]
    assert refusal in found if refusal else not found, found


def refused(kind: Any) -> str:
    """What a class says to ZeroRedundancyOptimizer, which shows each process some of the parameters."""
    optimizer = kind([torch.nn.Parameter(torch.ones(2))])
    if summed := optimizer._summed(optimizer.param_groups[0]):
        return f"NotImplementedError: {summed} sums over all parameters"
    tensors = [name for name, shape in kind._inputs.items() if shape == "parameter"]
    return f"ValueError: {tensors[0]} must be a tensor for each of" if tensors else ""


def test_sums_over_all_parameters_are_refused_where_a_process_sees_some(results: dict[str, dict[str, str]]) -> None:
    message = (
        "NotImplementedError: global_clipnorm=0.5 sums over all parameters, of which ZeroRedundancyOptimizer shows "
        "each process some; shard the model by fully_shard instead"
    )
    assert all(message in found for found in results["zero global_clipnorm=0.5"].values())


def test_parts_are_rounded_by_chance_as_the_whole_is(rendered: Callable[..., Any], tmp_path: Path) -> None:
    """Bit by bit, since each element draws by its place in the whole tensor; kernels, which are not told it, refuse."""
    kind = rendered("adam", "strict")
    file = Path(kind._file)
    file.with_suffix(".cpp").write_text(render(discover()["adam"], "cpp")["cpp/adam.cpp"])
    _run_twice("sharded_rounding.py", tmp_path, str(file), kind.__name__)
