"""What surrounds an optimizer in a training step, in one kernel, beside what PyTorch composes it of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Step = Callable[[], Any]
MAX_NORM, DECAY_OF_AVERAGE = 1.0, 0.999
LOW = torch.bfloat16


@dataclass(frozen=True)
class WholeStep:
    """`bytes`: the fewest that the step moves per parameter, fixed by hand."""

    title: str
    bytes: int
    candidates: Callable[[int, int], dict[str, Step]]


def parameters(count: int, size: int) -> list[torch.nn.Parameter]:
    made = [torch.nn.Parameter(torch.full((size,), 0.5)) for _ in range(count)]
    for w in made:
        w.grad = torch.full((size,), 0.01)
    return made


def pipeline(count: int, size: int) -> dict[str, Step]:
    """Unscaling, clipping by the norm of all, AdamW and an average of the weights. PyTorch's composition unscales
    nothing."""
    from optloom.generated.pytorch.adamw import AdamW

    around = {"loss_scale_factor": 8.0, "global_clipnorm": MAX_NORM, "use_ema": True, "ema_momentum": DECAY_OF_AVERAGE}
    ours = AdamW(parameters(count, size), fused=True, **around)
    theirs = parameters(count, size)
    optimizer, averages = torch.optim.AdamW(theirs, fused=True), [w.detach().clone() for w in theirs]

    def composed() -> None:
        torch.nn.utils.clip_grad_norm_(theirs, MAX_NORM)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, theirs, 1 - DECAY_OF_AVERAGE)

    return {"ours": ours.step, "composed": composed}


def with_master_weights(count: int, size: int) -> dict[str, Step]:
    """AdamW on float32 weights, from gradients of bfloat16 and with a copy in bfloat16, the model's parameters."""
    from optloom.generated.pytorch.adamw import AdamW

    copies = [torch.nn.Parameter(w.detach().to(LOW)) for w in parameters(count, size)]
    for w in copies:
        w.grad = torch.full_like(w, 0.01)
    ours = AdamW(copies, master_weights=True, fused=True)
    masters = parameters(count, size)
    optimizer = torch.optim.AdamW(masters, fused=True)
    gradients = [w.grad.to(LOW) for w in masters]  # type: ignore[union-attr]
    low = [w.detach().to(LOW) for w in masters]

    def composed() -> None:
        with torch.no_grad():
            torch._foreach_copy_([w.grad for w in masters], gradients)
            optimizer.step()
            torch._foreach_copy_(low, masters)

    return {"ours": ours.step, "composed": composed}


WHOLE_STEPS = (
    WholeStep("unscale, clip, AdamW, EMA", 40, pipeline),
    WholeStep("AdamW, bfloat16 gradients and copy", 28, with_master_weights),
)
