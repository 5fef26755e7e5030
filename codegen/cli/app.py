"""The application, and how errors end a command.

Exit status: 0 all is well; 1 something was judged and found wanting (files differ, a cell fails, an edit is
in the way); 2 the input is wrong, and nothing was written; 130 interrupted, and files are as they were.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from . import (
    add,
    bench,
    build,
    compare,
    conform,
    convert,
    doctor,
    explain,
    generate,
    listing,
    new,
    page,
    report,
    show,
    vendor,
)

JUDGED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="optloom",
    help="A compiler for optimizers: from SymPy to NumPy, PyTorch, TensorFlow, JAX, C++ and CUDA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    generate,
    build,
    listing,
    show,
    explain,
    compare,
    conform,
    bench,
    report,
    page,
    vendor,
    new,
    add,
    convert,
    doctor,
):
    module.add_to(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits."""
    try:
        app(arguments, prog_name="optloom")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("interrupted: what was not finished was not written", err=True)
        raise
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        typer.echo(_message(error), err=True)
        sys.exit(status)
    sys.exit(0)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error)


def _status_of(error: Exception) -> int | None:
    """The exit status for an error that its message explains; None for a defect of ours."""
    # Imported here, so that `--help` and completion do not wait for SymPy.
    from optloom.spec.errors import SpecError

    from ..api import UnknownName
    from ..c_family.kernels import KernelError
    from ..convert import ConversionError
    from ..output import EditedFiles, OutputError
    from ..printing import UnsupportedOperation
    from ..report import ReportError

    if isinstance(error, EditedFiles):
        return JUDGED
    explained = (
        SpecError,
        UnknownName,
        UnsupportedOperation,
        OutputError,
        ConversionError,
        ReportError,
        KernelError,
        OSError,
    )
    return BAD_INPUT if isinstance(error, explained) else None
