"""The digits in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from optloom.generated.pytorch.adagrad import Adagrad
from optloom.generated.pytorch.adam import Adam
from optloom.generated.pytorch.adamax import Adamax
from task import Task, Variant

GENERATED = {"Adam": Adam, "Adamax": Adamax, "Adagrad": Adagrad}
PEERS = {"Adam": torch.optim.Adam, "Adamax": torch.optim.Adamax, "Adagrad": torch.optim.Adagrad}
RENAMED = {"learning_rate": "lr", "epsilon": "eps"}

Make = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]

torch.set_num_threads(1)


def optimizer(name: str, variant: Variant) -> Make:
    settings: dict[str, object] = {RENAMED.get(key, key): value for key, value in variant.settings(name).items()}
    if "beta_1" in settings:
        settings["betas"] = settings.pop("beta_1"), settings.pop("beta_2")
    kind = (GENERATED if variant.generated else PEERS)[name]
    return lambda parameters: kind(parameters, **settings)


def train(task: Task, make: Make) -> list[float]:
    """The loss over all images before the first update and after each."""
    w1, b1, w2, b2 = parameters = [torch.tensor(weights, requires_grad=True) for weights in task.weights]
    images, labels = torch.from_numpy(task.images), torch.from_numpy(task.labels).long()
    optimizer = make(parameters)

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = torch.tanh(images @ w1 + b1) @ w2 + b2
        return torch.nn.functional.cross_entropy(logits, labels)

    @torch.no_grad()
    def whole_loss() -> float:
        return loss(images, labels).item()

    losses = [whole_loss()]
    for rows in torch.from_numpy(task.batches).long():
        optimizer.zero_grad()
        loss(images[rows], labels[rows]).backward()
        optimizer.step()
        losses.append(whole_loss())
    return losses
