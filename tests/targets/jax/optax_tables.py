"""optax's own tests, of the installed package, run on the generated factories.

optax's test modules keep their optimizers in a table, which their decorators read. The module's syntax tree is changed
before it is executed: the table's rows are those of our factories, and factories are looked up among ours.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

UNIMPORTANT = ("scipy", "sklearn")
"""Packages that only tests of other things need."""


def source_of(module: str) -> str:
    found = find_spec(module)
    assert found and found.origin
    return Path(found.origin).read_text(encoding="utf-8")


def rows(module: str, table: str, names: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """The rows of the module's table that are of optimizers called as ours, and a plain one for each that it lacks."""
    found: list[dict[str, Any]] = []
    for node in ast.parse(source_of(module)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == table:
            found = [row for row in ast.literal_eval(node.value) if row["opt_name"] in names]
    known = {row["opt_name"] for row in found}
    return (*found, *({"opt_name": n, "opt_kwargs": {"learning_rate": 1e-2}} for n in names if n not in known))


def executed(module: str, values: Mapping[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The names of the module, executed with the assignments and functions of `values` replaced by these.

    Classes in `without` are left out; questions about JAX's version, which optax compares as texts, are answered with
    "new enough".
    """
    tree = ast.parse(source_of(module))
    tree.body = [node for node in tree.body if not _is_left_out(node, values, without)]
    names: dict[str, Any] = {"__name__": f"tables of {module}", **values}
    exec(compile(ast.fix_missing_locations(_NewEnough().visit(tree)), module, "exec"), names)
    return names


class _NewEnough(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return ast.Constant(False) if ast.unparse(node.left) == "jax.__version__" else node


def _is_left_out(node: ast.stmt, values: Mapping[str, Any], without: tuple[str, ...]) -> bool:
    match node:
        case ast.Import(names=aliases):
            return aliases[0].name.partition(".")[0] in UNIMPORTANT
        case ast.ImportFrom(module=module):
            return (module or "").partition(".")[0] in UNIMPORTANT
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AugAssign(target=ast.Name(id=name)):
            return name in values
        case ast.For(iter=ast.Name(id=name)):
            return name in values
        case ast.FunctionDef(name=name):
            return name in values
        case ast.ClassDef(name=name):
            return name in without
    return False


def without_tests(kind: type, left_out: Callable[[str], bool]) -> type:
    """A test class without the tests that are left out."""
    for name in [name for name in dir(kind) if name.startswith("test") and left_out(name)]:
        setattr(kind, name, None)
    return kind
