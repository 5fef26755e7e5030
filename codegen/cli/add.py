"""`optloom add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Targets, complete_rule, console, progress_bar
from .conform import show_report

Named = Annotated[
    list[str],
    typer.Argument(metavar="RULE...", help="Paths of rule files, or rules.", autocompletion=complete_rule),
]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where optimizers and pages go.")]


def add_to(app: typer.Typer) -> None:
    app.command("add")(add_rules)


def add_rules(rules: Named, out: Folder, target: Targets = None) -> None:
    """Judge rules of your own, then write their optimizers in all targets and a page for each; nothing if one fails."""
    try:
        from ..add import add

        with progress_bar("judge") as progress:
            added = add(rules, out, target or (), progress=progress)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("optloom"):
            raise
        typer.echo(f"add needs {error.name}: pip install optloom[conform,docs]", err=True)
        raise typer.Exit(2) from error
    show_report(added.judged)
    if added.generated is None:
        typer.echo("nothing was written", err=True)
        raise typer.Exit(1)
    report = added.generated.report
    console().print(f"{len(report.written)} written, {len(report.unchanged)} unchanged, {len(report.removed)} removed")
    for page in added.pages:
        console().print(f"wrote {page}")
