"""`optloom generate` and `optloom check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    Json,
    NumericsChoice,
    NumericsOption,
    Out,
    Rules,
    SlotDtypeChoice,
    SlotDtypeOption,
    Stages,
    Targets,
    console,
    print_json,
    progress_bar,
    stages_of,
)  # fmt: skip

if TYPE_CHECKING:
    from ..api import Selection
    from ..output import Finding

Force = Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand.")]
STYLES = {"stale": "yellow", "edited": "red", "missing": "yellow", "left over": "yellow"}


def add_to(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(check)


def generate(
    rules: Rules = None,
    target: Targets = None,
    out: Out = None,
    force: Force = False,
    numerics: NumericsOption = None,
    stages: Stages = None,
    slot_dtype: SlotDtypeOption = SlotDtypeChoice.COMPUTE,
) -> None:
    """Write the optimizers of all rules, or of those named."""
    from .. import api

    with progress_bar("generate") as progress:
        done = api.generate(
            _selection(rules, target, numerics, stages, slot_dtype), out, force=force, progress=progress
        )
    report, console_ = done.report, console()
    for path in report.written:
        console_.print(f"wrote    {done.folder / path}")
    for path in report.removed:
        console_.print(f"removed  {done.folder / path}")
    written, unchanged, removed = len(report.written), len(report.unchanged), len(report.removed)
    left_out = f"; {len(done.skipped)} not printed by a target (optloom list says why)" if done.skipped else ""
    console_.print(f"{written} written, {unchanged} unchanged, {removed} removed{left_out}")


def check(
    rules: Rules = None,
    target: Targets = None,
    out: Out = None,
    numerics: NumericsOption = None,
    stages: Stages = None,
    slot_dtype: SlotDtypeOption = SlotDtypeChoice.COMPUTE,
    as_json: Json = False,
) -> None:
    """Compare the files on the disk with what `generate` would write; exit status 1 if they differ."""
    from .. import api

    with progress_bar("check") as progress:
        findings = api.check(_selection(rules, target, numerics, stages, slot_dtype), out, progress=progress)
    if as_json:
        print_json({"passed": not findings, "findings": findings})
    else:
        _show(findings)
    if findings:
        raise typer.Exit(1)


def _selection(
    rules: list[str] | None, target: list[str] | None, numerics: NumericsChoice | None, stages: str | None,
    slot_dtype: SlotDtypeChoice,
) -> Selection:  # fmt: skip
    from ..api import Selection

    named = tuple(rules or ()), tuple(target or ())
    return Selection(*named, numerics.value if numerics else None, stages_of(stages), slot_dtype.value)


def _show(findings: tuple[Finding, ...]) -> None:
    from ..output import State

    console_ = console()
    for finding in findings:
        for line in finding.diff.splitlines():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
            console_.print(line, style=style, markup=False, soft_wrap=True)
    for finding in findings:
        console_.print(f"{finding.state:<9}  {finding.path}", style=STYLES[finding.state], markup=False)
    states = {finding.state for finding in findings}
    if State.EDITED in states:
        console_.print("To take the edits back: optloom generate --force. To keep them: change the rule instead.")
    elif states:
        console_.print("To mend it: make generate")
    else:
        console_.print("All generated files are as their rules say.")
