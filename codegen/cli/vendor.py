"""`optloom vendor add`, `diff`, `update`, `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    Json,
    NumericsOption,
    OneRule,
    SlotDtypeChoice,
    SlotDtypeOption,
    Stages,
    complete_target,
    console,
    print_json,
    stages_of,
)

if TYPE_CHECKING:
    from rich.console import Console

Vendored = Annotated[
    list[str] | None, typer.Argument(metavar="RULE", help="Vendored rules; all if none is named.", show_default=False)
]
Target = Annotated[
    str,
    typer.Option("--target", "-t", metavar="TARGET", help="The framework or language.", autocompletion=complete_target),
]
To = Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to, inside the project.")]
Dialect = Annotated[str, typer.Option(metavar="PEER", help="A peer's conventions: its path, or its package.")]
Package = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Import the folder absolutely, by this name; '' for modules side by side."),
]
Kernels = Annotated[bool, typer.Option("--kernels", help="Fused kernels as well.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite edits, and files that optloom did not write.")]
Project = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The project's root; found upwards if not given.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        name="vendor", help="Copy optimizers into a project, and keep them up to date.", no_args_is_help=True
    )
    for command in (add, diff, update, check):
        group.command()(command)
    app.add_typer(group)


def add(
    rule: OneRule,
    target: Target,
    to: To,
    numerics: NumericsOption = None,
    stages: Stages = None,
    dialect: Dialect = "",
    package: Package = None,
    kernels: Kernels = False,
    slot_dtype: SlotDtypeOption = SlotDtypeChoice.COMPUTE,
    force: Force = False,
    project: Project = None,
) -> None:
    """Write one optimizer's files, complete in themselves, and their entry in optloom.lock.json."""
    from .. import vendor

    request = vendor.Request(
        rule,
        target,
        to,
        numerics.value if numerics else None,
        stages_of(stages),
        dialect,
        package,
        kernels,
        slot_dtype.value,
    )
    done = vendor.add(request, project, force=force)
    console_ = console()
    for path in done.written:
        console_.print(f"wrote      {path}", markup=False)
    for path in done.unchanged:
        console_.print(f"unchanged  {path}", markup=False)


def diff(rules: Vendored = None, as_json: Json = False, project: Project = None) -> None:
    """Show your own edits, and what changed upstream, each as a diff from the text as it was generated."""
    from ..vendor import Problem, examine

    standings = examine(rules or (), project)
    if as_json:
        print_json(standings)
        return
    console_ = console()
    for standing in standings:
        if Problem.MISSING in standing.problems:
            console_.print(f"missing    {standing.path}", style="yellow", markup=False)
    for heading, diffs in (
        ("your edits", [standing.edits for standing in standings]),
        ("changes upstream", [standing.upstream for standing in standings]),
    ):
        console_.print(heading if any(diffs) else f"{heading}: none", style="bold cyan")
        for text in filter(None, diffs):
            _show_diff(console_, text)


def update(rules: Vendored = None, force: Force = False, project: Project = None) -> None:
    """Merge what changed upstream with your edits; exit status 1 if conflicts are left in the files."""
    from .. import vendor

    done = vendor.update(rules or (), project, force=force)
    console_ = console()
    for path in done.written:
        console_.print(f"wrote      {path}", markup=False)
    for path in done.merged:
        found = done.conflicts.get(path)
        what = f"conflicts  {path}: {found} to resolve" if found else f"merged     {path}"
        console_.print(what, style="red" if found else None, markup=False)
    for path in done.removed:
        console_.print(f"removed    {path}", markup=False)
    for path in done.left:
        console_.print(f"left       {path}: nothing makes it any more, and it holds edits", markup=False)
    console_.print(f"{len(done.written) + len(done.merged)} written, {len(done.unchanged)} unchanged")
    if done.conflicts:
        raise typer.Exit(1)


def check(rules: Vendored = None, as_json: Json = False, project: Project = None) -> None:
    """Exit status 1 if a file is missing, stale, edited since the last update, or has conflicts left in it."""
    from ..vendor import Problem, examine

    standings = examine(rules or (), project)
    wanting = [standing for standing in standings if standing.problems]
    if as_json:
        print_json({"passed": not wanting, "files": [{"path": s.path, "problems": s.problems} for s in standings]})
    else:
        console_ = console()
        for standing in wanting:
            console_.print(f"{', '.join(standing.problems):<9}  {standing.path}", style="yellow", markup=False)
        problems = {problem for standing in wanting for problem in standing.problems}
        if Problem.CONFLICT in problems:
            console_.print("Resolve the conflicts, then: optloom vendor update")
        elif problems:
            console_.print("To bring files up to date, and to keep edits: optloom vendor update")
        else:
            console_.print(f"{len(standings)} vendored files, all as they should be.")
    if wanting:
        raise typer.Exit(1)


def _show_diff(console_: Console, text: str) -> None:
    for line in text.splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        console_.print(line, style=style, markup=False, soft_wrap=True)
