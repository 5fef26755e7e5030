"""What surrounds an optimizer in a training step, in one kernel, beside what PyTorch composes it of."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optloom.generated
import torch
from optloom.codegen.c_family.native import State, bits_of, interface_of, switches_of
from optloom.codegen.conformance.protocol import numpy_dtype
from optloom.codegen.targets.cpp import runner

Step = Callable[[], Any]
MAX_NORM, DECAY_OF_AVERAGE = 1.0, 0.999
LOW = torch.bfloat16
TYPES = "-DOPTLOOM_PARAMETER=float32 -DOPTLOOM_GRADIENT=bfloat16 -DOPTLOOM_COPY=bfloat16 -DOPTLOOM_GRADIENTS=0"


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
    """AdamW on float32 weights, from gradients of bfloat16 and with a copy in bfloat16, by the C interface."""
    masters = parameters(count, size)
    optimizer = torch.optim.AdamW(masters, fused=True)
    gradients = [w.grad.to(LOW) for w in masters]  # type: ignore[union-attr]
    low = [w.detach().to(LOW) for w in masters]

    def composed() -> None:
        with torch.no_grad():
            torch._foreach_copy_([w.grad for w in masters], gradients)
            optimizer.step()
            torch._foreach_copy_(low, masters)

    return {"ours": _kernel(count, size), "composed": composed}


def _kernel(count: int, size: int) -> Step:
    file = Path(next(iter(optloom.generated.__path__))) / "cpp" / "adamw.cpp"
    hypers = {"weight_decay": 0.004}
    options = bits_of(switches_of(interface_of(file), hypers, {}))
    command = f'g++ {runner.FLAGS} -march=native {TYPES} -DOPTLOOM_OPTIONS={options} -DOPTLOOM_DIGEST=""'
    library = runner.library(str(file), command)
    weights = [np.full(size, 0.5, np.float32) for _ in range(count)]
    slots = {name: [np.zeros_like(w) for w in weights] for name in State(library, hypers, {}, []).existing()}
    state = State(library, hypers, {}, weights, slots)
    low = numpy_dtype("bfloat16")
    state.set_gradients([np.full(size, 0.01, low) for _ in weights])
    copies = [np.zeros(size, low) for _ in weights]
    for tensor, copy in zip(state.tensors, copies, strict=True):
        tensor.copy = copy.ctypes.data
    arguments = (state.bits, 1, ctypes.byref(state.row), count, state.tensors, ctypes.c_double(1))

    def step(_: Any = (state, copies)) -> None:
        library.call("step", *arguments)

    return step


WHOLE_STEPS = (
    WholeStep("unscale, clip, AdamW, EMA", 40, pipeline),
    WholeStep("AdamW, bfloat16 gradients and copy", 28, with_master_weights),
)
