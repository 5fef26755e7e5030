"""Worker processes, one per target, kept alive for many jobs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import optloom.codegen

from .protocol import Job, Mode, Snapshot


class Skipped(Exception):
    """The target does not have what was asked for."""


class Failed(Exception):
    """The target's code raised; the message is its traceback."""


@dataclass
class Worker:
    """The process of one target's runner."""

    target: str
    process: subprocess.Popen[bytes] | None = None
    _lock: Lock = field(default_factory=Lock)

    def modes(self) -> tuple[Mode, ...]:
        answer: tuple[Mode, ...] = self._ask("modes")
        return answer

    def run(self, job: Job) -> list[list[Snapshot]]:
        """The snapshots of `job`. Raises Skipped or Failed; a worker that died is started anew for the next job."""
        answer: list[list[Snapshot]] = self._ask(job)
        return answer

    def _ask(self, request: Any) -> Any:
        with self._lock:
            process = self._started()
            assert process.stdin and process.stdout
            try:
                pickle.dump(request, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                kind, value = pickle.load(process.stdout)
            except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
                self.close()
                raise Failed(f"the process of {self.target} ended with status {process.returncode}") from error
        if kind == "skip":
            raise Skipped(value)
        if kind == "error":
            raise Failed(value)
        return value

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            root = str(Path(optloom.codegen.__file__).parent.parent.parent)
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", self.target],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )  # fmt: skip
        return self.process

    def close(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin and self.process.stdout
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None
