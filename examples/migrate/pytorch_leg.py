"""A leg of the journey in PyTorch. Dense layers lie the other way round here: their weights are (outputs, inputs)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from task import Arrays
from torch.nn import functional

NAMES = {"hidden/kernel": "hidden.weight", "hidden/bias": "hidden.bias", "output/kernel": "output.weight",
         "output/bias": "output.bias"}  # fmt: skip


class Leg:
    def __init__(self, module: Any, rule: str, hypers: dict[str, float], weights: Arrays, state: Arrays | None) -> None:
        self.model = torch.nn.ModuleDict({"hidden": torch.nn.Linear(16, 6), "output": torch.nn.Linear(6, 10)})
        for name, w in weights.items():
            self.parameter(name).data = torch.from_numpy(w.T.copy())
        arguments = {"lr" if name == "learning_rate" else name: value for name, value in hypers.items()}
        if "weight_decay" in arguments:  # Adam's own in PyTorch is coupled
            arguments["decoupled_weight_decay"] = True
        self.optimizer = getattr(module, rule)(self.model.named_parameters(), **arguments)
        if state:
            self.optimizer.import_state(state)

    def parameter(self, name: str) -> torch.nn.Parameter:
        return self.model.get_parameter(NAMES[name])

    def gradients(self, images: Any, labels: Any) -> tuple[float, Arrays]:
        """The loss of a batch, and its gradients."""
        self.optimizer.zero_grad()
        hidden = torch.tanh(self.model["hidden"](torch.from_numpy(images)))
        loss = functional.cross_entropy(self.model["output"](hidden), torch.from_numpy(labels).long())
        loss.backward()
        return loss.item(), {name: self.parameter(name).grad.numpy().T.copy() for name in NAMES}

    def step(self, gradients: Arrays) -> None:
        for name, g in gradients.items():
            self.parameter(name).grad = torch.from_numpy(g.T.copy())
        self.optimizer.step()

    def weights(self) -> Arrays:
        return {name: np.ascontiguousarray(self.parameter(name).detach().numpy().T) for name in NAMES}

    def state(self) -> Arrays:
        return self.optimizer.export_state()
