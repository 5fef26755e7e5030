"""Rules and targets, found in their folders: no list of them is kept anywhere."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import optloom.codegen.targets
import optloom.spec.rules
from optloom.spec.errors import Location, SpecError
from optloom.spec.rule import Rule, check_dialects, check_stage_defaults, location_of
from optloom.spec.stages import PIPELINE

from .target import Target

GROUP = "optloom.rules"
"""The group of entry points by which packages offer rules: `tiger = "their.package.tiger"`, or `...:Tiger`."""


def discover(path: Path | None = None) -> dict[str, type[Rule]]:
    """Rules by file name: optloom's own, or those of the file or folder `path`.

    Raises SpecError for a file that does not import, holds no rule or more than one, and for two rules of one name.
    """
    if path is None:
        folder = optloom.spec.rules
        names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
        modules = [_imported(f"{folder.__name__}.{name}", Path(folder.__path__[0]) / f"{name}.py") for name in names]
    else:
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        modules = [_from_file(file) for file in files if not file.name.startswith("_")]
    rules: dict[str, type[Rule]] = {}
    for module in modules:
        rule = _rule_of(module)
        for name, other in rules.items():
            if other.__name__ == rule.__name__:
                raise SpecError(
                    f"two rules are called {rule.__name__}", location_of(rule), f"the other is in {name}.py; rename one"
                )
        rules[module.__name__.rpartition(".")[2]] = rule
    return rules


@dataclass(frozen=True)
class Offer:
    """A rule that an installed package offers: an entry point, of a module or of a class."""

    point: EntryPoint

    def load(self) -> type[Rule]:
        """Raises SpecError where the package's module does not import, or holds no rule or several."""
        module = self.point.module
        found = _imported(module, Path(module.replace(".", "/") + ".py"))
        return _rule_of(found, self.point.attr or "")


@cache
def offered() -> dict[str, Offer]:
    """The rules of installed packages by name, none of them imported yet: the entry points of GROUP.

    optloom's own names stay its own.
    """
    own = {module.name for module in pkgutil.iter_modules(optloom.spec.rules.__path__)}
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: Offer(point) for point in points if point.name not in own}


def offered_rules() -> dict[str, type[Rule]]:
    """The rules of installed packages by name; a package that is broken spoils only its own."""
    rules = {}
    for name, offer in offered().items():
        try:
            rules[name] = offer.load()
        except SpecError as error:
            warnings.warn(f"the rule '{name}' that {offer.point.value} offers: {error}", stacklevel=2)
    return rules


def target_names() -> list[str]:
    """The names of the targets' folders, in alphabetical order."""
    return sorted(file.parent.name for file in Path(optloom.codegen.targets.__path__[0]).glob("*/target.py"))


@cache
def targets() -> dict[str, Target]:
    """Targets by folder name, in alphabetical order."""
    return {name: target(name) for name in target_names()}


@cache
def target(name: str) -> Target:
    """The target of the folder `name`."""
    made: Target = importlib.import_module(f"{optloom.codegen.targets.__name__}.{name}.target").TARGET
    return made


def _rule_of(module: ModuleType, name: str = "") -> type[Rule]:
    """The one rule that `module` holds, or the one called `name`."""
    own = [
        value for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Rule) and value.__module__ == module.__name__
        and name in ("", value.__name__)
    ]  # fmt: skip
    file = module.__file__ or "?"
    if len(own) != 1:
        names = ", ".join(rule.__name__ for rule in own) or "none"
        raise SpecError(f"a rule file holds one rule, this one holds {names}", Location(file, 1), "one file per rule")
    check_stage_defaults(own[0], PIPELINE)
    check_dialects(own[0], PIPELINE)
    return own[0]


def _imported(name: str, file: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SpecError:
        raise
    except Exception as error:
        raise _does_not_import(file, error) from error


def _from_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise SpecError("no such rule file", Location(str(file), 1), "give a .py file, or a folder of them")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except SpecError:
        raise
    except Exception as error:
        raise _does_not_import(file, error) from error
    return module


def _does_not_import(file: Path, error: Exception) -> SpecError:
    line = getattr(error, "lineno", None) or 1
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return SpecError(f"the rule does not import: {type(error).__name__}: {error}", Location(str(file), line))
