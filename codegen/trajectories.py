"""A rule under its peers' conventions, run by the generated NumPy class on one small example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optloom.spec.declarations import Peer
from optloom.spec.rule import Rule

from .compiler import DEFAULT, Settings, dialect_of, program_for, render
from .conformance.protocol import REFERENCE, load_module
from .ir.nodes import Hyperparameter, Program

OWN = "each peer's defaults"
SHAPE = (3, 4)
CURVATURES = np.logspace(-4, 2, 12).reshape(SHAPE)
"""The example: a quadratic bowl, ill-conditioned as losses are, so that some gradients are as small as epsilons."""
START = np.linspace(-1.5, 2, 12).reshape(SHAPE)


def settings(program: Program, peers: Sequence[Peer]) -> Iterator[tuple[str, dict[str, float]]]:
    """Names and numbers of the runs: the rule's defaults, the peers' own, and each optional number given."""
    yield "the rule's defaults", {}
    if any(peer.defaults for peer in peers):
        yield OWN, {}
    for hyper in program.hypers:
        if hyper.optional and not hyper.integer and (hyper.default in (None, hyper.off)):
            number = _number(hyper)
            yield f"{hyper.name}={number:g}", {hyper.name: number}


def _number(hyper: Hyperparameter) -> float:
    bounds = dict(hyper.bounds)
    high = bounds.get("<", bounds.get("<="))
    return 0.1 if high is None else 0.9 * high


def run(rule: type[Rule], peer: Peer, numbers: Mapping[str, float], steps: int) -> list[list[float]] | None:
    """The weights before and after each step, in float64; None where the peer's formula lacks one of `numbers`."""
    chosen = dialect_of(rule, peer.path)
    program = program_for(rule, REFERENCE, settings=chosen)
    if not set(numbers) <= {hyper.name for hyper in program.hypers}:
        return None
    w = START.copy()
    optimizer = generated_class(rule, chosen)([w], **numbers)
    found = [w.ravel().tolist()]
    for _ in range(steps):
        gradient = CURVATURES * w
        optimizer.step([gradient], *_inputs(program, gradient))
        found.append(w.ravel().tolist())
    return found


def generated_class(rule: type[Rule], settings: Settings = DEFAULT) -> Any:
    """The generated NumPy class of `rule`. Raises SpecError for a rule that is wrong."""
    with TemporaryDirectory() as folder:
        for path, text in render(rule, REFERENCE, settings=settings).items():
            (Path(folder) / Path(path).name).write_text(text)
        source = program_for(rule, REFERENCE, settings=settings).source
        return getattr(load_module(str(Path(folder) / source)), rule.__name__)


def _inputs(program: Program, gradient: NDArray[np.float64]) -> list[dict[str, object]]:
    """The extra inputs of a call: 1 for numbers, the squared gradient for tensors."""
    extra: dict[str, object] = {
        source.name: 1.0 if source.shape == "scalar" else [gradient**2] for source in program.inputs
    }
    return [extra] if extra else []
