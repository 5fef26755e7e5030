"""`optloom doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .common import Json, Targets, console, print_json, progress_bar

if TYPE_CHECKING:
    from ..doctor import Diagnosis

Slow = Annotated[bool, typer.Option("--slow", help="Modes too in which a compiler takes seconds.")]

MEANINGS = {
    "BIT": "the bits of the NumPy reference, for rules without sums",
    "BOUND": "within the error bound",
    "FTZ": "the reference's bits, but subnormal numbers are zero",
}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(target: Targets = None, slow: Slow = False, as_json: Json = False) -> None:
    """Say what this machine has, how its frameworks round, and which class each target reaches here."""
    from .. import api
    from ..doctor import diagnose

    targets = api.targets_named(target or ())
    with progress_bar("doctor") as progress:
        diagnosis = diagnose(targets, slow=slow, progress=progress)
    if as_json:
        print_json(diagnosis)
    else:
        _show(diagnosis)
    if set(target or ()) & set(diagnosis.missing):
        raise typer.Exit(1)


def _show(diagnosis: Diagnosis) -> None:
    from rich.table import Table

    console_, machine = console(), diagnosis.machine
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_row("system", machine.system)
    facts.add_row("processor", f"{machine.processor}, {machine.cores} cores")
    facts.add_row("instruction set", " ".join(machine.extensions) or "unknown")
    facts.add_row("GPU", "; ".join(machine.gpus) or "none found")
    facts.add_row("Python", machine.python)
    facts.add_row("optloom", machine.optloom)
    for name, version in machine.libraries.items():
        facts.add_row(name, version)
    for name, version in machine.compilers.items():
        facts.add_row(name, version)
    for name in machine.absent:
        facts.add_row(name, "not found")
    console_.print(facts, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("target", "mode", "keeps subnormals", "rounds products", "exact root", "strict", "fast"):
        table.add_column(heading)
    for one in diagnosis.arithmetic:
        answers = (not one.flushes_subnormals, not one.contracts_products, one.exact_square_root)
        table.add_row(one.target, one.mode, *map(_yes, answers), one.strict or "-", one.fast or "-")
    console_.print("\nfloating point in each target's own code, and the class that it reaches", style="bold cyan")
    console_.print(table if diagnosis.arithmetic else "  no target could be asked", markup=False)
    for name, reason in diagnosis.missing.items():
        console_.print(f"{name}: {reason}", style="yellow", markup=False, soft_wrap=True)
    reached = {kind for one in diagnosis.arithmetic for kind in (one.strict, one.fast)}
    for kind, meaning in MEANINGS.items():
        if kind in reached:
            console_.print(f"{kind}: {meaning}", markup=False)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
