"""Steps by kernels for GPUs, up to the launch: the same code on CPU tensors, its kernels under emulation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optloom.codegen.targets.cuda import emulation
from optloom.generated.pytorch import _cuda_launcher, _fused_cuda
from optloom.generated.pytorch._fused import Refused
from optloom.generated.pytorch.adafactor import Adafactor
from optloom.generated.pytorch.adam import Adam
from optloom.generated.pytorch.lamb import Lamb
from optloom.generated.pytorch.muon import Muon
from optloom.generated.pytorch.sgd import SGD
from torch import Tensor

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")


class TensorDevice(emulation.EmulatedDevice):
    """The host, whose memory PyTorch can multiply in."""

    def empty(self, size: int) -> Any:
        memory = _fused_cuda.TensorMemory(size, torch.device("cpu"))
        memory.tensor.fill_(255)
        return memory


class HostContext(_fused_cuda.Context):
    """The host as a device."""

    kind = "cpu"
    captures = False

    def launcher(self, source: Any, choice: Any) -> Any:
        device = TensorDevice(emulation._built(source.path, source.text, choice), order=11)
        return _cuda_launcher.Launcher(source, choice, device, _fused_cuda.product)

    def is_capturing(self) -> bool:
        return self.captures

    def run(self, launcher: Any, *arguments: Any, **options: Any) -> None:
        launcher.run("step", *arguments, **options)


def tensors(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes: list[tuple[int, ...]] = [(5000,), (3, 7), (), (0,), (4, 6)]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    made[-1] = made[-1].t()
    return [x.requires_grad_() for x in made]


def set_gradients(params: list[Tensor], seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for w in params:
        w.grad = (torch.randn(w.shape, generator=generator) * scale).to(w.device, w.dtype)


def on_device(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        _fused_cuda.step(optimizer, group, HostContext)


def on_host(optimizer: Any) -> None:
    optimizer.step()


def run(
    make: Callable[[list[Tensor]], Any], step: Callable[[Any], None], dtype: torch.dtype, device: str = "cpu"
) -> list[Tensor]:
    """Parameters and states after some steps with new gradients and another learning rate."""
    params = [w.detach().to(device).requires_grad_() for w in tensors(dtype)]
    optimizer = make(params)
    for seed in range(4):
        set_gradients(params, seed)
        optimizer.param_groups[0]["lr"] = 0.1 / (seed + 1)
        step(optimizer)
    return params + [x for w in params for x in optimizer.state[w].values() if isinstance(x, Tensor)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda params: Adam(params, amsgrad=True, fused=True),
        lambda params: SGD(params, momentum=0.9, maximize=True, gradient_accumulation_steps=2, fused=True),
        lambda params: Lamb(params, fused=True),
        lambda params: Adafactor(params, fused=True),
        lambda params: Muon(params, fused=True),
    ],
    ids=["adam", "sgd", "lamb", "adafactor", "muon"],
)
def test_the_bits_are_those_of_the_host(make: Any, dtype: torch.dtype) -> None:
    ours, theirs = run(make, on_device, dtype), run(make, on_host, dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda params: Adam(params, amsgrad=True, fused=True),
        lambda params: SGD(params, momentum=0.9, maximize=True, gradient_accumulation_steps=2, fused=True),
        lambda params: Lamb(params, fused=True),
        lambda params: Adafactor(params, fused=True),
    ],
    ids=["adam", "sgd", "lamb", "adafactor"],
)
def test_the_bits_of_cuda_are_those_of_the_host(make: Any, dtype: torch.dtype) -> None:
    ours, theirs = run(make, on_host, dtype, "cuda"), run(make, on_host, dtype)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("step", [on_device, on_host])
def test_numbers_that_stay_on_the_device(step: Callable[[Any], None]) -> None:
    """A learning rate that is a tensor, a scale, and whether infinities were found, read by the kernels alone."""
    params, lr = tensors(), torch.tensor(0.5)
    optimizer = SGD(params, lr=lr, fused=True)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(1.0)
    set_gradients(params, 1, scale=4.0)
    before = [w.detach().clone() for w in params]
    step(optimizer)
    assert all(torch.equal(w, old) for w, old in zip(params, before, strict=True))
    optimizer.found_inf.fill_(0)
    lr.fill_(0.25)
    gradients = [w.grad.clone() for w in params if w.grad is not None]
    step(optimizer)
    for w, old, g in zip(params, before, gradients, strict=True):
        assert torch.equal(w, old - g / 4 * 0.25)
        assert w.grad is not None and torch.equal(w.grad, g / 4)
        assert optimizer.state[w]["step"] == 1


def test_kernels_are_told_of_gradients_that_are_not_finite() -> None:
    """Without a number read back, whoever else found infinities."""
    params = tensors()
    optimizer = SGD(params, lr=0.5, fused=True, skip_nonfinite=True)
    set_gradients(params, 1)
    before = [w.detach().clone() for w in params]
    for nonfinite, found_inf in ((1.0, None), (1.0, torch.tensor(0.0)), (0.0, torch.tensor(1.0))):
        optimizer._nonfinite, optimizer.found_inf = torch.tensor(nonfinite), found_inf
        on_device(optimizer)
        assert all(torch.equal(w, old) for w, old in zip(params, before, strict=True))
    optimizer.found_inf.fill_(0)
    on_device(optimizer)
    assert not torch.equal(params[0], before[0])


def test_a_captured_step_takes_its_tensors_with_it() -> None:
    """Many tensors by value, so that nothing is copied to the device while a graph is captured."""
    params = [torch.full((3,), float(i), requires_grad=True) for i in range(150)]
    optimizer = SGD(params, lr=1.0, fused=True)
    for w in params:
        w.grad = torch.ones(3)
    on_device(optimizer)
    (plan,) = optimizer.__dict__["_plans"][id(optimizer.param_groups[0])].plans
    (launcher,) = plan.launchers.values()
    uploaded, HostContext.captures = launcher._uploaded, True
    try:
        for w in params:
            w.grad = torch.ones(3)
        on_device(optimizer)
    finally:
        HostContext.captures = False
    assert launcher._uploaded is uploaded
    assert [w[0].item() for w in params] == [i - 2 for i in range(150)]


def test_what_is_replaced_is_found_out() -> None:
    params = tensors()
    optimizer = Adam(params, fused=True)
    set_gradients(params, 1)
    on_device(optimizer)
    state = {key: x.clone() for key, x in optimizer.state[params[0]].items()}
    state["step"] = torch.tensor(1e6, dtype=torch.float64)
    optimizer.state[params[0]] = state
    on_device(optimizer)
    assert state["step"] == 1e6 + 1
    assert optimizer.state[params[1]]["step"] == 2


def test_what_is_refused() -> None:
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.sparse_coo_tensor([[0]], [1.0], (3,))
    with pytest.raises(Refused, match="the gradient of parameter 0 is sparse"):
        on_device(SGD([w], fused=True))
    meta = torch.ones(3, device="meta", requires_grad=True)
    meta.grad, w.grad = torch.ones(3, device="meta"), torch.ones(3)
    with pytest.raises(Refused, match="the parameters of a group are on several devices: cpu, meta"):
        on_device(SGD([w, meta], fused=True))
