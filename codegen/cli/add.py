"""`optloom add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Json, Targets, complete_rule, console, print_json, progress_bar
from .conform import show_report

Named = Annotated[
    list[str],
    typer.Argument(metavar="RULE...", help="Paths of rule files, or rules.", autocompletion=complete_rule),
]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where optimizers and pages go.")]


def add_to(app: typer.Typer) -> None:
    app.command("add")(add_rules)


def add_rules(rules: Named, out: Folder, target: Targets = None, as_json: Json = False) -> None:
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
    files = added.generated.report if added.generated else None
    if as_json:
        print_json({"judged": added.judged.as_json(), "files": files, "pages": added.pages})
    else:
        show_report(added.judged)
        if files:
            counted = f"{len(files.written)} written, {len(files.unchanged)} unchanged, {len(files.removed)} removed"
            console().print("\n".join([counted, *(f"wrote {page}" for page in added.pages)]), markup=False)
    if not files:
        typer.echo("nothing was written", err=True)
        raise typer.Exit(1)
