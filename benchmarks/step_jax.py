"""How long a step of Adam takes in JAX under jit with donation: fused, as XLA compiles the formula, and `optax.adam`.

Every round runs every candidate once, in random order; figures are medians over rounds of the peer's time over ours
within a round. `compiled`: seconds until the first step could run, of one try. Writes results/step_jax.json.
Run: `python benchmarks/step_jax.py [--rounds N] [--sizes 1x50000000,...]`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import optax
from optloom.codegen.doctor import machine
from optloom.generated.jax.adam import adam_step
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
SIZES = "1x50000000,100x100000,2000x1000"
"""Leaves and their elements, float32."""


class Candidate:
    """An optimizer whose step is compiled; its parameters and state are given up in each."""

    def __init__(self, count: int, size: int, init: Callable[..., Any], step: Callable[..., Any]) -> None:
        self.params = [jnp.full(size, 0.5) for _ in range(count)]
        self.grads = [jnp.full(size, 0.01) for _ in range(count)]
        self.state = init(self.params)
        start = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=(0, 2)).lower(self.params, self.grads, self.state)
        self.call = lowered.compile()
        self.compiled = time.perf_counter() - start

    def step(self) -> None:
        self.params, self.state = self.call(self.params, self.grads, self.state)
        for leaf in self.params:
            leaf.block_until_ready()


def candidates(count: int, size: int) -> dict[str, Candidate]:
    peer = optax.adam(0.001)

    def peers_step(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = peer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return {
        "fused": Candidate(count, size, *adam_step(fused=True)),
        "step": Candidate(count, size, *adam_step(fused=False)),
        "optax.adam": Candidate(count, size, peer.init, peers_step),
    }


def measured(count: int, size: int, rounds: int) -> dict[str, Any]:
    made = candidates(count, size)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds + 2):
        for name in random.sample(list(made), len(made)):
            start = time.perf_counter()
            made[name].step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    peer = seconds["optax.adam"]
    ratios = {n: statistics.median(a / b for a, b in zip(peer, x, strict=True)) for n, x in seconds.items()}
    compiled = {name: each.compiled for name, each in made.items()}
    medians = {name: statistics.median(x) for name, x in seconds.items()}
    return {"leaves": count, "size": size, "ratios": ratios, "seconds": medians, "compiled": compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", default=SIZES)
    options = parser.parse_args()
    table = Table("leaves", "peer / fused", "peer / step", "fused ms", "compiled: fused", "step", "optax.adam")
    found = []
    for each in options.sizes.split(","):
        count, size = map(int, each.split("x"))
        row = measured(count, size, options.rounds)
        found.append(row)
        compiled = [f"{row['compiled'][name]:.1f} s" for name in ("fused", "step", "optax.adam")]
        ratios = [f"{row['ratios'][name]:.2f}" for name in ("fused", "step")]
        table.add_row(f"{count} of {size}", *ratios, f"{1000 * row['seconds']['fused']:.2f}", *compiled)
    Console().print(table)
    on = {"processor": machine().processor, "cores": os.cpu_count(), "jax": jax.__version__}
    text = json.dumps({"machine": on, "rounds": options.rounds, "rows": found}, indent=2)
    (RESULTS / "step_jax.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
