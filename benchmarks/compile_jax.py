"""How long a step of many leaves takes to trace and to compile: the generated Adam's two doors, and optax's.

Each is compiled in a process of its own. Run: `python benchmarks/compile_jax.py [LEAVES]`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

DOORS = ("optax", "factory", "step")


def step_of(door: str) -> tuple[Callable[[Any], Any], Callable[..., Any]]:
    """`init(params)`, and one whole training step of parameters, gradients and state."""
    import optax
    from optloom.generated.jax.adam import adam, adam_step

    if door == "step":
        return adam_step(0.1)
    optimizer = {"optax": optax.adam, "factory": adam}[door](0.1)

    def step(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return optimizer.init, step


def measure(door: str, leaves: int) -> tuple[float, float]:
    """Seconds of this process's processor time to trace and lower, and to compile. Leaves are of eight shapes."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    init, step = step_of(door)
    params = {f"leaf{index}": jnp.ones((16 + index % 8, 32)) for index in range(leaves)}
    state = init(params)
    start = time.process_time()
    lowered = jax.jit(step).lower(params, params, state)
    middle = time.process_time()
    lowered.compile()
    return middle - start, time.process_time() - middle


def main(leaves: int) -> None:
    table = Table("Adam", "trace and lower, s", "compile, s", "together, to optax's")
    together: dict[str, float] = {}
    for door in DOORS:
        command = [sys.executable, __file__, "--one", door, str(leaves)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        traced, compiled = map(float, done.stdout.split())
        together[door] = traced + compiled
        table.add_row(door, f"{traced:.2f}", f"{compiled:.2f}", f"{together[door] / together['optax']:.2f}")
    Console().print(f"{leaves} leaves", table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(*measure(sys.argv[2], int(sys.argv[3])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
