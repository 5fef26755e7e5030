"""The transformer in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import task
import torch
from numpy.typing import NDArray
from optloom.generated.pytorch.adam import Adam
from optloom.generated.pytorch.adamw import AdamW
from torch import Tensor, nn

CHECKPOINT = "checkpoint.pt"
OPTIMIZERS = {"adam": Adam, "adamw": AdamW}


class Block(nn.Module):
    """Causal attention and a perceptron, each behind a layer norm and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(task.WIDTH)
        self.queries_keys_values = nn.Linear(task.WIDTH, 3 * task.WIDTH)
        self.attended = nn.Linear(task.WIDTH, task.WIDTH)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(task.WIDTH),
            nn.Linear(task.WIDTH, 4 * task.WIDTH),
            nn.GELU(),
            nn.Linear(4 * task.WIDTH, task.WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        heads = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (3, task.HEADS, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.attended(attended.transpose(1, 2).flatten(2))
        return x + self.perceptron(x)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(task.characters(), task.WIDTH)
        self.positions = nn.Parameter(torch.zeros(task.CONTEXT, task.WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(task.BLOCKS)))
        self.norm = nn.LayerNorm(task.WIDTH)
        self.logits = nn.Linear(task.WIDTH, task.characters())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.norm(self.blocks(self.characters(tokens) + self.positions)))


class Training:
    def __init__(self, dtype: str, optimizer: str) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(task.SEED)
        self.model = Transformer().to(getattr(torch, dtype))
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters(), lr=task.LEARNING_RATE)
        self.steps = 0

    def step(self, tokens: task.Tokens) -> None:
        self.optimizer.zero_grad()
        self._loss(tokens).backward()
        self.optimizer.step()
        self.steps += 1

    @torch.no_grad()
    def loss(self, tokens: task.Tokens) -> float:
        return self._loss(tokens).item()

    def _loss(self, tokens: task.Tokens) -> Tensor:
        rows = torch.from_numpy(tokens).long()
        logits = self.model(rows[:, :-1]).float()
        return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }
        task.write_whole(path, partial(torch.save, state))

    def load(self, path: Path) -> int:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        return self.steps

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        slots = (state[name] for state in self.optimizer.state.values() for name in sorted(state))
        for tensor in (*self.model.state_dict().values(), *slots):
            yield tensor.detach().reshape(-1).view(torch.uint8).numpy()  # numpy has no bfloat16 of its own
