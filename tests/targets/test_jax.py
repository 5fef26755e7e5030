"""The JAX target: both doors of every rule, in the places where users of optax put an optimizer.

What the numbers are is the conformance suite's affair; here only strict code is held against the NumPy target's.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optloom.codegen.compiler import Settings, compile_rule, discover, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.jax.target import TARGET, names_in_optax

DTYPES = ("float16", "bfloat16", "float32", "float64")


def _is_printed(rule: Any) -> bool:
    try:
        TARGET.render(compile_rule(rule, strict=False))
    except UnsupportedOperation:
        return False
    return True


RULES = tuple(name for name, rule in discover().items() if _is_printed(rule))


class Doors:
    """The module of one rule, and its two doors."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self.module = module
        self.factory: Callable[..., optax.GradientTransformationExtraArgs] = getattr(module, name)
        self.step: Callable[..., Any] = getattr(module, f"{name}_step")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Doors]:
    folder = tmp_path_factory.mktemp("rendered")

    def load(name: str, numerics: str = "fast", rule: Any = None) -> Doors:
        made = folder / numerics / "jax" / f"{name}.py"
        if not made.exists():
            for path, text in render(rule or discover()[name], "jax", numerics).items():  # type: ignore[arg-type]
                place = folder / numerics / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return Doors(load_module(str(made)), name)

    return load


@pytest.fixture(params=RULES)
def doors(request: pytest.FixtureRequest, rendered: Callable[..., Doors]) -> Doors:
    return rendered(request.param)


@pytest.fixture
def adam(rendered: Callable[..., Doors]) -> Doors:
    return rendered("adam")


def tree(dtype: str = "float32") -> dict[str, Any]:
    """Parameters with a matrix, a vector, a number, nothing, and an empty array."""
    rng = np.random.default_rng(1)
    shapes = {"matrix": (3, 4), "inner": [(5,), ()], "empty": (0, 2)}
    made = jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s), dtype), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )
    return {**made, "none": None}


def gradients(params: Any, seed: int = 2) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape), w.dtype), params)


def avals(tree: Any) -> Any:
    """Structure, shapes, dtypes and weak types: what may not change under scan and cond."""
    return jax.tree.map(jax.typeof, tree)


def assert_same(a: Any, b: Any, ulps: int = 0) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype
        if ulps and jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x.astype(float), y.astype(float), rtol=ulps * float(jnp.finfo(x.dtype).eps))
        else:
            np.testing.assert_array_equal(x, y)


# The files


def test_files_are_clean(rendered: Callable[..., Doors]) -> None:
    files = [rendered(name, numerics).module.__file__ or "" for name in RULES for numerics in ("fast", "strict")]
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "ruff", "check", f"--config={root / 'pyproject.toml'}", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", RULES)
def test_the_formula_stands_early_and_stages_leave_no_trace(name: str) -> None:
    files = render(discover()[name], "jax", "fast", Settings(stages=()))
    text = files[f"jax/{name}.py"]
    before_pairs = text[: text.index("def _doubles")]
    assert before_pairs.index("def _leaf") < before_pairs.index("def _scalars") < before_pairs.index(f"def {name}(")
    assert len(before_pairs.splitlines()) <= 135
    assert len(text[: text.index("def _scalars")].splitlines()) <= 120
    for word in ("weight_decay", "accumul", "iterations"):
        assert word not in before_pairs.replace("accumulator_value", "")


def test_the_docstring_says_what_differs_from_the_peer(adam: Doors) -> None:
    doc = adam.module.__doc__ or ""
    assert "mu = b1 * mu + (1 - b1) * g" in doc
    assert "Differs from optax.adam" in doc and "eps=1e-8" in doc


@pytest.mark.parametrize("name", RULES)
def test_arguments_have_optax_names(name: str, rendered: Callable[..., Doors]) -> None:
    doors = rendered(name)
    ours = list(inspect.signature(doors.factory).parameters)
    assert ours == list(inspect.signature(doors.step).parameters)
    peer = inspect.signature(getattr(optax, name)).parameters
    positional = [p for p in inspect.signature(doors.factory).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [p.name for p in positional] == list(peer)[: len(positional)]


def test_state_has_optax_names(adam: Doors) -> None:
    state = adam.factory(amsgrad=True).init(tree())
    assert {"count", "mu", "nu", "nu_max"} <= set(state._fields)
    assert optax.tree.get(state, "count").dtype == jnp.int32
    assert optax.tree.get(state, "mu")["matrix"].shape == (3, 4)


# Strict code has the bits of the NumPy target


CASES = (
    ("adam", {}, {"amsgrad": True}),
    ("adamw", {}, {}),
    ("adamax", {"beta_1": 0.0, "gradient_accumulation_steps": 3}, {}),
    ("adagrad", {"weight_decay": 0.01}, {}),
    ("sgd", {"momentum": 0.9}, {"nesterov": True}),
    ("sgd", {"gradient_accumulation_steps": 2}, {}),
)


@pytest.mark.parametrize("mode", ["jit", "op by op"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "numbers", "options"), CASES)
def test_strict_code_has_numpys_bits(
    name: str, numbers: dict[str, float], options: dict[str, Any], dtype: str, mode: str,
    rendered: Callable[..., Doors], tmp_path: Path,
) -> None:  # fmt: skip
    rule = discover()[name]
    (path, text), *_ = render(rule, "numpy").items()
    (tmp_path / Path(path).name).write_text(text)
    reference = getattr(load_module(str(tmp_path / Path(path).name)), rule.__name__)
    names = names_in_optax(compile_rule(rule))
    steps = 200 if mode == "jit" else 8
    rng = np.random.default_rng(3)
    w = rng.normal(size=300).astype(dtype)
    size = np.exp(2 * rng.normal(size=(steps, 300)))
    sequence = (rng.normal(size=(steps, 300)) * size).astype(dtype)

    expected = w.copy()
    numpys = reference([expected], **numbers, **options)
    with jax.enable_x64(dtype == "float64"):
        doors = rendered(name, "strict")
        init, step = doors.step(**{names[key]: value for key, value in {**numbers, **options}.items()})
        step = jax.jit(step) if mode == "jit" else step
        params, state = jnp.asarray(w), init(jnp.asarray(w))
        for g in sequence:
            numpys.step([g])
            params, state = step(params, jnp.asarray(g), state)
            np.testing.assert_array_equal(np.asarray(params), expected)
    for slot, value in vars(numpys.slots[0]).items():
        if value is not None:
            np.testing.assert_array_equal(np.asarray(getattr(state, names[slot])), value)
    assert int(state.count) == numpys.updates


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6, 2**24 + 1])
def test_the_first_updates_are_exact_to_the_last_place(t: int, adam: Doors) -> None:
    """Measured from w = 0, where the update itself is seen; half of the updates within one unit in the last place."""
    rng = np.random.default_rng(t)
    g, mu, nu = (rng.normal(size=2000).astype(np.float32) for _ in range(3))
    nu = nu**2
    wide = [x.astype(np.longdouble) for x in (g, mu, nu)]
    b1, b2, one = np.longdouble(0.9), np.longdouble(0.999), np.longdouble(1)
    m, v = b1 * wide[1] + (one - b1) * wide[0], b2 * wide[2] + (one - b2) * wide[0] ** 2
    alpha = np.longdouble(0.001) * np.sqrt(-np.expm1(t * np.log(b2))) / -np.expm1(t * np.log(b1))
    exact = -alpha * m / (np.sqrt(v) + np.longdouble(1e-7))
    init, step = adam.step()
    state = init(jnp.zeros(2000))._replace(mu=jnp.asarray(mu), nu=jnp.asarray(nu), count=jnp.int32(t - 1))
    for door in (lambda s: step(jnp.zeros(2000), jnp.asarray(g), s)[0], lambda s: adam.factory().update(g, s)[0]):
        error = np.abs(np.asarray(jax.jit(door)(state)).astype(np.longdouble) - exact)
        assert np.median(error / np.spacing(np.abs(exact.astype(np.float32)))) <= 1


# One optimizer, two doors


def test_both_doors_agree(doors: Doors) -> None:
    params = tree()
    optimizer, (init, step) = doors.factory(0.1), doors.step(0.1)
    theirs, ours = optimizer.init(params), init(params)
    assert avals(theirs) == avals(ours)
    added, moved = params, params
    for seed in range(5):
        grads = gradients(params, seed)
        updates, theirs = optimizer.update(grads, theirs, added)
        added = optax.apply_updates(added, updates)
        moved, ours = step(moved, grads, ours)
    assert_same(added, moved, ulps=64)
    assert int(ours.count) == int(theirs.count) == 5


def test_both_doors_are_equal_in_strict_code_where_the_parameter_is_written_once(
    rendered: Callable[..., Doors],
) -> None:
    doors = rendered("adamax", "strict")
    params, grads = tree(), gradients(tree())
    optimizer, (init, step) = doors.factory(0.1), doors.step(0.1)
    updates, theirs = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    moved, ours = jax.jit(step)(params, grads, init(params))
    assert_same(optax.apply_updates(params, updates), moved)
    assert_same(theirs, ours)


OWN_RULE = """
from optloom.spec import Hyper, Rule, Slot, Value, where

class Own(Rule):
    "A rule of one's own, whose names are taken in generated code."

    learning_rate = Hyper(0.5, ge=0)
    shrink = Hyper(0.125, ge=0, le=1)
    epsilon = Hyper(1e-3, ge=0)
    count = Slot("a sum", init=2)
    first = Slot("where it began", init="parameter")

    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.count = self.count + self.epsilon * g
        self.k = self.count * self.learning_rate
        return (1 - self.shrink) * (w - self.k) + self.shrink * self.first
"""


def test_a_rule_of_ones_own_that_does_not_only_add(rendered: Callable[..., Doors], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_RULE)
    doors = rendered("own", rule=discover(tmp_path / "own.py")["own"])
    w, g = jnp.arange(4.0), jnp.ones(4)
    init, step = doors.step(weight_decay=0.5)
    state = init(w)
    assert state.count_[0] == 2 and state.count.dtype == jnp.int32
    moved, after = step(w, g, state)
    k = (2 + 0.001) * 0.5
    np.testing.assert_allclose(moved, (1 - 0.125) * (0.75 * w - k) + 0.125 * w, rtol=1e-6)
    updates, _ = doors.factory(weight_decay=0.5).update(g, state, w)
    np.testing.assert_allclose(w + updates, moved, rtol=1e-6)
    np.testing.assert_array_equal(after.first, w)
    same = jnp.arange(4.0)
    donated = jax.jit(step, donate_argnums=(0, 2))(same, g, init(same))
    assert_same(donated, (moved, after), ulps=4)


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        ('Slot("", shape="scalar")', "slots of shape 'scalar'"),
        ('Slot("", shape="rows")', "slots of shape 'rows'"),
        ('Slot("", when=HasAxes(2))', "slots that only some parameters have"),
    ],
)
def test_what_is_not_printed_yet_is_refused_by_name(slot: str, message: str, tmp_path: Path) -> None:
    text = f"""
from optloom.spec import Hyper, Rule, Slot, total
from optloom.spec.guards import HasAxes

class Refused(Rule):
    "A rule."
    learning_rate = Hyper(0.5, ge=0)
    s = {slot}

    def step(self, w, g, t):
        self.s = self.learning_rate * total(g, axis=-1) if {"rows" in slot} else self.learning_rate
        return w - self.learning_rate * g
"""
    (tmp_path / "refused.py").write_text(text)
    with pytest.raises(UnsupportedOperation, match=message):
        render(discover(tmp_path / "refused.py")["refused"], "jax")


# Transformations of JAX


def test_scan_and_cond_and_a_loop_agree(doors: Doors) -> None:
    params = tree()
    init, step = doors.step(weight_decay=0.01, gradient_accumulation_steps=2)
    state = init(params)
    sequence = [gradients(params, seed) for seed in range(4)]
    stacked = jax.tree.map(lambda *gs: jnp.stack(gs), *sequence)
    (scanned, last), _ = jax.lax.scan(lambda c, g: (step(c[0], g, c[1]), None), (params, state), stacked)
    looped, kept = params, state
    for grads in sequence:
        looped, kept = step(looped, grads, kept)
    assert_same((scanned, last), (looped, kept), ulps=8)
    assert avals(last) == avals(state)

    def either(is_on: Any, params: Any, state: Any) -> Any:
        return jax.lax.cond(is_on, lambda p, s: step(p, sequence[0], s), lambda p, s: (p, s), params, state)

    assert jax.tree.structure(jax.eval_shape(either, True, params, state)) == jax.tree.structure((params, state))


def test_vmap_is_many_optimizers(adam: Doors) -> None:
    rates = jnp.array([0.1, 0.01, 0.0])
    weights, grads = jnp.ones((3, 4)), gradients(jnp.ones((3, 4)))

    def one(rate: Any, w: Any, g: Any) -> Any:
        init, step = adam.step(rate)
        return step(w, g, init(w))[0]

    together = jax.vmap(one)(rates, weights, grads)
    alone = jnp.stack([one(*each) for each in zip(rates, weights, grads, strict=True)])
    assert_same(together, alone, ulps=4)
    assert_same(together[2], weights[2])


def test_state_and_parameters_can_be_donated(doors: Doors) -> None:
    params = tree()
    init, step = doors.step()
    donating = jax.jit(step, donate_argnums=(0, 2))
    expected = jax.jit(step)(params, gradients(params), init(params))
    assert_same(donating(jax.tree.map(jnp.copy, params), gradients(params), init(params)), expected)


def test_one_compilation_serves_all_steps_and_schedules(adam: Doors) -> None:
    init, step = adam.step(optax.cosine_decay_schedule(0.1, 100))
    traced = 0

    def count_traces(*arguments: Any) -> Any:
        nonlocal traced
        traced += 1
        return step(*arguments)

    jitted, params = jax.jit(count_traces), jnp.ones(3)
    state = init(params)
    for _ in range(4):
        params, state = jitted(params, jnp.ones(3), state)
    assert traced == 1


def test_derivatives_pass_through_a_step(adam: Doors) -> None:
    """The guards against XLA are the identity to differentiation, too."""

    def loss(rate: Any, b2: Any) -> Any:
        init, step = adam.step(rate, b2=b2)
        w, state = jnp.ones(3), init(jnp.ones(3))
        for g in (0.5, 0.1, -0.3):
            w, state = step(w, jnp.full(3, g), state)
        return w.sum()

    with jax.enable_x64(True):
        by_rate, by_b2 = jax.grad(loss, argnums=(0, 1))(0.1, 0.99)
        h = 1e-6
        np.testing.assert_allclose(by_rate, (loss(0.1 + h, 0.99) - loss(0.1 - h, 0.99)) / (2 * h), rtol=1e-5)
        np.testing.assert_allclose(by_b2, (loss(0.1, 0.99 + h) - loss(0.1, 0.99 - h)) / (2 * h), rtol=1e-5)


def test_states_can_be_made_of_shapes_alone(doors: Doors) -> None:
    params = tree()
    init, _ = doors.step()
    abstract = jax.eval_shape(init, jax.eval_shape(lambda: params))
    assert avals(init(params)) == jax.tree.map(lambda s: jax.typeof(jnp.zeros(s.shape, s.dtype)), abstract)


def test_without_any_jit(adam: Doors) -> None:
    init, step = adam.step()
    with jax.disable_jit():
        plain = step(jnp.ones(3), jnp.ones(3), init(jnp.ones(3)))
    assert_same(plain, step(jnp.ones(3), jnp.ones(3), init(jnp.ones(3))), ulps=2)


# Leaves


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: str, doors: Doors) -> None:
    with jax.enable_x64(dtype == "float64"):
        params = tree(dtype)
        grads = gradients(params)
        init, step = doors.step(weight_decay=0.01)
        state = init(params)
        new, after = step(params, grads, state)
        assert avals(new) == avals(params) and avals(after) == avals(state)
        slots = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != jnp.int32]
        assert {str(leaf.dtype) for leaf in slots} <= {"float64" if dtype == "float64" else "float32"}
        other = jax.tree.map(lambda g: g.astype("float16"), grads)
        updates, after = doors.factory().update(other, doors.factory().init(params), params)
        assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float16")}
        assert avals(after) == avals(doors.factory().init(params))


def test_one_tree_of_several_dtypes(doors: Doors) -> None:
    with jax.enable_x64(True):
        params = {dtype: jnp.ones(4, dtype) for dtype in DTYPES}
        init, step = doors.step()
        new, _ = step(params, params, init(params))
        for dtype in DTYPES:
            alone, _ = step(params[dtype], params[dtype], init(params[dtype]))
            assert_same(new[dtype], alone)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_train_and_survive_zero_gradients(dtype: str, doors: Doors) -> None:
    init, step = doors.step(0.01)
    w = jnp.ones(4, dtype)
    w, state = step(w, jnp.zeros(4, dtype), init(w))
    assert_same(w, jnp.ones(4, dtype))
    for _ in range(20):
        w, state = step(w, w, state)
    assert np.all(np.asarray(w, float) < 1)


def test_a_missing_gradient_leaves_its_leaf_alone(doors: Doors) -> None:
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    grads = {"a": jnp.ones(3), "b": None}
    init, step = doors.step()
    state = init(params)
    new, after = step(params, grads, state)
    assert new["b"] is params["b"]
    assert avals(after) == avals(state)
    updates, after = doors.factory().update(grads, state, params)
    assert updates["b"] is None and avals(after) == avals(state)
    assert np.all(np.asarray(updates["a"]) < 0)


def test_nothing_to_optimize(doors: Doors) -> None:
    init, step = doors.step()
    for params in ({}, {"a": None}, (), None):
        new, state = step(params, params, init(params)) if params is not None else (None, init(None))
        assert new == params and jax.tree.leaves(state)[0].dtype == jnp.int32


def test_numpy_arrays_and_python_floats_are_leaves(doors: Doors) -> None:
    params = {"a": np.ones(3, np.float32), "b": 1.0}
    init, step = doors.step()
    new, _ = step(params, jax.tree.map(lambda w: 0.5 * w, params), init(params))
    assert new["a"].dtype == jnp.float32 and new["b"].shape == ()


# Numbers


def test_a_rate_may_be_a_float_an_array_or_a_schedule(doors: Doors) -> None:
    params, grads = tree(), gradients(tree())
    results = []
    for rate in (0.25, np.float32(0.25), jnp.float32(0.25), lambda count: 0.25, lambda count: jnp.float32(0.25)):
        init, step = doors.step(rate)
        results.append(step(params, grads, init(params)))
    for other in results[1:]:
        assert_same(other, results[0])


def test_schedules_see_the_updates_made_before(adam: Doors) -> None:
    seen = []
    init, step = adam.step(lambda count: seen.append(int(count)) or 0.1, gradient_accumulation_steps=2)
    params = jnp.ones(2)
    state = init(params)
    for _ in range(5):
        params, state = step(params, jnp.ones(2), state)
    assert seen == [0, 0, 1, 1, 2]


def test_inject_hyperparams_gives_the_same_as_plain_numbers(doors: Doors) -> None:
    params, grads = tree(), gradients(tree())
    injected = optax.inject_hyperparams(doors.factory)(learning_rate=0.1)
    updates, state = jax.jit(injected.update)(grads, injected.init(params), params)
    expected, _ = doors.factory(jnp.float32(0.1)).update(grads, doors.factory().init(params), params)
    for x, y in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3)  # b2 arrives rounded to float32, as in optax
    assert float(state.hyperparams["learning_rate"]) == np.float32(0.1)


def test_a_beta_of_zero_and_the_last_count(adam: Doors) -> None:
    params = jnp.ones(3)
    init, step = adam.step(0.5, 0.0, 0.0, 0.0)
    new, state = jax.jit(step)(params, jnp.full(3, 3.0), init(params)._replace(count=jnp.int32(2**31 - 1)))
    np.testing.assert_array_equal(new, 0.5)
    assert int(state.count) == 2**31 - 1


def test_accumulation_updates_once_by_the_mean(doors: Doors) -> None:
    params = tree()
    sequence = [gradients(params, seed) for seed in range(4)]
    init, step = doors.step(gradient_accumulation_steps=4)
    whole, now, state = doors.step(), params, init(params)
    for call, grads in enumerate(sequence, start=1):
        before = now
        now, state = step(now, grads, state)
        assert (int(state.iterations), int(state.count)) == (call, call // 4)
        if call < 4:
            assert_same(now, before)
    mean = jax.tree.map(lambda *gs: (gs[0] + gs[1] + gs[2] + gs[3]) * 0.25, *sequence)
    assert_same(now, whole.step(params, mean, whole.init(params))[0], ulps=8)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(state.accumulated_gradient))


# Inside optax


def test_optax_wrappers(doors: Doors) -> None:
    params, grads = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}, {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    chained = optax.chain(optax.clip_by_global_norm(1.0), doors.factory(0.1))
    masked = optax.masked(doors.factory(0.1), {"a": True, "b": False})
    several = optax.MultiSteps(doors.factory(0.1), 2).gradient_transformation()
    finite = optax.apply_if_finite(doors.factory(0.1), 2)
    labelled = optax.partition({"x": doors.factory(0.1), "y": optax.set_to_zero()}, {"a": "x", "b": "y"})
    for optimizer in (chained, masked, several, finite, labelled):
        state = optimizer.init(params)
        updates, after = optimizer.update(grads, state, params)
        assert avals(after) == avals(state)
        assert avals(updates) == avals(grads)
    plain, _ = doors.factory(0.1).update(grads, doors.factory(0.1).init(params), params)
    assert_same(labelled.update(grads, labelled.init(params), params)[0]["a"], plain["a"], ulps=4)


def test_extra_arguments_are_accepted_and_parameters_asked_for_where_needed(doors: Doors) -> None:
    params, grads = jnp.ones(3), jnp.ones(3)
    decaying = doors.factory(weight_decay=0.1)
    decaying.update(grads, decaying.init(params), params, value=1.0)
    with pytest.raises(ValueError, match="pass `params`"):
        decaying.update(grads, decaying.init(params))


def test_no_parameters_are_needed_without_decay(adam: Doors) -> None:
    updates, _ = adam.factory().update(jnp.ones(3), adam.factory().init(jnp.ones(3)))
    np.testing.assert_allclose(updates, -0.001, rtol=1e-5)


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"b1": 1.0}, ValueError, "b1 must be >= 0 and < 1, not 1.0"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be >= 0, not -0.1"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate must be >= 0, not inf"),
        ({"eps": float("nan")}, ValueError, "eps must be >= 0, not nan"),
        ({"b2": jnp.float32(2)}, ValueError, "b2 must be >= 0 and < 1, not 2.0"),
        ({"b2": jnp.ones(2)}, ValueError, r"b2 must be .*, not an array of shape \(2,\)"),
        ({"b2": "0.9"}, TypeError, "b2 must be a number or a schedule, not '0.9'"),
        ({"b2": None}, TypeError, "b2 must be a number or a schedule, not None"),
        ({"amsgrad": 1}, ValueError, "amsgrad must be one of False, True, not 1"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be >= 0, not -1"),
        ({"gradient_accumulation_steps": 1}, ValueError, "gradient_accumulation_steps must be >= 2, not 1"),
        ({"gradient_accumulation_steps": 2.5}, ValueError, "gradient_accumulation_steps must be an integer, not 2.5"),
        ({"gradient_accumulation_steps": lambda count: 2}, TypeError, "must be a number, not"),
        ({"gradient_accumulation_steps": jnp.int32(2)}, TypeError, "static_args"),
        ({"mu_dtype": "bfloat16"}, TypeError, "mu_dtype"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str, adam: Doors) -> None:
    for door in (adam.factory, adam.step):
        with pytest.raises(error, match=message):
            door(**arguments)


def test_wrong_trees_and_states(adam: Doors) -> None:
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    init, step = adam.step()
    state = init(params)
    with pytest.raises(ValueError, match="params does not have the structure of the gradients"):
        step(params, {"a": jnp.ones(3)}, state)
    with pytest.raises(ValueError, match=r"params has a leaf of shape \(3,\), whose gradient has \(4,\)"):
        step(params, {"a": jnp.ones(4), "b": jnp.ones(2)}, state)
    with pytest.raises(ValueError, match=r"state\.mu has a leaf of shape \(4,\)"):
        step(params, params, init({"a": jnp.ones(4), "b": jnp.ones(2)}))
    with pytest.raises(ValueError, match="params does not have the structure"):
        step({"a": None, "b": jnp.ones(2)}, params, state)
    with pytest.raises(TypeError, match="the state must be a AdamState, as `init` returns it, not a tuple"):
        step(params, params, optax.adam(0.1).init(params))
    with pytest.raises(ValueError, match=r"state\.nu_max: the state was made without it"):
        adam.step(amsgrad=True).step(params, params, state)
    with pytest.raises(ValueError, match=r"state\.nu_max: the state was made with it"):
        step(params, params, adam.step(amsgrad=True).init(params))


@pytest.mark.parametrize("dtype", ["complex64", "int32"])
def test_dtypes_that_are_not_there_yet(dtype: str, adam: Doors) -> None:
    with pytest.raises(NotImplementedError, match=f"leaves of dtype {dtype} are not implemented yet"):
        adam.step().init(jnp.ones(3, dtype))
    with pytest.raises(NotImplementedError, match=f"leaves of dtype {dtype} are not implemented yet"):
        adam.step().step(jnp.ones(3), jnp.ones(3, dtype), adam.step().init(jnp.ones(3)))
