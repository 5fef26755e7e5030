"""What a generated file was made from, as one digest: rule, language, compiler, the target's folder."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import optloom.codegen
import optloom.spec
from optloom.spec.rule import Layer, Rule

from .discovery import target_names

NOT_COMPILING = (
    "bench", "cli", "conformance", "pages", "probes", "report", "targets", "vendor", "__main__.py", "api.py",
    "compare.py", "convert.py", "doctor.py", "explain.py", "new.py", "output.py", "provenance.py", "pytest_plugin.py",
    "recorded.py", "show.py", "trajectories.py",
)  # fmt: skip
"""What of `codegen` has no part in what a file holds; of `targets`, only the one target's folder has."""
NOT_PRINTING = ("runner.py", "contestants.py", "usage.py.jinja")
"""What of a target's folder serves the conformance suite, the benchmarks and the pages alone."""
SHOWING = ("explain.py", "show.py")
"""What of NOT_COMPILING has a part in what `show` says of a rule."""
SUFFIXES = (".py", ".jinja", ".h")


def source_digest(rule: type[Rule] | None, target: str) -> str:
    """The digest of all that a file of `target` is made from, by `rule` or (None) by any; the same everywhere."""
    own = sorted(_rule_parts(rule)) if rule else []
    shared = [("language", _language()), ("compiler", _compiler()), (target, _target(target))]
    return hashlib.sha256(repr([*own, *shared]).encode()).hexdigest()


def shown_digest(rule: type[Rule]) -> str:
    """The digest of all that `show` says of `rule` is made from: the rule, the compiler, all targets' names for it."""
    targets = [(target, _target(target)) for target in target_names()]
    shared = [("language", _language()), ("compiler", _compiler()), ("show", _showing()), *targets]
    return hashlib.sha256(repr([*sorted(_rule_parts(rule)), *shared]).encode()).hexdigest()


def _rule_parts(rule: type[Rule]) -> Iterator[tuple[str, str]]:
    """Name and digest of each file that the rule is written in, those of rules that it builds on included."""
    for layer in _ancestors(rule):
        file = inspect.getsourcefile(layer)
        if file:
            yield layer.__name__, _digest([(Path(file).name, Path(file))])


def _ancestors(rule: type[Rule]) -> Iterator[type[Layer]]:
    for base in rule.__mro__:
        if issubclass(base, Rule) and base is not Rule:
            yield base
    if rule.wraps is not None:
        yield from _ancestors(rule.wraps)


@cache
def _language() -> str:
    """`spec` without its rules: the language, and the stages, which surround every rule."""
    root = _folder(optloom.spec.__path__)
    return _digest(_files(root, skip=("rules",)))


@cache
def _compiler() -> str:
    return _digest(_files(_folder(optloom.codegen.__path__), skip=NOT_COMPILING))


@cache
def _showing() -> str:
    root = _folder(optloom.codegen.__path__)
    return _digest([(name, root / name) for name in SHOWING])


@cache
def _target(target: str) -> str:
    return _digest(_files(_folder(optloom.codegen.__path__) / "targets" / target, skip=NOT_PRINTING))


def _folder(path: object) -> Path:
    return Path(next(iter(path)))  # type: ignore[call-overload]


def _files(root: Path, skip: tuple[str, ...] = ()) -> list[tuple[str, Path]]:
    found = ((file.relative_to(root), file) for file in root.rglob("*") if file.suffix in SUFFIXES)
    return sorted((name.as_posix(), file) for name, file in found if name.parts[0] not in skip)


def _digest(files: list[tuple[str, Path]]) -> str:
    """Names and contents; line endings count for nothing."""
    whole = hashlib.sha256()
    for name, file in files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()
