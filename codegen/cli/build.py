"""`optloom build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import progress_bar

Rule = Annotated[str, typer.Argument(metavar="RULE", help="A rule, or the path of a generated .cpp or .cu file.")]
To = Annotated[
    Path | None, typer.Option("--to", metavar="FOLDER", help="Where libraries go; beside the file if not given.")
]
For = Annotated[
    str,
    typer.Option("--for", metavar="SETS", help="Instruction sets, as x86-64-v3,x86-64-v4; this machine if not given."),
]
Dtype = Annotated[str, typer.Option("--dtype", help="Of the parameters.")]
Gradient = Annotated[str | None, typer.Option("--gradient", help="Of the gradients; the parameters' if not given.")]
On = Annotated[
    str, typer.Option("--on", metavar="NAMES", help="Options and numbers beside the defaults: amsgrad,weight_decay.")
]
Off = Annotated[str, typer.Option("--off", metavar="NAMES", help="Of the defaults, those to leave out.")]

Cuda = Annotated[bool, typer.Option("--cuda", help="A fatbin for CUDA devices instead, by nvcc.")]
Target = Annotated[
    str | None,
    typer.Option("--target", help="Beside the kernel, the library by which this target's framework reaches kernels."),
]


def add_to(app: typer.Typer) -> None:
    app.command("build")(build)


def build(
    rule: Rule,
    to: To = None,
    sets: For = "",
    dtype: Dtype = "float32",
    gradient: Gradient = None,
    on: On = "",
    off: Off = "",
    cuda: Cuda = False,
    target: Target = None,
) -> None:
    """Build a fused kernel ahead of time, for machines without a compiler or for the cache."""
    from .. import build as building

    source = building.kernel_file(rule, ".cu" if cuda else ".cpp")
    request = building.BuildRequest(source, dtype, gradient, _names(on), _names(off))
    binding = building.binding_of(target) if target is not None else None
    with progress_bar("build") as progress:
        if cuda:
            files = [building.build_for_devices(request, to)]
        else:
            files = building.build(request, to, _names(sets), progress=progress)
        if binding is not None:
            files.append(building.build_binding(binding, to))
    for file in files:
        typer.echo(f"built {file}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
