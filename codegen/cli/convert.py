"""`optloom convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Argument(metavar="STATE", help="A safetensors file of what export_state gave.")]
Destination = Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")]
Map = Annotated[Path | None, typer.Option("--map", metavar="FILE", help="TOML: how parameters are renamed and turned.")]


def add_to(app: typer.Typer) -> None:
    app.command("convert")(convert)


def convert(source: Source, destination: Destination, map_: Map = None) -> None:
    """Turn one framework's optimizer state into another's: names and axes of its parameters."""
    from ..convert import convert_file, read_moves

    try:
        count = convert_file(source, destination, read_moves(map_) if map_ else ())
    except ModuleNotFoundError as error:
        typer.echo(f"{error}: install optloom[convert]", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{count} arrays in {destination}")
