"""optax's own tests, of the installed package, on every committed factory.

Left out: tests of `mu_dtype`, which is another policy of slots (`test_explicit_dtype`); and of the second module those
whose like the first one has. With `--every-rule` on every rule that optax has, else on one of each kind.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import optax
from jax_doors import EACH_KIND, RULES
from optax_tables import executed, rows, without_tests
from optloom.codegen.compiler import discover, program_for
from optloom.codegen.targets.jax.target import names_in_optax


def _factory(*arguments: Any) -> Any:
    """By the last argument, its name."""
    name = arguments[-1]
    return getattr(importlib.import_module(f"optloom.generated.jax.{name}"), name)


def _defaults(name: str) -> dict[str, float]:
    """What optax's function of that name has as defaults; its tests are made for them."""
    rule = discover()[name]
    names = names_in_optax(program_for(rule, "jax"))
    peers = [peer for peer in rule.peers if peer.path == f"optax.{name}"]
    return {names[hyper]: value for peer in peers for hyper, value in peer.defaults.items() if hyper in names}


ALIAS, COMMON = "optax._src.alias_test", "optax.contrib._common_test"
PATHS = {peer.path for name in RULES for peer in discover()[name].peers}
UNLIKE = ("adafactor",)
"""Not in optax's tables: they give complex leaves and `min_dim_size_to_factor`, which it does not take."""
TABLED = tuple(
    name for name in EACH_KIND
    if f"optax.{name}" in PATHS and name not in UNLIKE
    and "learning_rate" in inspect.signature(getattr(optax, name)).parameters
)  # fmt: skip
"""Rules of each kind that optax has under the same name, made of numbers as ours are (and not of other optimizers)."""
ROWS = tuple(
    row | {"opt_kwargs": _defaults(row["opt_name"]) | row["opt_kwargs"]}
    for row in rows(ALIAS, "_OPTIMIZERS_UNDER_TEST", TABLED)
)
TOO_SLOW = ("adadelta", "signum")
"""Not in optax's second table: optax's own functions, put there, do not converge in its number of steps either."""
WRAPPED = tuple(row | {"wrapper_name": None, "wrapper_kwargs": None} for row in ROWS if row["opt_name"] not in TOO_SLOW)

AliasTest = without_tests(
    executed(ALIAS, {"_OPTIMIZERS_UNDER_TEST": ROWS, "_get_opt": _factory}, without=("LBFGSTest",))["AliasTest"],
    lambda test: test.startswith("test_explicit_dtype"),
)
ContribTest = without_tests(
    executed(
        COMMON,
        {
            "_MAIN_OPTIMIZERS_UNDER_TEST": WRAPPED,
            "_OTHER_OPTIMIZERS_UNDER_TEST": (),
            "_ALL_OPTIMIZERS_UNDER_TEST": WRAPPED,
            "_get_opt_factory": _factory,
        },
    )["ContribTest"],
    lambda test: any(hasattr(AliasTest, name) for name in (test, test.rstrip("0123456789") + "0")),
)


def test_rules_are_in_the_tables() -> None:
    assert {row["opt_name"] for row in ROWS} == set(TABLED)
    assert len(TABLED) >= 5


def test_both_tables_are_run() -> None:
    """The tests are there, a few for each rule: the trees of optax's modules were found as they are expected."""
    for kind, least in ((AliasTest, 12), (ContribTest, 5)):
        tests = [name for name in dir(kind) if name.startswith("test") and getattr(kind, name) is not None]
        assert len(tests) >= least * len({row["opt_name"] for row in ROWS})
