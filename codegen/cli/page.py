"""`optloom page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import complete_rule, progress_bar

Named = Annotated[
    list[str],
    typer.Argument(metavar="RULE...", help="Rules, or paths of rule files.", autocompletion=complete_rule),
]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the pages go; here if not given.")]


def add_to(app: typer.Typer) -> None:
    app.command("page")(write_pages)


def write_pages(rules: Named, out: Folder = Path()) -> None:
    """Write a rule's page of documentation, with its drawing, as Markdown: <rule>.md."""
    try:
        from ..pages.site import write

        with progress_bar("page") as progress:
            written = write(rules, out, progress=progress)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("optloom"):
            raise
        typer.echo(f"page needs {error.name}: pip install optloom[docs]", err=True)
        raise typer.Exit(2) from error
    for file in written:
        typer.echo(f"wrote {file}")
