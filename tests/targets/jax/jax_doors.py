"""What the tests of the JAX target share: rules, doors, trees, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from kinds import of_each_kind
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.ir.nodes import Kind, Program, Ref
from optloom.codegen.printing import UnsupportedOperation
from optloom.codegen.targets.jax.target import TARGET, names_in_optax
from optloom.spec.guards import HasAxes, atoms

DTYPES = ("float16", "bfloat16", "float32", "float64")


def _is_printed(rule: Any) -> bool:
    try:
        TARGET.render(program_for(rule, "jax"))
    except UnsupportedOperation:
        return False
    return True


RULES = tuple(name for name, rule in discover().items() if _is_printed(rule))
EACH_KIND = of_each_kind(RULES, "jax")


class Doors:
    """The module of one rule, its two doors, and what its declarations say of it."""

    def __init__(self, module: ModuleType, name: str, program: Program) -> None:
        self.module, self.name, self.program = module, name, program
        self.factory: Callable[..., optax.GradientTransformationExtraArgs] = getattr(module, name)
        self.step: Callable[..., Any] = getattr(module, f"{name}_step")

    @property
    def asks_for_axes(self) -> bool:
        """Whether what leaves keep depends on their axes."""
        own = self.program.slots
        return any(s.shape in ("rows", "columns") or any(isinstance(a, HasAxes) for a in atoms(s.when)) for s in own)

    @property
    def rate_starts_a_slot(self) -> bool:
        return any(slot.init == Ref(Kind.HYPER, "learning_rate") for slot in self.program.slots)

    @property
    def inputs(self) -> dict[str, str]:
        """What a step takes beside gradients: the shape of each, by its name."""
        names = names_in_optax(self.program)
        return {names[source.name]: source.shape for source in self.program.inputs}

    @property
    def integers(self) -> tuple[str, ...]:
        """The numbers that decide what is compiled, always given."""
        return tuple(hyper.name for hyper in self.program.hypers if hyper.integer and hyper.default is not None)


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


def field(state: Any, name: str) -> Any:
    """A field of a state, whichever of its parts it is in."""
    return next((getattr(part, name) for part in state if name in part._fields), None)


def assert_same(a: Any, b: Any, ulps: int = 0) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype
        if ulps and jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x.astype(float), y.astype(float), rtol=ulps * float(jnp.finfo(x.dtype).eps))
        else:
            np.testing.assert_array_equal(x, y)
