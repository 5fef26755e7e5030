"""fused=True on the CPU: the bits of strict code under every transformation of a training loop; what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_doors import EACH_KIND, Doors, assert_same, gradients, tree
from kernels import brings_nothing, printed
from kinds import representatives
from optloom.codegen.compiler import Settings, discover, program_for, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.ir.nodes import Fn, Op, Reduce, walk

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
PRINTED = [name for name in EACH_KIND if name in brings_nothing("cpp") and name in representatives()]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of a user's is found, and none that is built here stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("OPTLOOM_KERNEL_PATH", raising=False)
    monkeypatch.delenv("OPTLOOM_COMPILE", raising=False)


@pytest.fixture
def strict(rendered: Callable[..., Doors]) -> Callable[[str], Doors]:
    """The strict doors of a rule, with its kernel beside them."""

    def load(name: str) -> Doors:
        doors = rendered(name, "strict")
        place = Path(str(doors.module.__file__)).with_suffix(".cpp")
        if not place.exists():
            text = render(discover()[name], "cpp", settings=Settings(conventions="all"))[f"cpp/{name}.cpp"]
            place.write_text(text)
        return doors

    return load


def inputs(doors: Doors, params: Any) -> dict[str, Any]:
    return {name: 0.5 if shape == "scalar" else gradients(params, 9) for name, shape in doors.inputs.items()}


def steps(doors: Doors, params: Any, fused: bool, number: int = 3, dtype: Any = None, **arguments: Any) -> Any:
    """Parameters and state after some steps, each of which is compiled and gives its memory up."""
    init, step = doors.step(fused=fused, **arguments)
    given, state = inputs(doors, params), init(params)
    call = jax.jit(lambda w, g, s: step(w, g, s, **given), donate_argnums=(0, 2))
    params = jax.tree.map(jnp.copy, params)
    for seed in range(number):
        grads = gradients(params, seed)
        params, state = call(params, grads if dtype is None else jax.tree.map(lambda g: g.astype(dtype), grads), state)
    return params, state


def is_exact(name: str) -> bool:
    """Whether a rule's bits are the same everywhere: it has no sums, whose order is the kernel's own, nor powers."""
    statements = program_for(discover()[name], "jax", settings=Settings(stages=())).update.statements
    nodes = [node for statement in statements for node in walk(statement.value)]
    return not any(isinstance(node, Reduce) or (isinstance(node, Op) and node.fn is Fn.POW) for node in nodes)


@pytest.mark.parametrize("name", PRINTED)
def test_the_bits_of_strict_code(name: str, strict: Callable[[str], Doors]) -> None:
    """A mean of nothing is kept as it is by kernels, and NaN elsewhere: empty leaves only where there is none."""
    doors, params = strict(name), tree()
    if not is_exact(name):
        del params["empty"]
    assert_same(steps(doors, params, True), steps(doors, params, False), ulps=0 if is_exact(name) else 64)


STAGES: dict[str, Any] = {
    "weight_decay": 0.01, "clipvalue": 0.5, "use_ema": True, "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2, "loss_scale_factor": 8.0, "exclude_from_weight_decay": ["inner"],
}  # fmt: skip


def test_the_bits_with_all_stages(strict: Callable[[str], Doors]) -> None:
    doors = strict("adam")
    assert_same(
        steps(doors, tree(), True, 5, amsgrad=True, **STAGES), steps(doors, tree(), False, 5, amsgrad=True, **STAGES)
    )


@pytest.mark.parametrize("stages", [{}, STAGES], ids=["alone", "with all stages"])
def test_a_call_with_a_gradient_that_is_not_finite_is_skipped(
    stages: dict[str, Any], strict: Callable[[str], Doors]
) -> None:
    """The second of four calls, of more leaves than one call of a kernel takes; in place."""
    params = {str(i): jnp.linspace(-1, 1, 7) for i in range(70)}
    found = []
    for fused in (True, False):
        init, step = strict("adam").step(fused=fused, skip_nonfinite=True, **stages)
        call, w, state = jax.jit(step, donate_argnums=(0, 2)), jax.tree.map(jnp.copy, params), init(params)
        for seed in range(4):
            grads = gradients(params, seed)
            if seed == 1:
                grads["69"] = grads["69"].at[3].set(jnp.inf)
                before = jax.tree.map(np.array, w)
            w, state = call(w, grads, state)
            if seed == 1:
                assert_same(w, before)
        assert int(state[1].skipped) == 1
        found.append((w, state))
    assert_same(*found)


@pytest.mark.parametrize(("dtype", "gradient"), [("bfloat16", None), ("float16", None), ("float32", "bfloat16")])
def test_the_bits_in_other_dtypes(dtype: str, gradient: str | None, strict: Callable[[str], Doors]) -> None:
    doors = strict("adam")
    assert_same(*(steps(doors, tree(dtype), fused, dtype=gradient) for fused in (True, False)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_bits_with_stochastic_rounding(dtype: str, strict: Callable[[str], Doors]) -> None:
    doors = strict("adam")
    assert_same(*(steps(doors, tree(dtype), fused, stochastic_rounding=True) for fused in (True, False)))


def test_float64(strict: Callable[[str], Doors]) -> None:
    with jax.enable_x64(True):
        assert_same(*(steps(strict("adam"), tree("float64"), fused) for fused in (True, False)))


def test_subnormal_numbers_are_kept(strict: Callable[[str], Doors]) -> None:
    """XLA flushes them on its own threads, and kernels have others beside: all compute alike."""
    init, step = strict("adam").step(0.0, fused=True)
    params = jnp.asarray(np.full(10_000, 1e-40, np.float32))
    new, _ = step(params, jnp.ones(10_000), init(params))
    assert np.asarray(new).tobytes() == np.asarray(params).tobytes()


def test_more_leaves_than_one_call_takes(strict: Callable[[str], Doors]) -> None:
    doors, params = strict("adam"), {str(at): jnp.full(at % 7, 0.5) for at in range(70)}
    assert_same(*(steps(doors, params, fused) for fused in (True, False)))
    init, step = doors.step(fused=True)
    text = jax.jit(step).lower(params, gradients(params), init(params)).as_text()
    assert text.count("stablehlo.custom_call @optloom_step") == 2


def test_under_scan_with_a_schedule(strict: Callable[[str], Doors]) -> None:
    params = tree()

    def trained(fused: bool) -> Any:
        init, step = strict("nadam").step(lambda count: 0.1 / (1 + count), fused=fused)
        return jax.lax.scan(lambda c, g: (step(c[0], g, c[1]), None), (params, init(params)), grads)[0]

    grads = jax.tree.map(lambda *each: jnp.stack(each), *(gradients(params, seed) for seed in range(4)))
    assert_same(trained(True), trained(False))


@pytest.mark.parametrize("skips", [False, True])
def test_a_donated_step_copies_nothing_of_a_leafs_size(skips: bool, strict: Callable[[str], Doors]) -> None:
    init, step = strict("adam").step(fused=True, skip_nonfinite=skips)
    params = jnp.ones(100_000)
    compiled = jax.jit(step, donate_argnums=(0, 2)).lower(params, params, init(params)).compile()
    memory: Any = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 4096
    assert memory.alias_size_in_bytes >= 3 * 4 * params.size


def test_outside_of_jit_arguments_keep_their_values(strict: Callable[[str], Doors]) -> None:
    init, step = strict("adam").step(fused=True)
    params = jnp.ones(3)
    new, _ = step(params, params, init(params))
    assert params.tolist() == [1, 1, 1] != new.tolist()


REFUSED: dict[str, tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array], str]] = {
    "int leaf": (lambda w: jnp.zeros(3, jnp.int32), lambda g: g, "dtype int32"),
    "wide gradient": (lambda w: w.astype(jnp.bfloat16), lambda g: g, "the gradient of '' has dtype float32"),
    "complex": (lambda w: w.astype(complex), lambda g: g.astype(complex), "dtype complex64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_anything_is_written(case: str, strict: Callable[[str], Doors]) -> None:
    parameter, gradient, message = REFUSED[case]
    doors, params, grads = strict("adam"), parameter(jnp.ones(3)), gradient(jnp.ones(3))
    with pytest.raises((ValueError, NotImplementedError), match=message):
        init, step = doors.step(fused=True)
        step(params, grads, init(params))


@pytest.mark.parametrize("name", sorted({*printed("cpp")} - {*brings_nothing("cpp")}))
def test_a_kernel_that_multiplies_matrices_is_refused(name: str, strict: Callable[[str], Doors]) -> None:
    doors, params = strict(name), jnp.ones((3, 4))
    with pytest.raises(Exception, match="takes a product function, which is not brought to it here"):
        steps(doors, params, True, 1)


def test_sparse_rows_are_refused(strict: Callable[[str], Doors]) -> None:
    doors, params = strict("adam"), jnp.ones((3, 2))
    init, step = doors.step(fused=True)
    rows = doors.module.SparseRows(jnp.array([1]), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="the gradient of '' is sparse: fused kernels take dense ones"):
        step(params, rows, init(params))


def test_the_transformation_refuses_what_writes(strict: Callable[[str], Doors]) -> None:
    with pytest.raises(ValueError, match=r"fused=True writes the parameters, .* use adam_step"):
        strict("adam").factory(fused=True)


def test_where_kernels_are_found(
    strict: Callable[[str], Doors], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None finds what was built, and builds nothing; True builds, unless that is forbidden."""
    doors, params = strict("adam"), tree()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    with pytest.raises(RuntimeError, match="OPTLOOM_COMPILE=0 forbids to build it"):
        steps(doors, params, True, 1)
    assert not list(tmp_path.rglob("*.so"))
    assert not is_fused(doors, params, None)
    assert not list(tmp_path.rglob("*.so"))
    monkeypatch.delenv("OPTLOOM_COMPILE")
    assert is_fused(doors, params, True)
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    assert is_fused(doors, params, None) and not is_fused(doors, params, False)


def is_fused(doors: Doors, params: Any, fused: bool | None) -> bool:
    init, step = doors.step(fused=fused)
    return "optloom_step" in jax.jit(step).lower(params, gradients(params), init(params)).as_text()


def test_without_its_files_only_fused_true_is_an_error(strict: Callable[[str], Doors], tmp_path: Path) -> None:
    doors = strict("adam")
    for file in Path(str(doors.module.__file__)).parent.glob("*.py"):
        if file.name not in ("_fused.py", "_calls.py", "_kernels.py"):
            shutil.copy(file, tmp_path)
    module = load_module(str(tmp_path / "adam.py"))
    assert isinstance(np.asarray(module.adam_step().init(jnp.ones(2))[0].mu), np.ndarray)
    with pytest.raises(ValueError, match=r"fused=True needs _fused.py, _calls.py, _calls.cpp and _kernels.py"):
        module.adam_step(fused=True)
