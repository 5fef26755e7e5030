"""`optloom bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .common import Json, Rules, Targets, console, print_json, progress_bar

if TYPE_CHECKING:
    from ..bench import Benchmark


def add_to(app: typer.Typer) -> None:
    app.command("bench")(bench_rules)


def bench_rules(rules: Rules = None, target: Targets = None, as_json: Json = False) -> None:
    """Race generated optimizers against their peers on this machine: how exact, how fast. Exit status 1 if none ran."""
    from .. import api
    from ..doctor import machine

    chosen, targets = api.rules_named(rules or ()), api.targets_named(target or ())
    try:
        from ..bench import bench

        with progress_bar("bench") as progress:
            found = bench(chosen, targets, progress=progress)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("optloom"):
            raise
        typer.echo(f"bench needs {error.name}: pip install optloom[conform]", err=True)
        raise typer.Exit(2) from error
    if as_json:
        print_json({"schema": 1, "machine": machine(), "rules": {one.rule: one for one in found}})
    else:
        for one in found:
            _show(one)
    if not any(one.speed for one in found):
        raise typer.Exit(1)


def _show(one: Benchmark) -> None:
    from rich.table import Table

    console_ = console()
    console_.print(f"{one.rule}: ten float32 steps, off by so many units in the last place", style="bold cyan")
    table = Table("target", "who", "way", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("median", "worst"):
        table.add_column(heading, justify="right")
    for row in one.accuracy:
        table.add_row(row.target, row.who, row.way, f"{row.median:.2f}", f"{row.worst:.3g}")
    console_.print(table)
    console_.print(f"\n{one.rule}: the peer's time over ours (above 1, ours is faster)", style="bold cyan")
    table = Table("target", "way", "tensors", "peer", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("ratio", "ns/element"):
        table.add_column(heading, justify="right")
    for speed in one.speed:
        ratio = "-" if speed.ratio is None else f"{speed.ratio:.2f}"
        table.add_row(speed.target, speed.way, speed.workload, speed.peer or "-", ratio, f"{speed.ns:.2f}")
    console_.print(table)
    for what, why in one.missing.items():
        console_.print(f"{what}: {why}", style="yellow", markup=False)
    console_.print()
