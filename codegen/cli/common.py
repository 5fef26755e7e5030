"""Arguments and output that commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import optloom.codegen
import optloom.spec
import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..api import Progress


Stages = Annotated[
    str | None, typer.Option(metavar="A,B", help="Only these stages, or none; all that fit if not given.")
]


def stages_of(text: str | None) -> list[str] | None:
    """The names in `A,B`; none of them for `none`, None for all."""
    return None if text is None else [] if text == "none" else [name.strip() for name in text.split(",")]


class SlotDtypeChoice(StrEnum):
    COMPUTE = "compute"
    PARAMETER = "parameter"


SlotDtypeOption = Annotated[
    SlotDtypeChoice,
    typer.Option(help="What a rule keeps of each element is in the dtype of the arithmetic, or in the parameter's."),
]


class NumericsChoice(StrEnum):
    STRICT = "strict"
    FAST = "fast"


def complete_rule(incomplete: str) -> list[str]:
    """For the shell: the rules' names, read off their folder, so that nothing is imported."""
    return _stems(Path(next(iter(optloom.spec.__path__))) / "rules", "[!_]*.py", incomplete)


def complete_target(incomplete: str) -> list[str]:
    """For the shell: the targets' names."""
    return _stems(Path(next(iter(optloom.codegen.__path__))) / "targets", "[!_]*", incomplete)


def _stems(folder: Path, pattern: str, incomplete: str) -> list[str]:
    return sorted(file.stem for file in folder.glob(pattern) if file.stem.startswith(incomplete))


Rules = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RULE", help="Rules, or paths of rule files; all if none is named.", autocompletion=complete_rule
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", metavar="TARGET", help="Only this target; may be repeated.", autocompletion=complete_target
    ),
]
OneRule = Annotated[
    str, typer.Argument(metavar="RULE", help="A rule, or the path of a rule file.", autocompletion=complete_rule)
]
Out = Annotated[Path | None, typer.Option(help="Folder of the files; the checkout's generated/ if not given.")]
NumericsOption = Annotated[
    NumericsChoice | None, typer.Option(help="strict or fast; each target's default if not given.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """`value`, dataclasses included, as JSON on the standard output."""
    typer.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def console(*, error: bool = False) -> Console:
    """Colours on a terminal only; lines are not wrapped where nobody reads them on one."""
    from rich.console import Console

    made = Console(stderr=error, highlight=False)
    return made if made.is_terminal else Console(stderr=error, highlight=False, soft_wrap=True, width=200)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """A bar on a terminal, to be told (done, all, name of the next); None where standard error is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console(error=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(done: int, count: int, name: str) -> None:
            bar.update(task, completed=done, total=count, description=name)

        shown: Callable[[int, int, str], None] = tell
        yield shown
