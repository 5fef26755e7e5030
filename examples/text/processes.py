"""The workers' processes: run to the end, or killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")

Report = dict[str, Any]


class WorkerFailed(Exception):
    """A worker ended as it should not have. The message holds what it wrote to stderr."""


@dataclass(frozen=True)
class Plan:
    """What a worker does: `steps` updates, and a checkpoint after each `save_every` of them."""

    framework: str
    dtype: str
    optimizer: str
    steps: int
    save_every: int

    @property
    def kill_at(self) -> int:
        """The step to be killed in: about the middle, between two checkpoints."""
        return self.steps // 2 // self.save_every * self.save_every + (self.save_every + 1) // 2


def run_to_end(plan: Plan, folder: Path) -> tuple[Report, Report]:
    """The first and the last report of a worker, which goes on from the checkpoint in `folder`, if there is one."""
    with _started(plan, folder) as process:
        lines = list(_reports(process))
    if process.returncode != 0:
        raise _failed(plan, folder, f"ended with status {process.returncode}")
    return lines[0], lines[-1]


def run_and_kill(plan: Plan, folder: Path) -> None:
    """Kills a worker (SIGKILL) in the step `plan.kill_at`; it would not go further, were we late."""
    killed = False
    with _started(plan, folder, f"--wait-after={plan.kill_at}") as process:
        for line in _reports(process):
            if line.get("step") == plan.kill_at - 1:
                process.kill()
                killed = True
    if not killed:
        raise _failed(plan, folder, f"ended by itself, before it was to be killed in step {plan.kill_at}")


@contextmanager
def _started(plan: Plan, folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A worker; an exception on our side does not leave it running."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [f"--steps={plan.steps}", f"--save-every={plan.save_every}", f"--folder={folder}"]
    command = [sys.executable, str(WORKER), plan.framework, plan.dtype, plan.optimizer, *numbers, *options]
    with (
        _log(folder).open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _reports(process: subprocess.Popen[str]) -> Iterator[Report]:
    assert process.stdout
    return map(json.loads, process.stdout)


def _failed(plan: Plan, folder: Path, what: str) -> WorkerFailed:
    stderr = _log(folder).read_text(errors="replace")
    return WorkerFailed(f"{plan.framework} in {plan.dtype} with {plan.optimizer} {what}\n{stderr}")


def _log(folder: Path) -> Path:
    return folder / "stderr.log"
