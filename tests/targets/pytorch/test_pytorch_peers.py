"""The classes of torch.optim that ours stand beside: their checkpoints load, and the run goes on as theirs would."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from optloom.codegen.compiler import discover, program_for
from torch_training import RULES, decaying, parameters, through_a_file, train

PEERS = {
    name: peer for name in RULES for peer in discover()[name].peers if peer.path.startswith("torch.")
}  # fmt: skip


def class_of(name: str) -> Any:
    module, _, kind = PEERS[name].path.rpartition(".")
    return getattr(importlib.import_module(module), kind)


def choices(name: str) -> Iterator[dict[str, Any]]:
    """Arguments that both take: each option of the rule, and what is off by default, alone and all together."""
    known = inspect.signature(class_of(name)).parameters
    program = program_for(discover()[name], "pytorch")
    options = [option for option in program.options if option.name in known]
    found = {option.name: True for option in options if not option.convention and not option.choices}
    found |= {hyper.name: 0.3 for hyper in program.hypers if hyper.name in known and hyper.off is not None}
    found |= {"weight_decay": 0.1} if "weight_decay" in known else {}
    found = {key: x for key, x in found.items() if key not in PEERS[name].otherwise}
    together = found if "nesterov" not in found or "momentum" in found else {}
    if "nesterov" in together:
        together = {key: x for key, x in together.items() if key != "dampening"}  # torch.optim.SGD refuses both
    alone = [{key: x} for key, x in found.items() if key != "nesterov"]
    return iter([{}, *alone, together])


def assert_rounded(name: str, ours: list[torch.nn.Parameter], theirs: list[torch.nn.Parameter]) -> None:
    """Equal but for rounding; peers keep scalar slots in float32."""
    scalar = any(slot.shape == "scalar" for slot in program_for(discover()[name], "pytorch").slots)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-7 if scalar else 1e-13, atol=1e-8 if scalar else 1e-14)


def taken(name: str, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """The parameters that the peer takes: where it keeps rows, it divides by the number of elements."""
    ws = parameters(dtype)
    keeps_rows = any(slot.shape == "rows" for slot in program_for(discover()[name], "pytorch").slots)
    return [w for w in ws if w.numel()] if keeps_rows else ws


def large_epsilon(name: str) -> dict[str, Any]:
    """One that shows wherever it stands; the peer's default may be None."""
    known = inspect.signature(class_of(name)).parameters
    if "eps" not in known:
        return {}
    return {"eps": (1e-2, 1e-2) if isinstance(known["eps"].default, tuple) else 1e-2}


CASES = [(name, choice) for name in PEERS for choice in choices(name)]


@pytest.mark.parametrize(("name", "choice"), CASES)
def test_a_run_of_the_peer_is_continued(name: str, choice: dict[str, Any], rendered: Callable[..., Any]) -> None:
    """Epsilon is large enough, and the dtype wide enough, for any other place of it to show."""
    peer_class, wide = class_of(name), torch.float64
    theirs, maximize = taken(name, wide), bool(choice)
    peer = peer_class(theirs, lr=0.05, maximize=maximize, foreach=False, **large_epsilon(name), **choice)
    train(peer, theirs, range(7))
    ours = [torch.nn.Parameter(w.detach().clone()) for w in theirs]
    optimizer = rendered(name)(ours)
    optimizer.load_state_dict(through_a_file(peer.state_dict()))
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in choice} == choice and group["maximize"] == maximize and group["lr"] == 0.05
    assert {key: group[key] for key in PEERS[name].dialect if key in group} == {
        key: x for key, x in PEERS[name].dialect.items() if key in group
    }
    train(peer, theirs, range(7, 20))
    train(optimizer, ours, range(7, 20))
    assert_rounded(name, ours, theirs)


@pytest.mark.parametrize("name", PEERS)
def test_a_run_of_the_peers_defaults_is_continued(name: str, rendered: Callable[..., Any]) -> None:
    """As they are, None among them; but for what it computes otherwise under any options."""
    theirs, plain = taken(name, torch.float64), {key: 0.0 for key in PEERS[name].otherwise if key == "weight_decay"}
    peer = class_of(name)(theirs, **plain)
    train(peer, theirs, range(7))
    ours = [torch.nn.Parameter(w.detach().clone()) for w in theirs]
    optimizer = rendered(name)(ours)
    optimizer.load_state_dict(through_a_file(peer.state_dict()))
    train(peer, theirs, range(7, 20))
    train(optimizer, ours, range(7, 20))
    assert_rounded(name, ours, theirs)


def test_none_for_the_machine_epsilon_asks_for_one_dtype(rendered: Callable[..., Any]) -> None:
    name = next(name for name, peer in PEERS.items() if peer.machine_epsilon)
    mixed = [torch.nn.Parameter(torch.ones(3, 4, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16)]
    saved = class_of(name)(mixed).state_dict()
    optimizer = rendered(name)(mixed)
    with pytest.raises(ValueError, match=r"the saved eps is None, which .* torch.bfloat16, torch.float32: one group"):
        optimizer.load_state_dict(saved)
    for w, each in zip(mixed, (torch.float32, torch.bfloat16), strict=True):
        alone = rendered(name)([w])
        alone.load_state_dict(class_of(name)([w]).state_dict())
        assert alone.param_groups[0]["eps"][0] == torch.finfo(each).eps


@pytest.mark.parametrize("name", PEERS)
def test_with_its_conventions_a_class_is_its_peer_from_the_start(name: str, rendered: Callable[..., Any]) -> None:
    ours, theirs = taken(name, torch.float64), taken(name, torch.float64)
    known = inspect.signature(class_of(name)).parameters
    kind = rendered(name)
    conventions = {key: x for key, x in PEERS[name].dialect.items() if key in inspect.signature(kind).parameters}
    optimizer, peer = kind(ours), class_of(name)(theirs, foreach=False)
    same = {key: x for key, x in peer.defaults.items() if key in optimizer.defaults and key not in conventions}
    same = {key: x for key, x in same.items() if key not in ("fused", "foreach")}
    same |= {"weight_decay": 0.1} if "weight_decay" in known and "weight_decay" not in PEERS[name].otherwise else {}
    same |= large_epsilon(name) if isinstance(same.get("eps"), tuple) else {}
    optimizer = kind(ours, **conventions, **same)
    peer = class_of(name)(theirs, foreach=False, **{key: x for key, x in same.items() if key in known})
    train(optimizer, ours, range(12))
    train(peer, theirs, range(12))
    assert_rounded(name, ours, theirs)


@pytest.mark.parametrize("name", PEERS)
def test_the_peer_takes_our_state(name: str, rendered: Callable[..., Any]) -> None:
    """The other way: keys and shapes are the peer's, and its loader is content."""
    ws = taken(name)
    kind = rendered(name)
    unset = {key for key, x in kind(ws).defaults.items() if x is None}
    theirs = PEERS[name].dialect | {key: x for key, x in PEERS[name].defaults.items() if key in unset}
    optimizer = kind(ws, lr=0.05, **{key: x for key, x in theirs.items() if key in kind(ws).defaults})
    train(optimizer, ws, range(3))
    peer = class_of(name)(ws, foreach=False)
    peer.load_state_dict(optimizer.state_dict())
    train(peer, ws, range(3, 5))
    for w in ws:
        if "step" in peer.state[w] and optimizer._slot_names:
            assert int(peer.state[w]["step"]) in (3, 5)


def test_coupled_decay_does_not_load_where_there_is_none(rendered: Callable[..., Any]) -> None:
    ws = parameters()
    peer = torch.optim.Adam(ws, weight_decay=0.1)
    train(peer, ws, range(1))
    optimizer = rendered("adamw")(parameters())
    with pytest.raises(ValueError, match="the saved weight_decay adds to the gradient"):
        optimizer.load_state_dict(peer.state_dict())
    decoupled = torch.optim.AdamW(ws, weight_decay=0.1)
    train(decoupled, ws, range(1))
    optimizer.load_state_dict(decoupled.state_dict())
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_our_own_states_keep_their_own_conventions(rendered: Callable[..., Any]) -> None:
    for name in PEERS:
        kind = rendered(name)
        ws = parameters()
        optimizer = kind(ws, **decaying(kind))
        train(optimizer, ws, range(1))
        again = kind(parameters())
        again.load_state_dict(through_a_file(optimizer.state_dict()))
        ways = ("params", "foreach", "capturable", "differentiable", "fused")
        for key, x in optimizer.param_groups[0].items():
            assert key in ways or again.param_groups[0][key] == x
