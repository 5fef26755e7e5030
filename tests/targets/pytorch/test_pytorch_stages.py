"""The whole training step: scopes, averages, clipping, scaling, exclusion from decay, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch_training import assert_close, give_gradients, parameters

HUGE = 3e38


def pair(value: float = 1.0, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.full((3,), value, dtype=dtype)) for _ in range(2)]


def give(ws: list[torch.nn.Parameter], *values: float) -> None:
    for w, value in zip(ws, values, strict=True):
        w.grad = torch.full_like(w, value)


def test_the_average_starts_as_the_weights_and_moves_once_per_update(sgd: Any) -> None:
    """Rate 1, gradient 1, momentum 1/2, two calls per update: the weights -1, -2, -3, their averages by hand."""
    w = torch.nn.Parameter(torch.zeros(1))
    optimizer = sgd([w], lr=1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2)
    averages = []
    for _ in range(6):
        w.grad = torch.ones(1)
        optimizer.step()
        averages.append(float(optimizer.state[w]["weight_average"]))
    assert averages == [0, -1, -1, -1.5, -1.5, -2.25]


def test_averages_stand_in_for_the_weights_within_the_context(adam: Any) -> None:
    ws = parameters()
    optimizer = adam(ws, use_ema=True)
    for seed in range(3):
        give_gradients(ws, seed)
        optimizer.step()
    before = [w.detach().clone() for w in ws]
    with optimizer.averages():
        for w in ws:
            assert torch.equal(w, optimizer.state[w]["weight_average"])
    assert all(torch.equal(w, old) for w, old in zip(ws, before, strict=True))
    with pytest.raises(RuntimeError), optimizer.averages():
        raise RuntimeError
    assert all(torch.equal(w, old) for w, old in zip(ws, before, strict=True))
    optimizer.write_averages()
    assert all(torch.equal(w, optimizer.state[w]["weight_average"]) for w in ws)
    with pytest.raises(ValueError, match="there are no averages: pass use_ema=True"):
        adam(ws).write_averages()


def test_weights_are_overwritten_every_so_many_updates(sgd: Any) -> None:
    w = torch.nn.Parameter(torch.zeros(1))
    optimizer = sgd([w], lr=1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    found = []
    for _ in range(4):
        w.grad = torch.ones(1)
        optimizer.step()
        found.append(float(w.detach()))
    # -1; average (-1 - 2) / 2 written; one step on; average ((-1.5 - 2.5) / 2 - 3.5) / 2 written
    assert found == [-1, -1.5, -2.5, -2.75]


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("clip", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_below_its_threshold_a_clip_changes_no_bit(adam: Any, clip: str, foreach: bool) -> None:
    plain, clipped = parameters(), parameters()
    optimizers = [adam(plain, foreach=foreach), adam(clipped, foreach=foreach, **{clip: 1e3})]
    for seed in range(3):
        for ws, optimizer in zip((plain, clipped), optimizers, strict=True):
            give_gradients(ws, seed)
            optimizer.step()
    for a, b in zip(plain, clipped, strict=True):
        assert torch.equal(a, b)


def test_a_norm_that_overflows_still_scales(sgd: Any) -> None:
    """Finite gradients whose squares are infinite in float32."""
    for clip in ("clipnorm", "global_clipnorm"):
        w = torch.nn.Parameter(torch.zeros(4))
        optimizer = sgd([w], lr=1.0, **{clip: 2.0})
        w.grad = torch.full((4,), HUGE)
        optimizer.step()
        assert_close(w, torch.full((4,), -1.0))


def test_the_global_norm_is_over_all_groups_and_is_pytorchs(sgd: Any) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = sgd([{"params": ours[:2]}, {"params": ours[2:], "lr": 0.5}], lr=1.0, global_clipnorm=1.0)
    peer = torch.optim.SGD([{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.5}], lr=1.0)
    give_gradients(ours, 0)
    give_gradients(theirs, 0)
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    peer.step()
    for w, x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(w, x, rtol=1e-5, atol=1e-6)


def test_gradients_are_divided_by_the_scale_before_anything_else(sgd: Any) -> None:
    plain, scaled = pair(), pair()
    arguments = {"clipvalue": 0.5, "gradient_accumulation_steps": 2}
    optimizers = sgd(plain, **arguments), sgd(scaled, loss_scale_factor=8.0, **arguments)
    for values in ((0.25, 4.0), (0.5, -1.0)):
        give(plain, *values)
        give(scaled, *(8 * value for value in values))
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))
    assert float(scaled[0].grad[0]) == 4.0, "gradients are never written to"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("global_clipnorm", (1.0, 2.0)), ("loss_scale_factor", (None, 2.0)), ("gradient_accumulation_steps", (2, 3)),
        ("use_ema", (True, False)), ("ema_momentum", (0.5, 0.25)), ("skip_nonfinite", (False, True)),
    ],
)  # fmt: skip
def test_groups_may_not_differ_in_what_is_the_optimizers(adam: Any, name: str, values: tuple[Any, Any]) -> None:
    first, second = pair()
    groups = [{"params": [first], name: values[0]}, {"params": [second], name: values[1]}]
    with pytest.raises(ValueError, match=f"{name} is the whole optimizer's, so that groups may not differ in it"):
        adam(groups)


def test_groups_may_differ_in_the_rest(sgd: Any) -> None:
    first, second = pair()
    optimizer = sgd([{"params": [first], "clipvalue": 0.5}, {"params": [second], "clipnorm": 3**0.5}], lr=1.0)
    give([first, second], 4.0, 4.0)
    optimizer.step()
    assert_close(first, torch.full((3,), 0.5))
    assert_close(second, torch.zeros(3))


def test_exclusion_from_decay_by_parameter_and_by_pattern(sgd: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    optimizer = sgd(model.named_parameters(), lr=1.0, weight_decay=0.5, decoupled_weight_decay=True)
    optimizer.exclude_from_weight_decay([model[0].bias], [r"^1/weight$"])
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    for w in model.parameters():
        w.grad = torch.zeros_like(w)
    optimizer.step()
    for name, w in model.named_parameters():
        assert torch.equal(w, before[name] if name in ("0.bias", "1.weight") else before[name] / 2), name
    again = sgd(model.parameters(), weight_decay=0.5, decoupled_weight_decay=True)
    with pytest.raises(ValueError, match=r"patterns need the parameters' names: pass model.named_parameters\(\)"):
        again.exclude_from_weight_decay(patterns=["bias"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipvalue": 1.0, "clipnorm": 2.0},
         "only one of clipvalue, clipnorm and global_clipnorm may be set, got clipvalue=1.0, clipnorm=2.0"),
        ({"clipnorm": 0.0}, "clipnorm must be > 0, got 0.0"),
        ({"global_clipnorm": -1.0}, "global_clipnorm must be > 0, got -1.0"),
        ({"ema_momentum": 1.5, "use_ema": True}, "ema_momentum must be >= 0 and <= 1, got 1.5"),
        ({"ema_overwrite_frequency": 0, "use_ema": True}, "ema_overwrite_frequency must be an integer >= 1, got 0"),
        ({"ema_overwrite_frequency": 2.5, "use_ema": True}, "ema_overwrite_frequency must be an integer >= 1, got 2.5"),
        ({"ema_overwrite_frequency": 2}, "ema_overwrite_frequency means nothing without use_ema=True"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be an integer >= 2, got 1"),
        ({"loss_scale_factor": 0.0}, "loss_scale_factor must be > 0, got 0.0"),
    ],
)  # fmt: skip
def test_what_is_refused(adam: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adam(pair(), **arguments)


def test_an_overflow_on_the_second_of_four_calls_is_skipped_by_the_scaler(adam: Any) -> None:
    """GradScaler leaves a call out whole: weights, slots, accumulators and counters."""
    with_overflow, without = pair(), pair()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizers = [adam(ws, gradient_accumulation_steps=4, use_ema=True) for ws in (with_overflow, without)]
    calls = [(1.0, 2.0), (torch.inf, 1.0), (0.5, 0.25), (-1.0, 3.0), (2.0, 2.0)]
    for values in calls:
        scale = scaler.get_scale()
        scaler.scale(torch.zeros(()))
        give(with_overflow, *(scale * value for value in values))
        scaler.step(optimizers[0])
        scaler.update()
        if torch.isfinite(torch.tensor(values)).all():
            give(without, *values)
            optimizers[1].step()
    assert_close(with_overflow[0], without[0])
    assert optimizers[0].state[with_overflow[0]]["iterations"] == 4
    assert float(optimizers[0].state[with_overflow[0]]["step"]) == 1


def test_state_with_stages_is_saved_and_moves_on(adam: Any) -> None:
    arguments = {"use_ema": True, "gradient_accumulation_steps": 2, "global_clipnorm": 1.0, "loss_scale_factor": 2.0}
    ws, others, moved = parameters(), parameters(), parameters()
    optimizer = adam(ws, **arguments)
    for seed in range(3):
        give_gradients(ws, seed)
        optimizer.step()
    loaded, imported = adam(others, **arguments), adam(moved, **arguments)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    imported.import_state(optimizer.export_state())
    with torch.no_grad():
        for group in (others, moved):
            for w, x in zip(group, ws, strict=True):
                w.copy_(x)
    for each, own in ((optimizer, ws), (loaded, others), (imported, moved)):
        give_gradients(own, 7)
        each.step()
    for w, x, y in zip(ws, others, moved, strict=True):
        assert torch.equal(w, x) and torch.equal(w, y)
        assert torch.equal(optimizer.state[w]["weight_average"], loaded.state[x]["weight_average"])


def test_one_gradient_that_is_not_finite_stops_all_groups_and_is_counted(sgd: Any) -> None:
    first, second = pair(1.0, torch.bfloat16)
    arguments = {"lr": 1.0, "momentum": 0.5, "skip_nonfinite": True, "use_ema": True}
    optimizer = sgd([{"params": [first]}, {"params": [second], "lr": 0.5}], **arguments)
    for values in ((1.0, 1.0), (1.0, torch.nan), (torch.inf, 1.0)):
        give([first, second], *values)
        optimizer.step()
    assert [float(w.detach()[0]) for w in (first, second)] == [0.0, 0.5]
    assert [int(optimizer.state[w]["step"]) for w in (first, second)] == [1, 1]
    assert [int(optimizer.state[w]["skipped"]) for w in (first, second)] == [2, 2]
    moved = sgd([*pair(1.0, torch.bfloat16)], **arguments)
    moved.import_state(optimizer.export_state())
    others = pair(1.0, torch.bfloat16)
    loaded = sgd([{"params": [others[0]]}, {"params": [others[1]], "lr": 0.5}], **arguments)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in (loaded, moved):
        counts = [state["skipped"] for state in each.state.values()]
        assert [(int(count), count.dtype) for count in counts] == [(2, torch.float64)] * 2
    assert int(moved.export_state()["skipped"]) == 2
    with pytest.raises(ValueError, match="the state has no 'skipped'"):
        sgd(pair(), **arguments).import_state(sgd(pair(), momentum=0.5, use_ema=True).export_state())


def test_a_sparse_gradient_is_looked_at_too(sgd: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = sgd([w], lr=1.0, skip_nonfinite=True)
    w.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.tensor([[1.0, torch.inf]]), (3, 2))
    optimizer.step()
    assert torch.equal(w, torch.ones(3, 2)) and int(optimizer.state[w]["skipped"]) == 1


def test_a_scaler_skips_before_the_optimizer_does(sgd: Any) -> None:
    """What a GradScaler leaves out is no call, so that it is not counted; scales grow and shrink as they do."""
    ws, scaler = pair(), torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    optimizer = sgd(ws, lr=1.0, skip_nonfinite=True)
    for value in (1.0, torch.inf, 0.5):
        scaler.scale(torch.zeros(()))
        give(ws, *[scaler.get_scale() * value] * 2)
        scaler.step(optimizer)
        scaler.update()
    assert float(ws[0].detach()[0]) == -0.5 and scaler.get_scale() == 8.0
    assert [int(optimizer.state[ws[0]][name]) for name in ("step", "skipped")] == [2, 0]


def test_captured_steps_are_not_differentiable_and_skip(sgd: Any) -> None:
    ws = pair()
    optimizer = sgd(ws, skip_nonfinite=True, differentiable=True, capturable=True)
    give(ws, 1.0, 1.0)
    with pytest.raises(NotImplementedError, match="skip_nonfinite=True with differentiable=True"):
        optimizer.step()


def test_low_precision_is_not_rounded_by_chance_differentiably(sgd: Any) -> None:
    low, options = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)), {"differentiable": True}
    message = "stochastic_rounding=True with differentiable=True is not implemented yet"
    with pytest.raises(NotImplementedError, match=message):
        sgd([low], stochastic_rounding=True, **options)
    optimizer = sgd(pair(), stochastic_rounding=True, **options)
    with pytest.raises(NotImplementedError, match=message):
        optimizer.add_param_group({"params": [low]})
    assert len(optimizer.param_groups) == 1


def test_compiled_steps_skip(sgd: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = sgd([w], lr=0.25, momentum=0.5, skip_nonfinite=True)
    torch._dynamo.reset()
    step = torch.compile(optimizer.step, fullgraph=True, backend="aot_eager")
    for value in (1.0, torch.nan, 1.0):
        w.grad = torch.full((3,), value)
        step()
    assert float(w.detach()[0]) == 1 - 0.25 - 0.25 * 1.5
    assert [int(optimizer.state[w][name]) for name in ("step", "skipped")] == [2, 1]
