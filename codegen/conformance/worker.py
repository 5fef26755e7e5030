"""The process that hosts one target's runner.

`python -m optloom.codegen.conformance.worker TARGET` reads pickled requests from its standard input and writes one
pickled reply for each to its standard output: "modes" -> the runner's modes; a Job -> its snapshots. A reply is
("ok", value), ("skip", reason) or ("error", traceback). Whatever the framework prints goes to standard error.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback
from typing import Any, BinaryIO, cast

from .protocol import Job, Runner, Skip


def answer(target: str, request: Any) -> tuple[str, Any]:
    try:
        runner = cast(Runner, importlib.import_module(f"optloom.codegen.targets.{target}.runner"))
        return "ok", runner.run(request) if isinstance(request, Job) else runner.MODES
    except (Skip, NotImplementedError) as reason:
        return "skip", str(reason)
    except ImportError as error:
        return (
            ("skip", f"not installed: {error.name}")
            if _is_missing_package(error)
            else ("error", traceback.format_exc())
        )
    except Exception:
        return "error", traceback.format_exc()


def _is_missing_package(error: ImportError) -> bool:
    """A package that is not ours is not there; anything else about an import is a defect."""
    return isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(("optloom", "rendered_"))


def serve(target: str, requests: BinaryIO, replies: BinaryIO) -> None:
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(answer(target, request), replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


def main() -> None:
    """Takes the pipes for itself, and points standard output at standard error for everybody else."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin.close()
    serve(sys.argv[1], requests, replies)


if __name__ == "__main__":
    main()
