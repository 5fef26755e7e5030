"""Sharded runs equal those that are not. Run by test_jax_sharded.py, where there are eight devices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import P
from jax.sharding import AxisType, NamedSharding
from jax_doors import RULES, Doors, avals
from optax_tables import executed, without_tests
from optloom.codegen.compiler import discover, program_for, render
from optloom.codegen.ir.nodes import Kind, Ref

assert jax.device_count() == 8
SPECS = {"rows": P("x"), "columns": P(None, "x"), "short": P(), "number": P()}
"""Leaves that are split along one axis or another, and leaves that cannot be: every device has the whole."""


def parameters() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = {"rows": (16, 5), "columns": (3, 8), "short": (13,), "number": ()}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def gradients(step: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(step + 1)
    return {name: jnp.asarray(rng.normal(size=w.shape), jnp.float32) for name, w in parameters().items()}


def run(step: Callable[..., Any], params: Any, state: Any, place: Callable[[Any], Any]) -> tuple[Any, Any]:
    for number in range(4):
        params, state = step(params, place(gradients(number)), state)
    return params, state


def assert_close(a: Any, b: Any) -> None:
    """Equal but for the order in which sums are taken."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=4e-6, atol=1e-7)


def expected(doors: Doors, **options: Any) -> tuple[Any, Any]:
    init, step = doors.step(0.1, weight_decay=0.01, **options)
    return run(jax.jit(step), parameters(), init(parameters()), lambda tree: tree)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_named_shardings(kind: AxisType, doors: Doors) -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))

    def place(tree: Any) -> Any:
        return {name: jax.device_put(w, NamedSharding(mesh, SPECS[name])) for name, w in tree.items()}

    with jax.set_mesh(mesh):
        params = place(parameters())
        init, step = doors.step(0.1, weight_decay=0.01)
        state = jax.jit(init)(params) if kind is AxisType.Explicit else init(params)
        assert_lies_as(state[0], params)
        new = run(jax.jit(step, donate_argnums=(2,)), params, state, place)
        assert_lies_as((new[0], *new[1][0]), params)
    assert_close(new, expected(doors))


STAGED = {
    "global_clipnorm": 0.5, "loss_scale_factor": 2.0, "gradient_accumulation_steps": 3, "use_ema": True,
    "ema_momentum": 0.5,
}  # fmt: skip


def test_accumulators_and_averages_lie_as_their_leaves(rendered: Callable[..., Doors]) -> None:
    """After four calls there was one update, and one gradient waits."""
    mesh, doors = jax.make_mesh((8,), ("x",)), rendered("adam")

    def place(tree: Any) -> Any:
        return {name: jax.device_put(w, NamedSharding(mesh, SPECS[name])) for name, w in tree.items()}

    init, step = doors.step(0.1, weight_decay=0.01, **STAGED)
    params = place(parameters())
    new = run(jax.jit(step, donate_argnums=(2,)), params, init(params), place)
    kept = [tree for part in new[1] for tree in part if isinstance(tree, dict)]
    assert len(kept) == 4, "two moments, the accumulator, the average"
    assert_lies_as((new[0], *kept), params)
    assert_close(new, expected(doors, **STAGED))


def assert_lies_as(state: Any, params: Any) -> None:
    """What is of a parameter's shape lies as it does."""
    for tree in state:
        for name, leaf in tree.items() if isinstance(tree, dict) and tree.keys() == params.keys() else ():
            if getattr(leaf, "shape", None) == params[name].shape:
                assert leaf.sharding.is_equivalent_to(params[name].sharding, leaf.ndim)


def specs_of(state: Any) -> Any:
    """What belongs to a parameter is split as it is, along the axes that it shares with it."""
    shapes = {name: w.shape for name, w in parameters().items()}

    def spec(path: Any, leaf: Any) -> P:
        name = getattr(path[-1], "key", "")
        if leaf.ndim != len(shapes.get(name, ())):
            return P()
        shared = [own == whole for own, whole in zip(leaf.shape, shapes.get(name, ()), strict=True)]
        return P(*(axis if is_shared else None for axis, is_shared in zip(SPECS.get(name, P()), shared, strict=False)))

    return jax.tree.map_with_path(spec, state)


def test_shard_map_with_the_norms_of_whole_leaves(doors: Doors) -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    takes_sums = "axis_name" in doors.step.__code__.co_varnames
    init, step = doors.step(0.1, weight_decay=0.01, **({"axis_name": "x"} if takes_sums else {}))
    params, state = parameters(), init(parameters())
    specs = specs_of(state)
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(SPECS, SPECS, specs), out_specs=(SPECS, specs)))
    if doors.asks_for_axes:
        with pytest.raises(NotImplementedError, match=r"a leaf that is split .over x. has no sums along one axis"):
            mapped(params, gradients(0), state)
        return
    assert_close(run(mapped, params, state, lambda tree: tree), expected(doors))


def test_sums_inside_shard_map_must_be_told_what_is_split(rendered: Callable[..., Doors]) -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    doors = rendered("lamb")
    w = jnp.ones(16)

    def one(axis_name: Any, **arguments: Any) -> Any:
        init, step = doors.step(0.1, axis_name=axis_name)
        whole = lambda w: step(w, w, init(w))[0]  # noqa: E731
        return jax.shard_map(whole, mesh=mesh, in_specs=P("x"), out_specs=P("x"), **arguments)(w)

    with pytest.raises(ValueError, match="inside shard_map a sum over a tensor needs `axis_name`: of x"):
        one(None)
    with pytest.raises(ValueError, match=r"inside shard_map\(check_vma=False\) it is not known"):
        one("x", check_vma=False)
    with pytest.raises(TypeError, match="axis_name must be the name of a mesh axis"):
        doors.step(axis_name=3)
    init, step = doors.step(0.1)
    alone = jnp.concatenate([step(part, part, init(part))[0] for part in w.reshape(8, 2)])
    np.testing.assert_allclose(one(()), alone, rtol=1e-6)


def test_an_imported_state_lies_as_the_given_one(adam: Doors) -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    w = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, P("x")))
    init, step = adam.step(0.1)
    _, state = step({"w": w}, {"w": w}, init({"w": w}))
    made = adam.module.import_state(init({"w": w}), adam.module.export_state(state))
    assert made[0].mu["w"].sharding == w.sharding
    assert avals(made) == avals(state)
    np.testing.assert_array_equal(made[0].nu["w"], state[0].nu["w"])


def _transformations() -> dict[str, optax.GradientTransformationExtraArgs]:
    """Of the committed files."""
    import importlib

    names = [name for name in RULES if not program_for(discover()[name], "jax").inputs]  # optax's tests give none
    return {name: getattr(importlib.import_module(f"optloom.generated.jax.{name}"), name)(1.0) for name in names}


def _is_left_out(test: str) -> bool:
    """A test of no optimizer; or without values, where a slot starts as a copy of the parameter."""
    name = test.removeprefix("test_init_with_abstract_input_")
    if name == test:
        return test.startswith("test_microbatch")
    return any(slot.init == Ref(Kind.PARAMETER, "w") for slot in program_for(discover()[name], "jax").slots)


TESTS = executed("optax._src.sharding_test", {"OPTIMIZERS": _transformations()})
ShardingTest = without_tests(TESTS["ShardingTest"], _is_left_out)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_fused_steps_under_shard_map(
    rendered: Callable[..., Doors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device runs the kernel on its own parts: the bits of strict code. Whole leaves are not added up there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    doors = rendered("adam", "strict")
    Path(str(doors.module.__file__)).with_suffix(".cpp").write_text(render(discover()["adam"], "cpp")["cpp/adam.cpp"])
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))

    def place(path: Any, x: jax.Array) -> Any:
        return SPECS[getattr(path[-1], "key", "number")]

    def trained(fused: bool, **options: Any) -> Any:
        init, step = doors.step(0.1, fused=fused, **options)
        state = init(parameters())
        places = jax.tree.map_with_path(place, (parameters(), state))
        call = jax.shard_map(step, mesh=mesh, in_specs=(places[0], places[0], places[1]), out_specs=places)
        return run(jax.jit(call, donate_argnums=(0, 2)), parameters(), state, lambda tree: tree)

    for x, y in zip(jax.tree.leaves(trained(True)), jax.tree.leaves(trained(False)), strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match="is split inside shard_map, and the step adds up whole leaves"):
        trained(True, clipnorm=1.0, axis_name="x")
    with pytest.raises(ValueError, match="is split inside shard_map, and the step counts elements of whole leaves"):
        trained(True, stochastic_rounding=True)
