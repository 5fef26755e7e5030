"""`optloom list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .common import Json, Rules, console, print_json

if TYPE_CHECKING:
    from ..api import RuleInfo


def add_to(app: typer.Typer) -> None:
    app.command("list")(list_rules)


def list_rules(rules: Rules = None, as_json: Json = False) -> None:
    """List the rules, and the targets that print them."""
    from .. import api

    entries = api.catalogue(rules or ())
    if as_json:
        print_json(entries)
    else:
        _show(entries)


def _show(entries: list[RuleInfo]) -> None:
    from rich.table import Table

    from ..discovery import target_names

    table = Table(box=None, pad_edge=False)
    for heading in ("rule", *target_names(), "what it is"):
        table.add_column(heading, no_wrap=heading != "what it is")
    for entry in entries:
        table.add_row(entry.name, *(entry.targets.get(name, "-") for name in target_names()), entry.title)
    console_ = console()
    console_.print(table)
    for entry in entries:
        for reason in entry.missing.values():
            console_.print(f"{entry.name}: {reason}", markup=False)
