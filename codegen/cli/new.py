"""`optloom new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name, in lower case: tiger, my_rule.")]
Folder = Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the file goes; here if not given.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]


def add_to(app: typer.Typer) -> None:
    app.command("new")(new)


def new(name: Name, to: Folder = Path(), force: Force = False) -> None:
    """Write a rule file to start from: it conforms already, and its comments teach the language."""
    from ..new import new_rule

    place = new_rule(name, to, force=force)
    typer.echo(f"wrote {place}")
    typer.echo(f"next: optloom conform {place if place.is_absolute() else f'./{place}'}")
