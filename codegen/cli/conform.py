"""`optloom conform`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Json, NumericsOption, Rules, Targets, console, print_json, progress_bar

if TYPE_CHECKING:
    from ..conformance.coverage import Extent
    from ..conformance.report import Report


class DtypeChoice(StrEnum):
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


Dtypes = Annotated[list[DtypeChoice] | None, typer.Option("--dtype", "-d", help="Only this dtype; may be repeated.")]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer options and numbers.")]
Stages = Annotated[
    bool, typer.Option("--stages", help="Stages: each alone, each pair, ten random combinations for each rule.")
]

STYLES = {"BIT": "green", "BOUND": "green", "FTZ": "yellow", "DEV": "yellow", "SKIP": "dim", "FAIL": "bold red"}


def add_to(app: typer.Typer) -> None:
    app.command("conform")(conform_rules)


def conform_rules(
    rules: Rules = None,
    target: Targets = None,
    dtype: Dtypes = None,
    numerics: NumericsOption = None,
    quick: Quick = False,
    stages: Stages = False,
    as_json: Json = False,
) -> None:
    """Judge generated code against the oracle; exit status 1 if a cell fails, or if none could be run."""
    from .. import api

    if quick and stages:
        raise typer.BadParameter("--quick and --stages are different extents; give one")
    extent: Extent = "quick" if quick else "stages" if stages else "usual"
    chosen, targets = api.rules_named(rules or ()), api.targets_named(target or ())
    kinds = (numerics.value,) if numerics else ()
    try:
        with progress_bar("conform") as progress:
            report = api.conform(chosen, targets, dtypes=dtype or (), numerics=kinds, extent=extent, progress=progress)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("optloom"):
            raise
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    if as_json:
        print_json(report.as_json())
    else:
        show_report(report)
    if not report.passed or not report.results or set(target or ()) & set(report.missing):
        raise typer.Exit(1)


def show_report(report: Report) -> None:
    from rich.table import Table

    console_ = console()
    table = Table("rule", "target", "mode", "numerics", "dtype", "class", box=None, pad_edge=False)
    for heading in ("error/bound", "ULP"):
        table.add_column(heading, justify="right")
    table.add_column("note", overflow="fold")
    for row in report.table():
        kinds = " ".join(f"[{STYLES[kind]}]{kind} {count}[/]" for kind, count in row.kinds.items())
        names = (row.rule, row.target, row.mode, row.numerics, row.dtype)
        table.add_row(*names, kinds, f"{row.ratio:.3f}", f"{row.error:.2f}", row.note.replace("[", r"\["))
    console_.print(table)
    for name, reason in report.missing.items():
        console_.print(f"{name} did not run: {reason}", style="yellow", markup=False)
    for result in report.failures:
        console_.print(f"FAIL {result.cell.id}: {result.note}", style="red", markup=False)
        for complaint in result.judgement.complaints:
            console_.print(f"  {complaint}", markup=False)
    for sentence in report.stale:
        console_.print(sentence, style="red", markup=False)
    counted = ", ".join(f"{count} {kind}" for kind, count in report.counts().items())
    console_.print(f"{counted}; corpus {report.corpus[:12]}")
    verdict = ("passed" if report.passed else "failed") if report.results else "nothing was judged"
    console_.print(verdict, style="green" if report.passed and report.results else "bold red")
