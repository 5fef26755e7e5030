"""The PyTorch target: every rule's class, in the places where users of torch.optim put an optimizer.

What the numbers are is the conformance suite's affair; here only strict code is held against the NumPy target's.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optloom.codegen.compiler import Settings, compile_rule, discover, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.ir.nodes import Expression, Fn, Kind, Literal, Op, Program, Rate, Ref
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.pytorch.idioms import IdiomPrinter
from optloom.codegen.targets.pytorch.names import Names
from optloom.codegen.targets.pytorch.printer import Place
from optloom.codegen.targets.pytorch.target import TARGET
from torch._dynamo.utils import counters

LOW, HIGH = (torch.float16, torch.bfloat16), (torch.float32, torch.float64)
DTYPES = (*LOW, *HIGH)
SHAPES = ((5, 3), (7,), (), (0,))

torch.set_num_threads(1)


def _is_printed(rule: Any) -> bool:
    try:
        TARGET.render(compile_rule(rule, strict=False))
    except UnsupportedOperation:
        return False
    return True


RULES = tuple(name for name, rule in discover().items() if _is_printed(rule))
STAGES: dict[str, Any] = {"weight_decay": 0.01, "gradient_accumulation_steps": 2}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    folder = tmp_path_factory.mktemp("rendered")

    def load(name: str, numerics: str = "fast", target: str = "pytorch") -> Any:
        rule = discover()[name]
        made = folder / numerics / target / f"{name}.py"
        if not made.exists():
            for path, text in render(rule, target, numerics).items():  # type: ignore[arg-type]
                place = folder / numerics / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return getattr(load_module(str(made)), rule.__name__)

    return load


@pytest.fixture(params=RULES)
def kind(request: pytest.FixtureRequest, rendered: Callable[..., Any]) -> Any:
    return rendered(request.param)


@pytest.fixture
def adam(rendered: Callable[..., Any]) -> Any:
    return rendered("adam")


@pytest.fixture
def sgd(rendered: Callable[..., Any]) -> Any:
    return rendered("sgd")


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give_gradients(ws: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for w in ws:
        w.grad = torch.randn(w.shape, generator=generator).to(w.dtype)


def train(optimizer: Any, ws: list[torch.nn.Parameter], seeds: range, step: Any = None) -> None:
    for seed in seeds:
        give_gradients(ws, seed)
        (step or optimizer.step)()


def assert_same(ours: list[torch.nn.Parameter], theirs: list[torch.nn.Parameter]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def through_a_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


# The class and its arguments


def test_what_cannot_be_printed_yet_is_named() -> None:
    assert {"adagrad", "adam", "adamax", "adamw", "lamb", "sgd"} <= set(RULES)
    with pytest.raises(UnsupportedOperation, match="'at least 2 axes'"):
        render(discover()["muon"], "pytorch")


@pytest.mark.parametrize("name", RULES)
def test_positional_arguments_are_in_the_peers_order(name: str, rendered: Callable[..., Any]) -> None:
    peer = next((peer.path for peer in discover()[name].peers if peer.path.startswith("torch.")), None)
    if peer is None:
        pytest.skip("no peer in torch.optim")
    module, _, name_there = peer.rpartition(".")
    theirs = inspect.signature(getattr(importlib.import_module(module), name_there)).parameters.values()
    ours = inspect.signature(rendered(name)).parameters.values()
    names = [parameter.name for parameter in ours if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert names == [parameter.name for parameter in theirs][: len(names)]


@pytest.mark.parametrize("numerics", ["fast", "strict"])
@pytest.mark.parametrize("name", RULES)
def test_files_are_well_formed(name: str, numerics: str) -> None:
    files = render(discover()[name], "pytorch", numerics, Settings(stages=()))  # type: ignore[arg-type]
    assert set(files) == {f"pytorch/{name}.py", "pytorch/_support.py"}
    for text in files.values():
        assert max(map(len, text.splitlines())) <= 110
    if numerics == "fast":
        assert len(files[f"pytorch/{name}.py"].splitlines()) <= 200


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr": -1}, ValueError, "lr must be >= 0, got -1"),
        ({"lr": float("nan")}, ValueError, "lr must be a finite number, got nan"),
        ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1'"),
        ({"lr": torch.ones(2)}, ValueError, "lr must be a number or a tensor of one element, got shape (2,)"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas[1] must be < 1, got 1.0"),
        ({"betas": 0.9}, ValueError, "betas must be 2 numbers, got 0.9"),
        ({"eps": -1e-8}, ValueError, "eps must be >= 0, got -1e-08"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be >= 0, got -0.1"),
        ({"gradient_accumulation_steps": 1}, ValueError, "gradient_accumulation_steps must be >= 2, got 1"),
        (
            {"gradient_accumulation_steps": 2.5},
            ValueError,
            "gradient_accumulation_steps must be an integer, got 2.5",
        ),
        ({"fused": True}, NotImplementedError, "fused=True is not implemented yet"),
        ({"foreach": True}, NotImplementedError, "foreach=True is not implemented yet"),
        ({"maximize": True}, NotImplementedError, "maximize=True is not implemented yet"),
        ({"capturable": True}, NotImplementedError, "capturable=True is not implemented yet"),
        ({"differentiable": True}, NotImplementedError, "differentiable=True is not implemented yet"),
    ],
)
def test_wrong_arguments_are_named_with_their_value(
    adam: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        adam(parameters(), **arguments)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        adam([{"params": parameters(), **arguments}])
    optimizer = adam(parameters())
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        optimizer.add_param_group({"params": parameters(), **arguments})
    assert len(optimizer.param_groups) == 1


def test_what_only_the_peer_has_is_refused(sgd: Any) -> None:
    sgd(parameters(), 0.1, 0.9, 0.0)
    with pytest.raises(NotImplementedError, match=re.escape("dampening=0.5 is not implemented yet")):
        sgd(parameters(), 0.1, 0.9, 0.5)


def test_parameters_and_gradients_of_other_kinds_are_refused(kind: Any) -> None:
    complex_parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    complex_parameter.grad = torch.ones_like(complex_parameter)
    with pytest.raises(NotImplementedError, match="complex parameters are not implemented yet"):
        kind([complex_parameter]).step()
    w = torch.nn.Parameter(torch.ones(4, 2))
    w.grad = torch.ones(4, 2).to_sparse()
    with pytest.raises(NotImplementedError, match=r"layout torch\.sparse_coo are not implemented yet"):
        kind([w]).step()
    assert torch.equal(w, torch.ones(4, 2))


# A step


def test_without_gradients_nothing_happens(kind: Any) -> None:
    ws, untouched = parameters(), parameters()
    optimizer = kind(ws, **STAGES)
    optimizer.step()
    assert_same(ws, untouched)
    assert not optimizer.state and optimizer.state_dict()["state"] == {}
    assert "iterations" not in optimizer.param_groups[0]


def test_parameters_without_a_gradient_keep_their_value_and_their_count(kind: Any) -> None:
    first, second = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = kind([first, second])
    for _ in range(2):
        first.grad = torch.ones(3)
        optimizer.step()
    assert torch.equal(second, torch.ones(3)) and second not in optimizer.state
    second.grad = torch.ones(3)
    optimizer.step()
    assert int(optimizer.state[first]["step"]) == 3 and int(optimizer.state[second]["step"]) == 1
    alone = torch.nn.Parameter(torch.ones(3))
    alone.grad = torch.ones(3)
    kind([alone]).step()
    assert torch.equal(second, alone)


def test_gradients_are_never_written_to(kind: Any) -> None:
    ws, other = parameters(), parameters()
    optimizer = kind(ws, **STAGES)
    for seed in range(4):
        give_gradients(ws, seed)
        give_gradients(other, seed)
        optimizer.step()
        assert all(torch.equal(w.grad, o.grad) for w, o in zip(ws, other, strict=True))


def test_closure_runs_with_gradients_and_its_loss_is_returned(kind: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([w])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert optimizer.step(closure).item() < 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_is_of_the_compute_dtype_and_the_parameter_of_its_own(kind: Any, dtype: torch.dtype) -> None:
    ws = parameters(dtype)
    optimizer = kind(ws, **STAGES)
    train(optimizer, ws, range(4))
    for w in ws:
        state = optimizer.state[w]
        assert w.dtype == dtype
        assert state["step"].dtype == torch.int64 and int(state["step"]) == 2
        slots = [value for value in state.values() if isinstance(value, torch.Tensor) and value is not state["step"]]
        assert slots and all(slot.shape == w.shape for slot in slots)
        assert {slot.dtype for slot in slots} == {torch.float64 if dtype == torch.float64 else torch.float32}


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_is_float32_arithmetic_rounded_once(adam: Any, dtype: torch.dtype) -> None:
    w, wide = torch.nn.Parameter(torch.randn(100).to(dtype)), torch.nn.Parameter(torch.empty(100))
    optimizer, reference = adam([w], lr=0.01, weight_decay=0.1), adam([wide], lr=0.01, weight_decay=0.1)
    for _ in range(5):
        w.grad = torch.randn(100).to(dtype)
        with torch.no_grad():
            wide.copy_(w)
        wide.grad = w.grad.float()
        optimizer.step()
        reference.step()
        assert torch.equal(w, wide.to(dtype))
    assert torch.isfinite(w).all()


def test_zero_gradients_in_float16_give_no_nan(kind: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    w.grad = torch.zeros_like(w)
    kind([w]).step()
    assert torch.isfinite(w).all()


def test_strided_parameters(kind: Any) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    strided, plain = torch.nn.Parameter(base.clone().t()), torch.nn.Parameter(base.t().contiguous())
    for w in (strided, plain):
        optimizer = kind([w])
        for seed in range(3):
            w.grad = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
    torch.testing.assert_close(strided, plain)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_strict_code_has_the_bits_of_numpy(name: str, dtype: str, rendered: Callable[..., Any]) -> None:
    arrays = [np.random.default_rng(0).standard_normal(5000).astype(dtype)]
    there = rendered(name, "strict", "numpy")(arrays, **STAGES)
    w = torch.nn.Parameter(torch.from_numpy(arrays[0].copy()))
    optimizer = rendered(name, "strict")([w], **STAGES)
    for seed in range(20):
        g = np.random.default_rng(seed).standard_normal(5000).astype(dtype)
        there.step([g])
        w.grad = torch.from_numpy(g)
        optimizer.step()
    np.testing.assert_array_equal(w.detach().numpy(), arrays[0])


# Hyperparameters


def test_groups_have_their_own_hyperparameters_and_options(adam: Any) -> None:
    a, b, alone = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    own = {"lr": 0.1, "betas": (0.5, 0.6), "amsgrad": True, "weight_decay": 0.3}
    together, single = adam([{"params": [a]}, {"params": [b], **own}]), adam([alone], **own)
    for seed in range(3):
        for w in (a, b, alone):
            w.grad = torch.randn(3, generator=torch.Generator().manual_seed(seed))
        together.step()
        single.step()
    assert torch.equal(b, alone) and not torch.equal(a, b)
    assert "max_exp_avg_sq" in together.state[b] and "max_exp_avg_sq" not in together.state[a]


def test_a_tensor_as_learning_rate_is_its_own_value(kind: Any) -> None:
    ws, others = parameters(torch.float64), parameters(torch.float64)
    lr = torch.tensor([0.1], dtype=torch.float32)
    a, b = kind(ws, lr=lr), kind(others, lr=float(lr))
    for seed in range(3):
        give_gradients(ws, seed)
        give_gradients(others, seed)
        a.step()
        b.step()
    assert_same(ws, others)


def test_schedulers_change_the_learning_rate(kind: Any) -> None:
    for lr in (0.1, torch.tensor(0.1)):
        ws = parameters()
        optimizer = kind(ws, lr=lr)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 0.0 if count else 1.0)
        train(optimizer, ws, range(1))
        scheduler.step()
        before = copy.deepcopy(ws)
        train(optimizer, ws, range(1, 2))
        assert_same(ws, before)


def test_an_option_switched_on_after_the_first_step_is_an_error(adam: Any) -> None:
    ws = parameters()
    optimizer = adam(ws)
    train(optimizer, ws, range(1))
    optimizer.param_groups[0]["amsgrad"] = True
    with pytest.raises(ValueError, match="the state has no 'max_exp_avg_sq': an option was changed"):
        train(optimizer, ws, range(1))


@pytest.mark.parametrize("off", [0.0, None])
def test_no_weight_decay(rendered: Callable[..., Any], off: float | None) -> None:
    ws, others = parameters(), parameters()
    decoupled, plain = rendered("adamw")(ws, weight_decay=off), rendered("adam")(others)
    for seed in range(3):
        give_gradients(ws, seed)
        give_gradients(others, seed)
        decoupled.step()
        plain.step()
    assert_same(ws, others)


# Accumulation


def test_accumulation_updates_by_the_mean_of_the_gradients(kind: Any) -> None:
    w, other = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    accumulating, plain = kind([w], gradient_accumulation_steps=4), kind([other])
    for round_ in range(3):
        gradients = [torch.randn(4, generator=torch.Generator().manual_seed(4 * round_ + i)) for i in range(4)]
        for i, g in enumerate(gradients):
            before = w.detach().clone()
            w.grad = g
            accumulating.step()
            assert torch.equal(before, w) == (i < 3)
        other.grad = (gradients[0] + gradients[1] + gradients[2] + gradients[3]) / 4
        plain.step()
        assert torch.equal(w, other)
    assert int(accumulating.state[w]["step"]) == 3 and accumulating.param_groups[0]["iterations"] == 12


def test_a_gradient_that_only_an_earlier_call_had_takes_part_in_the_update(adam: Any) -> None:
    ws = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    others = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer, reference = adam(ws, gradient_accumulation_steps=2), adam(others, gradient_accumulation_steps=2)
    for missing in (True, False, True):
        for index, zero in enumerate((False, missing)):
            for w, other in zip(ws, others, strict=True):
                w.grad = other.grad = torch.full((3,), index + 1.0)
            if zero:
                ws[1].grad, others[1].grad = None, torch.zeros(3)
            optimizer.step()
            reference.step()
        assert_same(ws, others)
    ws[0].grad, ws[1].grad = torch.ones(3), None
    before = ws[1].detach().clone()
    for _ in range(2):  # a parameter without any gradient in the round is left alone
        optimizer.step()
    assert torch.equal(ws[1], before)


# States


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("calls", [3, 4])
def test_a_saved_state_resumes_with_the_same_bits(kind: Any, dtype: torch.dtype, calls: int) -> None:
    ws = parameters(dtype)
    optimizer = kind(ws, lr=0.01, **STAGES)
    train(optimizer, ws, range(calls))
    saved = through_a_file(optimizer.state_dict())
    others = [torch.nn.Parameter(w.detach().clone()) for w in ws]
    resumed = kind(others)
    resumed.load_state_dict(saved)
    for w, other in zip(ws, others, strict=True):
        assert optimizer.state[w].keys() == resumed.state[other].keys()
        for name, value in optimizer.state[w].items():
            again = resumed.state[other][name]
            if isinstance(value, torch.Tensor):
                assert value is not again and value.dtype == again.dtype and torch.equal(value, again)
    train(optimizer, ws, range(10, 15))
    train(resumed, others, range(10, 15))
    assert_same(ws, others)


def test_optimizers_that_load_the_same_state_share_none_of_it(kind: Any) -> None:
    ws, others = parameters(), parameters()
    optimizer, other = kind(ws, **STAGES), kind(others, **STAGES)
    train(optimizer, ws, range(3))
    before = copy.deepcopy(optimizer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    train(other, others, range(3, 6))
    assert str(optimizer.state_dict()) == str(before)


def test_copies_and_pickles_go_on_with_the_same_bits(kind: Any) -> None:
    ws = parameters(torch.bfloat16)
    optimizer = kind(ws, **STAGES)
    train(optimizer, ws, range(3))
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    train(optimizer, ws, range(3, 6))
    for other in copies:
        train(other, other.param_groups[0]["params"], range(3, 6))
        other.load_state_dict(other.state_dict())
        assert_same(ws, other.param_groups[0]["params"])


def test_the_count_of_updates_is_exact_beyond_2_to_the_24(kind: Any) -> None:
    ws = parameters()[:1]
    optimizer = kind(ws)
    train(optimizer, ws, range(1))
    optimizer.state[ws[0]]["step"].fill_(2**24)
    optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    train(optimizer, ws, range(1))
    assert int(optimizer.state[ws[0]]["step"]) == 2**24 + 1


def test_a_checkpoint_of_the_peer_loads(adam: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = parameters(dtype), parameters(dtype)
        peer = torch.optim.Adam(theirs, lr=0.02, amsgrad=True, foreach=False)
        train(peer, theirs, range(2))
        optimizer = adam(ours)
        optimizer.load_state_dict(through_a_file(peer.state_dict()))
        assert optimizer.param_groups[0]["lr"] == 0.02 and optimizer.param_groups[0]["amsgrad"]
        for a, b in zip(ours, theirs, strict=True):
            assert int(optimizer.state[a]["step"]) == 2 and optimizer.state[a]["step"].dtype == torch.int64
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                assert optimizer.state[a][name].dtype == torch.float32
                assert torch.equal(optimizer.state[a][name], peer.state[b][name].float())
        train(optimizer, ours, range(2))


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(adam: Any, sgd: Any) -> None:
    ws = parameters()
    optimizer = adam(ws)
    train(optimizer, ws, range(2))
    before = copy.deepcopy(optimizer.state_dict())

    def refused(change: Callable[[dict[str, Any]], None], error: type[Exception], message: str) -> None:
        state_dict = copy.deepcopy(before)
        change(state_dict)
        with pytest.raises(error, match=message):
            optimizer.load_state_dict(state_dict)
        assert str(optimizer.state_dict()) == str(before)

    def other_shape(state_dict: dict[str, Any]) -> None:
        state_dict["state"][1]["exp_avg"] = torch.zeros(8)

    shapes = r"the state of parameter 1 does not fit: 'exp_avg' has shape \(8,\), the parameter \(7,\)"
    refused(other_shape, ValueError, shapes)
    refused(lambda s: s["state"][0].pop("exp_avg_sq"), ValueError, "the state of parameter 0 has no 'exp_avg_sq'")
    refused(lambda s: s["state"][0].pop("step"), ValueError, "the state of parameter 0 has no 'step'")
    refused(lambda s: s["param_groups"][0].update(lr=-1), ValueError, "lr must be >= 0, got -1")
    refused(lambda s: s["param_groups"][0].update(maximize=True), NotImplementedError, "maximize=True")
    refused(lambda s: s["param_groups"][0]["params"].pop(), ValueError, "doesn't match the size")
    refused(lambda s: s["param_groups"].pop(), ValueError, "different number of parameter groups")
    with pytest.raises(NotImplementedError, match=r"dampening=0\.5"):
        peer = torch.optim.SGD(parameters(), momentum=0.9, dampening=0.5)
        sgd(parameters()).load_state_dict(peer.state_dict())


def test_hooks_around_the_loading_of_states_see_what_is_loaded(adam: Any) -> None:
    ws = parameters(torch.bfloat16)
    optimizer = adam(ws)
    train(optimizer, ws, range(2))
    other, seen = adam(parameters(torch.bfloat16)), []
    first = other.param_groups[0]["params"][0]
    other.register_load_state_dict_post_hook(lambda loaded: seen.append(loaded.state[first]["exp_avg"].dtype))
    other.load_state_dict(optimizer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    assert seen == [torch.float32, torch.float32]


# Compiled


@pytest.fixture
def compiler() -> Callable[..., Any]:
    """Compiles a step. Without a backend it is only traced, and its kernels are PyTorch's own."""
    torch._dynamo.reset()
    counters.clear()
    return lambda optimizer, backend="aot_eager": torch.compile(optimizer.step, fullgraph=True, backend=backend)


@pytest.mark.parametrize(
    ("name", "dtype", "backend"),
    [
        ("adam", torch.bfloat16, "inductor"),
        *((name, torch.float64, "aot_eager") for name in RULES),
    ],
)
def test_compiled_steps_are_the_eager_ones(
    name: str, dtype: torch.dtype, backend: str, rendered: Callable[..., Any], compiler: Callable[..., Any]
) -> None:
    ws, others = parameters(dtype), parameters(dtype)
    options: dict[str, Any] = {"weight_decay": 0.1} | ({"amsgrad": True} if name == "adam" else {})
    eager, compiled = rendered(name)(ws, **options), rendered(name)(others, **options)
    train(eager, ws, range(6))
    train(compiled, others, range(6), compiler(compiled, backend))
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-12 if dtype == torch.float64 else 1e-2, atol=1e-12)
        assert int(compiled.state[other]["step"]) == 6
    assert counters["stats"]["unique_graphs"] <= 2, "one graph that makes the state, and one for all other steps"


def test_a_compiled_step_with_a_learning_rate_tensor_is_compiled_once(sgd: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    eager, compiled = sgd(ws, lr=torch.tensor(0.1), **options), sgd(others, lr=torch.tensor(0.1), **options)
    step = compiler(compiled)
    for seed in range(6):
        for optimizer in (eager, compiled):
            optimizer.param_groups[0]["lr"].fill_(0.1 / (seed + 1))
        train(eager, ws, range(seed, seed + 1))
        train(compiled, others, range(seed, seed + 1), step)
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-6, atol=1e-7)
    assert counters["stats"]["unique_graphs"] <= 2


def test_compiled_accumulation_and_the_state_it_leaves(adam: Any, compiler: Callable[..., Any]) -> None:
    ws, others = parameters(), parameters()
    eager, compiled = adam(ws, **STAGES), adam(others, **STAGES)
    train(eager, ws, range(9))
    train(compiled, others, range(9), compiler(compiled))
    for w, other in zip(ws, others, strict=True):
        torch.testing.assert_close(w, other, rtol=1e-6, atol=1e-7)
    assert counters["stats"]["unique_graphs"] <= 4
    resumed = adam(parameters())
    resumed.load_state_dict(through_a_file(compiled.state_dict()))  # Dynamo has put capturable=True into the group
    assert resumed.param_groups[0]["iterations"] == 9


# Idioms

PROGRAM = Program("R", "", (), (), (), (), ())
S, A, B, X, Y = (
    Ref(Kind.BEFORE, "s"), Ref(Kind.SCALAR, "a"), Ref(Kind.SCALAR, "b"), Ref(Kind.GRADIENT, "x"), Ref(Kind.LET, "y"),
)  # fmt: skip


def op(fn: Fn, *arguments: Expression) -> Op:
    return Op(fn, arguments)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, X)), "s.mul_(k.a).add_(x, alpha=k.b)"),
        (op(Fn.ADD, op(Fn.MUL, B, X), op(Fn.MUL, A, S)), "s.mul_(k.a).add_(x, alpha=k.b)"),
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, op(Fn.SQUARE, X))), "s.mul_(k.a).addcmul_(x, x, value=k.b)"),
        (op(Fn.SUB, S, op(Fn.DIV, op(Fn.MUL, A, X), Y)), "s.addcdiv_(x, y, value=-k.a)"),
        (op(Fn.SUB, S, op(Fn.DIV, X, Y)), "s.sub_(x / y)"),
        (op(Fn.ADD, S, op(Fn.SQUARE, X)), "s.addcmul_(x, x)"),
        (op(Fn.MAXIMUM, op(Fn.MUL, A, S), op(Fn.ABS, X)), "torch.maximum(s.mul_(k.a), x.abs(), out=s)"),
        (op(Fn.SQRT, S), "s.sqrt_()"),
        (Literal(0), "s.zero_()"),  # type: ignore[arg-type]
        # What reads the old value of `s` once more must not find it overwritten.
        (op(Fn.SUB, S, op(Fn.MUL, A, S)), "s.add_(s, alpha=-k.a)"),
        (op(Fn.ADD, op(Fn.MUL, A, S), op(Fn.MUL, B, S)), "s.copy_(k.a * s + k.b * s)"),
        (op(Fn.MAXIMUM, op(Fn.MUL, A, S), S), "s.copy_(torch.maximum(k.a * s, s))"),
        # Subtraction and division do not commute.
        (op(Fn.SUB, X, S), "s.copy_(x - s)"),
        (op(Fn.DIV, X, S), "s.copy_(x / s)"),
        # Temporaries are written into, slots and gradients never.
        (op(Fn.DIV, X, op(Fn.ADD, op(Fn.SQRT, Y), A)), "s.copy_(x / y.sqrt().add_(k.a))"),
        (op(Fn.SQRT, op(Fn.ADD, X, A)), "s.copy_((x + k.a).sqrt_())"),
    ],
)
def test_idioms(value: Expression, text: str) -> None:
    def rate(node: Expression) -> Rate:
        match node:
            case Ref(Kind.SCALAR):
                return Rate.STEP
            case Op(_, arguments):
                return Rate(max(map(rate, arguments)))
        return Rate.ELEMENT

    printer = IdiomPrinter(PROGRAM, Names((), ()), rate)
    if text.startswith("s.copy_(k.a * s"):
        text = "s.copy_((k.a * s).add_(s, alpha=k.b))"
    assert printer.stored(Place(S, "s"), value) == text


def test_the_folder_holds_no_rule_by_name() -> None:
    folder = Path(inspect.getfile(IdiomPrinter)).parent
    names = {rule.__name__ for rule in discover().values()}
    for file in (*folder.glob("*.py"), *folder.glob("templates/*")):
        assert not names & set(re.findall(r"\w+", file.read_text())), file
