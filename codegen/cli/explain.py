"""`optloom explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    Json,
    NumericsChoice,
    NumericsOption,
    OneRule,
    Stages,
    complete_target,
    console,
    print_json,
    stages_of,
)

if TYPE_CHECKING:
    from ..explain import Explanation, PassView, PhaseView

OneTarget = Annotated[
    str | None,
    typer.Option("--target", "-t", help="As this target has it compiled.", autocompletion=complete_target),
]


def add_to(app: typer.Typer) -> None:
    app.command("explain")(explain_rule)


def explain_rule(
    rule: OneRule,
    target: OneTarget = None,
    numerics: NumericsOption = None,
    stages: Stages = None,
    as_json: Json = False,
) -> None:
    """Print the program after each pass, its operations, its phases and the bytes that each moves."""
    from .. import api
    from ..explain import explain

    api.targets_named([target] if target else [])
    chosen: NumericsChoice | None = numerics
    for found in api.rules_named([rule]).values():
        around = None if stages is None else api.stages_named(stages_of(stages))
        explanation = explain(found, target, chosen.value if chosen else None, around)
        if as_json:
            print_json(explanation)
        else:
            _show(explanation)


def _show(explanation: Explanation) -> None:
    console_ = console()
    before: PassView | None = None
    for view in explanation.passes:
        console_.print(f"after {view.name}", style="bold cyan")
        text = "  (unchanged)" if before and before.program == view.program else view.program
        console_.print(text, markup=False, soft_wrap=True)
        for rate, counts in view.operations.items():
            named = ", ".join(f"{count} {name}" for name, count in counts.items())
            console_.print(f"  {rate}: {sum(counts.values())} operations ({named})", style="green", markup=False)
        console_.print()
        before = view
    console_.print("phases, and the bytes that each moves per float32 parameter", style="bold cyan")
    for number, phase in enumerate(explanation.phases, start=1):
        _show_phase(number, phase)
    if len(explanation.phases) > 1:
        console_.print("  all together")
        _show_bytes(explanation.bytes_moved)


def _show_phase(number: int, phase: PhaseView) -> None:
    console_ = console()
    sums = f", sums {', '.join(phase.sums)}" if phase.sums else ""
    console_.print(
        f"  {number} ({phase.when}): reads {', '.join(phase.reads) or 'nothing'}; "
        f"writes {', '.join(phase.writes) or 'nothing'}{sums}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    _show_bytes(phase.bytes_moved)


def _show_bytes(bytes_moved: Mapping[str, int]) -> None:
    for variant, moved in bytes_moved.items():
        console().print(f"      {moved:3d} bytes  {variant}", markup=False)
