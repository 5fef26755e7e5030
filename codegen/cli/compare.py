"""`optloom compare`."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Json, OneRule, console, print_json

if TYPE_CHECKING:
    from ..compare import Comparison, Distance

Peers = Annotated[
    list[str] | None,
    typer.Argument(metavar="PEER", help="Peers by package (torch, keras, optax) or path; all if none is named."),
]
Numbers = Annotated[bool, typer.Option("--numbers", help="Run the peers' formulas on one example: their distances.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of that example.")]


def add_to(app: typer.Typer) -> None:
    app.command("compare")(compare_peers)


def compare_peers(
    rule: OneRule, peers: Peers = None, numbers: Numbers = False, steps: Steps = 100, as_json: Json = False
) -> None:
    """Compare a rule's peers: names, defaults, formulas, and how to go from one to another."""
    gc.disable()
    from .. import api
    from ..compare import compare, distances

    for found in api.rules_named([rule]).values():
        comparison = compare(found, peers or ())
        try:
            measured = distances(found, peers or (), steps) if numbers else []
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("optloom"):
                raise
            typer.echo(f"--numbers needs {error.name}: pip install {error.name}", err=True)
            raise typer.Exit(2) from error
        if as_json:
            print_json({"comparison": comparison, "distances": measured})
        else:
            _show(comparison)
            if numbers:
                _show_distances(measured)


def _show(comparison: Comparison) -> None:
    console_ = console()
    if not comparison.peers:
        console_.print(f"{comparison.rule} names no peers")
        return
    table = _table("hyperparameter", "optloom", *comparison.peers)
    for argument in comparison.arguments:
        known = [argument.peers.get(path) for path in comparison.peers]
        cells = ["-" if peer is None else f"{peer[0]} = {_number(peer[1])}" for peer in known]
        table.add_row(argument.name, _number(argument.default), *cells)
    console_.print(f"{comparison.rule}: names and defaults", style="bold cyan", markup=False)
    console_.print(table, markup=False)
    if comparison.conventions:
        table = _table("convention", "optloom", *comparison.peers, "what it means")
        for one in comparison.conventions:
            values = [str(one.values[path]) for path in comparison.peers]
            table.add_row(one.name, str(one.default), *values, one.doc)
        console_.print("\nformulas that differ, as options of the rule", style="bold cyan")
        console_.print(table, markup=False)
    for path, sentences in comparison.differs.items():
        if sentences:
            console_.print(f"\nthe rule as it is, unlike {path}", style="bold cyan", markup=False)
        for sentence in sentences:
            console_.print(f"  {sentence}", markup=False, soft_wrap=True)
    for conversion in comparison.conversions:
        console_.print(f"\nfrom {conversion.source} to {conversion.target}", style="bold cyan", markup=False)
        same = [there for there, here in conversion.assignments if there == here]
        for there, here in conversion.assignments:
            if there != here:
                console_.print(f"  {there} = {here}", markup=False)
        if same:
            console_.print(f"  the same names: {', '.join(same)}", markup=False, soft_wrap=True)
        for name, value in conversion.give:
            text = f"  say {name}={_number(value)} where it was left out: the default is another"
            console_.print(text, markup=False, soft_wrap=True)
        for sentence in conversion.kept_apart:
            console_.print(f"  does not convert: {sentence}", style="yellow", markup=False, soft_wrap=True)


def _show_distances(measured: list[Distance]) -> None:
    console_ = console()
    steps = measured[0].steps if measured else 0
    table = _table("numbers", "between", "and", "after 1 step", f"after {steps} steps")
    for one in measured:
        table.add_row(one.given, one.a, one.b, f"{one.first_step:.2g}", f"{one.distance:.2g}")
    console_.print("\ndistance of the weights, as a share of the way gone, on one example", style="bold cyan")
    console_.print(table if measured else "  one peer alone has no distance", markup=False)


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "what it means")
    return table


def _number(value: float | None) -> str:
    return "None" if value is None else f"{value:g}"
