"""Runs the tests of Keras's optimizers that the installed package ships, on ours; prints what failed, as JSON.

It is a program of its own: it puts our classes in the place of Keras's, and one test starts TensorFlow's devices anew.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import unittest
from typing import Any

from tensorflow_cases import PEERS

DISTRIBUTED = "keras.src.backend.tensorflow.optimizer_distribute_test"


def modules() -> list[Any]:
    """The test modules with our classes under the names of Keras's."""
    ours = {peer: getattr(importlib.import_module(f"optloom.generated.tensorflow.{rule}"), peer)
            for rule, peer in PEERS.items()}  # fmt: skip
    own = [importlib.import_module(f"keras.src.optimizers.{peer.lower()}_test") for peer in ours]
    package = importlib.import_module("keras.src.optimizers")
    for name, cls in ours.items():  # before the modules whose tables of classes are made when they are imported
        setattr(package, name, cls)
    shared = [
        importlib.import_module(f"keras.src.optimizers.{part}") for part in ("optimizer_test", "optimizer_sparse_test")
    ]
    distributed = importlib.import_module(DISTRIBUTED)
    for module in (*own, distributed):
        for name, cls in ours.items():
            if hasattr(module, name):
                setattr(module, name, cls)
    return [*own, *shared, distributed]


def main() -> None:
    found: dict[str, Any] = {"run": {}, "failed": {}}
    for module in modules():
        name = module.__name__.rpartition(".")[2]
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        with contextlib.redirect_stdout(io.StringIO()):
            result = unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(suite)
        found["run"][name] = result.testsRun
        for test, traceback in (*result.failures, *result.errors):
            found["failed"][f"{name}.{test.id().rpartition('.')[2]}"] = traceback.strip().splitlines()[-1]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
