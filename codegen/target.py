"""What a target is: one folder in `codegen/targets/`, with a `target.py` that defines TARGET."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import jinja2

from .ir.nodes import Program
from .passes.legalise import Nestings


class Target(Protocol):
    """How programs become files of one language and framework."""

    name: str
    numerics: Literal["strict", "fast"]
    """The default numerics of committed files."""
    nestings: Nestings
    """(outer, inner) operations that the target's compiler would contract or regroup: guarded in strict code."""
    ecosystem: str
    """The package whose optimizers are the target's own peers; their conventions stay arguments. "*" for all, empty for
    none."""

    missing_stages: frozenset[str]
    """The stages that it does not print yet, by name."""

    def render(self, program: Program) -> Mapping[str, str]:
        """The files of one program, by relative path. Raises UnsupportedOperation."""
        ...


@dataclass(frozen=True)
class Kernels:
    """What a target has beside its classes when they run fused kernels: `kernels` of a target that can.

    `targets`: those that print a rule's kernels, to lie beside the class. `support`: the files of its own that only
    kernels need. `binding`: the one of them that has `build(folder)`, which builds the library by which the framework
    reaches kernels, and returns its file.
    """

    targets: tuple[str, ...]
    support: tuple[str, ...]
    binding: str


@dataclass(frozen=True)
class Templates:
    """The Jinja templates of one target, and those it shares. They lay out; they hold no mathematics."""

    folder: Path
    shared: tuple[Path, ...] = ()
    markers: ClassVar[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """The text of `template`; every name that it reads must be in `context`."""
        return self.environment.get_template(template).render(context)

    @cached_property
    def environment(self) -> jinja2.Environment:
        """Templates are compiled once, not once per rule."""
        return jinja2.Environment(
            loader=jinja2.FileSystemLoader([self.folder, *self.shared]),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            **self.markers,
        )


def names_in(target: Target, program: Program) -> dict[str, str]:
    """What users of `target` call each hyperparameter, option and slot of `program`.

    A target that renames has a method `names(program)`; for one without, they are called as in the rule.
    """
    declared = [hyper.name for hyper in program.hypers] + [option.name for option in program.options]
    declared += [slot.name for slot in program.slots]
    renaming = getattr(target, "names", None)
    renamed: Mapping[str, str] = renaming(program) if renaming else {}
    return {name: renamed.get(name, name) for name in declared}
