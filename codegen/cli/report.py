"""`optloom report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .common import Json, print_json

Files = Annotated[
    list[Path], typer.Argument(metavar="JSON...", help="What `optloom conform --json` wrote; one file, or several.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="One page to look at, complete in itself.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="For a pull request.")]
Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="JUnit's XML, a test case per cell.")]
Badge = Annotated[Path | None, typer.Option("--badge", metavar="FILE", help="JSON for shields.io's endpoint.")]
Summary = Annotated[Path | None, typer.Option("--summary", metavar="FILE", help="JSON: each rule in each target.")]
Against = Annotated[Path | None, typer.Option("--against", metavar="JSON", help="Markdown: only what changed since.")]


def add_to(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    files: Files,
    html: Html = None,
    markdown: Markdown = None,
    junit: Junit = None,
    badge: Badge = None,
    summary: Summary = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """Turn the suite's JSON into a page, Markdown, JUnit's XML or a badge; without any of them, print the Markdown."""
    from .. import report as reports
    from ..report.files import replace_file

    run = reports.load(files)
    before = reports.load([against]) if against else None
    wanted: list[tuple[Path | None, Callable[[], str]]] = [
        (html, lambda: reports.html(run)),
        (markdown, lambda: reports.markdown(run, before)),
        (junit, lambda: reports.junit(run)),
        (badge, lambda: reports.badge(run)),
        (summary, lambda: reports.summary(run)),
    ]
    written = {path: make() for path, make in wanted if path is not None}
    if len(written) < sum(path is not None for path, _ in wanted):
        raise reports.ReportError("two outputs have the same path")
    for path, text in written.items():
        replace_file(path, text)
    if as_json:
        print_json({"passed": run.passed, "counts": run.counts(), "written": [str(path) for path in written]})
    elif written:
        for path, text in written.items():
            typer.echo(f"wrote    {path} ({len(text.encode()) / 1024:.0f} KiB)")
    else:
        typer.echo(reports.markdown(run, before), nl=False)
