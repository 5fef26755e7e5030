"""What PyTorch calls things: its own names for hyperparameters, and for the slots those of the peer."""

from __future__ import annotations

import builtins
from collections.abc import Mapping

from optloom.spec.declarations import Peer

RENAMED: Mapping[str, str] = {"learning_rate": "lr", "epsilon": "eps"}
"""Hyperparameters that have another name in every optimizer of PyTorch."""
TUPLES: Mapping[str, tuple[str, ...]] = {
    "betas": ("beta_1", "beta_2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_size_min", "step_size_max"),
    "eps": ("epsilon_1", "epsilon_2"),
}  # fmt: skip
"""Hyperparameters that are one argument together."""
OFF: Mapping[str, float] = {"weight_decay": 0.0}
"""What stands for None in PyTorch."""


class Names:
    """The names of one rule. `peers`: those of the rule; `hypers`: the names of its hyperparameters."""

    def __init__(self, peers: tuple[Peer, ...], hypers: tuple[str, ...]) -> None:
        self.peer = next((peer for peer in peers if peer.path.startswith("torch.")), None)
        self.hypers = hypers
        self.machine_epsilon = self.peer.machine_epsilon if self.peer else ()

    def hyper(self, name: str) -> str:
        renamed = self.peer.names if self.peer else {}
        return renamed.get(name, RENAMED.get(name, name))

    def argument(self, name: str) -> str:
        """The argument, and key of a param group, that holds a hyperparameter or option."""
        for argument, parts in TUPLES.items():
            if name in parts and set(parts) <= set(self.hypers):
                return argument
        return self.hyper(name)

    def value(self, name: str) -> str:
        """The value that a param group holds for a hyperparameter or option."""
        argument = self.argument(name)
        return f'group["{argument}"]{self._index(name)}'

    def place(self, name: str) -> tuple[str, int | None]:
        """The key of a param group that holds a hyperparameter, and the place in a tuple."""
        argument = self.argument(name)
        parts = TUPLES.get(argument, ())
        return argument, parts.index(name) if name in parts else None

    def shown(self, name: str) -> str:
        """How users write a hyperparameter: `lr`, `betas[0]`."""
        return f"{self.argument(name)}{self._index(name)}"

    def _index(self, name: str) -> str:
        _, at = self.place(name)
        return "" if at is None else f"[{at}]"

    def slot(self, name: str) -> str:
        """The key of a slot in a parameter's state."""
        return self.peer.slots.get(name, name) if self.peer else name

    def variable(self, name: str) -> str:
        """The variable of a slot in the formula."""
        slot = self.slot(name)
        return f"state_{slot}" if hasattr(builtins, slot) else slot
