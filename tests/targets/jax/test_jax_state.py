"""State that moves: exported and imported by name, taken over from optax, restored from its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_doors import Doors, assert_same, avals, field, gradients, tree


def trained(doors: Doors, steps: int = 3, **arguments: Any) -> tuple[Any, Any, Callable[..., Any]]:
    params = {"dense": [jnp.ones((2, 3)), jnp.ones(3)], "none": None}
    init, step = doors.step(0.1, **arguments)
    state = init(params)
    for seed in range(steps):
        params, state = step(params, gradients(params, seed), state)
    return params, state, init


def test_a_state_goes_out_and_comes_back(doors: Doors) -> None:
    params, state, init = trained(doors, gradient_accumulation_steps=2)
    exported = doors.module.export_state(state)
    assert exported["iterations"] == 3 and exported["iterations"].dtype == np.int64
    assert exported["updates/dense/0"] == 1 and exported["updates/dense/0"].dtype == np.int64
    for key, value in exported.items():
        assert type(value) is np.ndarray and key.split("/")[0] in ("iterations", "updates", "slots", "scalars")
    assert "slots/accumulated_gradient/dense/1" in exported
    assert_same(doors.module.import_state(init(params), exported), state)


def test_slots_have_the_rules_names(adam: Doors) -> None:
    _, state, _ = trained(adam, amsgrad=True)
    names = {key.split("/")[1] for key in adam.module.export_state(state) if key.startswith("slots/")}
    assert names == {"m", "v", "v_hat"}


def test_around_the_state_there_may_be_more(adam: Doors) -> None:
    params, state, _ = trained(adam)
    chained = optax.chain(optax.clip(1.0), adam.factory(0.1))
    exported = adam.module.export_state(state)
    assert_same(adam.module.import_state(chained.init(params), exported)[1], state)
    with pytest.raises(ValueError, match="the state of one optimizer is needed, and there are 0"):
        adam.module.export_state(optax.adam(0.1).init(params))
    with pytest.raises(ValueError, match="and there are 2"):
        adam.module.export_state((state, state))


def test_names_and_axes(adam: Doors) -> None:
    params, state, init = trained(adam)
    exported = adam.module.export_state(state)
    theirs = {key.replace("dense/0", "layer/kernel"): value for key, value in exported.items()}
    theirs |= {key: value.T for key, value in theirs.items() if "slots" in key and "kernel" in key}
    made = adam.module.import_state(init(params), theirs, names={"dense/0": "layer/kernel"}, axes={"dense/0": (1, 0)})
    assert_same(made, state)


def broken(exported: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = dict(exported)
    for key, value in changes.pop("more", {}).items():
        made[key] = value
    for key in changes.pop("less", ()):
        del made[key]
    return made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"less": ["slots/v/dense/1"]}, "'slots/v/dense/1' is missing"),
        ({"less": ["iterations"]}, "'iterations' is missing"),
        ({"more": {"slots/u/dense/1": np.ones(3)}}, "'slots/u/dense/1' is unknown here"),
        ({"more": {"slots/v/dense/1": np.ones(4)}}, r"'slots/v/dense/1' has shape \(4,\), which must be \(3,\)"),
        ({"more": {"updates/dense/1": np.int64(7)}}, "'updates/dense/1' is 7, but 'updates/dense/0' 3"),
        ({"more": {"iterations": np.array(2**31)}}, r"'iterations' must be a whole number below 2\*\*31"),
        ({"more": {"updates/dense/0": np.array(0.5)}}, "'updates/dense/0' must be a whole number"),
        ({"more": {"slots/v_hat/dense/0": np.ones((2, 3))}}, "'slots/v_hat/dense/0' is unknown here"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(changes: dict[str, Any], message: str, adam: Doors) -> None:
    params, state, init = trained(adam)
    exported = adam.module.export_state(state)
    with pytest.raises(ValueError, match=message):
        adam.module.import_state(init(params), broken(exported, **changes))


def test_wrong_maps_are_refused(adam: Doors) -> None:
    params, state, init = trained(adam)
    exported = adam.module.export_state(state)
    with pytest.raises(ValueError, match="names: there is no parameter 'other' with a slot"):
        adam.module.import_state(init(params), exported, names={"other": "dense/0"})
    with pytest.raises(ValueError, match=r"'slots/m/dense/0' has 2 axes, which \(0,\) does not order"):
        adam.module.import_state(init(params), exported, axes={"dense/0": (0,)})


def test_a_state_of_optax_goes_through_as_it_is(adam: Doors) -> None:
    """Where names and nesting are alike; what comes back has optax's own types, so that scan carries it."""
    params = {"a": jnp.ones(3)}
    theirs = optax.adam(0.1).init(params)
    _, after = adam.step(0.1).step(params, params, theirs)
    assert avals(after) == avals(theirs) and type(after[0]) is type(theirs[0])
    assert int(after[0].count) == 1


def test_adoption_finds_fields_however_they_are_nested(adam: Doors) -> None:
    params = {"a": jnp.ones(3)}
    optimizer = optax.chain(optax.clip(1.0), optax.adam(lambda count: 0.1))
    theirs = optimizer.init(params)
    for _ in range(2):
        _, theirs = optimizer.update(params, theirs, params)
    init, _ = adam.step(0.1)
    made = adam.module.adopt_state(init(params), theirs)
    assert int(made[0].count) == 2
    assert_same(made[0].mu, optax.tree.get(theirs, "mu"))
    plain = [None, [{"count": 2, "mu": made[0].mu, "nu": {"a": np.asarray(made[0].nu["a"])}}, None], {"count": 2}]
    assert_same(adam.module.adopt_state(init(params), plain), made)
    for wrong, message in (
        ({"mu": params, "nu": params}, "ok"),
        ({"count": 1, "mu": params}, "'nu' is found 0 times"),
        ([{"count": 1, "mu": params, "nu": params}, {"count": 2}], "'count' is found 2 times, with different values"),
        ({"mu": params, "nu": {"b": jnp.ones(3)}}, "'nu' has other leaves: b"),
        ({"mu": params, "nu": {"a": jnp.ones(4)}}, r"'nu/a' has shape \(4,\), which must be \(3,\)"),
    ):
        if message == "ok":
            adam.module.adopt_state(init(params), wrong)
            continue
        with pytest.raises(ValueError, match=message):
            adam.module.adopt_state(init(params), wrong)
    with pytest.raises(ValueError, match="'nu_max' is found, but the optimizer was made without it"):
        adam.module.adopt_state(init(params), optax.amsgrad(0.1).init(params))


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "lamb", "lion"])
def test_the_paths_in_a_checkpoint_are_optaxs(name: str, rendered: Callable[..., Doors]) -> None:
    """What Orbax and flax go by: keys, the lengths of tuples, and where nothing stands."""
    params = tree()
    paths = [
        [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state, is_leaf=lambda x: x is None)]
        for state in (getattr(optax, name)(0.1).init(params), rendered(name).factory(0.1).init(params))
    ]
    assert paths[0] == paths[1]
    assert len(getattr(optax, name)(0.1).init(params)) == len(rendered(name).factory(0.1).init(params))


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb"])
def test_an_orbax_checkpoint_of_optax_restores(name: str, rendered: Callable[..., Doors], tmp_path: Any) -> None:
    orbax = pytest.importorskip("orbax.checkpoint")
    params = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2))}}
    peer = getattr(optax, name)(0.1)
    _, theirs = peer.update(params, peer.init(params), params)
    init, step = rendered(name).step(0.1)
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "peer", theirs)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "peer", target=init(params))
        raw = checkpointer.restore(tmp_path / "peer")
    assert avals(restored) == avals(init(params))
    assert_same(field(restored, "mu"), optax.tree.get(theirs, "mu"))
    assert_same(rendered(name).module.adopt_state(init(params), raw), restored)
    assert int(step(params, params, restored)[1][0].count) == 2


def test_snapshots_are_never_the_parameters_own_buffers(doors: Doors) -> None:
    params = tree()
    init, step = doors.step(0.1)
    state = init(params)
    own = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params) if leaf.size}
    assert not own & {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state) if leaf.size}
    new, after = jax.jit(step, donate_argnums=(0, 2))(params, gradients(params), state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params) if leaf.size)
    assert avals(after) == avals(init(new))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4), (2, 4, 3)])
def test_optaxs_factors_lie_along_the_axes_they_are_of(shape: tuple[int, ...], rendered: Callable[..., Doors]) -> None:
    """optax's first are those of the shorter axis, without the other; what stands in for none has one element."""
    params, optimizer = {"a": jnp.ones(shape), "b": jnp.ones(4)}, optax.adafactor(0.1, min_dim_size_to_factor=1)
    theirs = optimizer.init(params)
    grads = gradients(params, 0)
    _, theirs = optimizer.update(grads, theirs, params)
    doors = rendered("adafactor")
    own, *_ = doors.module.adopt_state(doors.factory(0.1, relative_step=False).init(params), theirs)
    squares = grads["a"] ** 2
    np.testing.assert_allclose(own.v_row["a"], squares.mean(-1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(own.v_col["a"], squares.mean(-2, keepdims=True), rtol=1e-6)
    assert own.v_row["b"] == own.v_col["b"] == own.v["a"] == optax.MaskedNode()


def test_factors_of_optax_along_other_axes_are_refused(rendered: Callable[..., Doors]) -> None:
    doors = rendered("adafactor")
    for shape, least, message in (
        ((4, 3, 2), 1, r"'v_row/a' has shape \(3, 2\), which must be \(4, 3, 1\)"),
        ((5, 3), 4, "'v' has other leaves: a"),
    ):
        params = {"a": jnp.ones(shape)}
        theirs = optax.adafactor(0.1, min_dim_size_to_factor=least).init(params)
        with pytest.raises(ValueError, match=message):
            doors.module.adopt_state(doors.factory(0.1).init(params), theirs)
