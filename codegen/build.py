"""`optloom build`: kernels built ahead of time, for machines that have no compiler."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .api import Progress, UnknownName, default_folder, targets_named
from .c_family import kernels
from .c_family.native import bits_of, interface_of, switches_of
from .discovery import target


@dataclass(frozen=True)
class BuildRequest:
    """What to build of the kernel in the file `source`: with the options and numbers in `on` beside the defaults, but
    without those in `off`; for parameters of `dtype`, their gradients of `gradient` (None: the same)."""

    source: Path
    dtype: str = "float32"
    gradient: str | None = None
    on: Sequence[str] = ()
    off: Sequence[str] = ()

    def variant(self) -> kernels.Variant:
        """Raises UnknownName for an option that the kernel does not have."""
        interface = interface_of(self.source)
        switches = switches_of(interface, {}, {})
        for name in (*self.on, *self.off):
            if name not in switches:
                raise UnknownName("option", name, list(switches))
        chosen = {name: (is_set or name in self.on) and name not in self.off for name, is_set in switches.items()}
        return kernels.Variant(bits_of(chosen), self.dtype, self.gradient or self.dtype)


def kernel_file(rule: str, suffix: str = ".cpp") -> Path:
    """The generated kernel of a rule, or the file itself. Raises UnknownName where there is none."""
    known = {file.stem: file for file in default_folder().glob(f"*/[!_]*{suffix}")}
    file = Path(rule) if rule.endswith(suffix) else known.get(rule)
    if file is None or not file.exists():
        raise UnknownName("kernel", rule, sorted(known))
    return file


def build(
    request: BuildRequest, to: Path | None = None, levels: Sequence[str] = (), *, progress: Progress | None = None
) -> list[Path]:
    """Builds for each instruction set in `levels` into the folder `to`, where optimizers find it beside their kernel
    or by OPTLOOM_KERNEL_PATH; without `levels` for this machine, into the user's cache. Returns the files.

    Raises UnknownName for an instruction set, KernelError with the compiler's words, OSError for a folder that cannot
    be written.
    """
    source, variant = kernels.Source(request.source), request.variant()
    for level in levels:
        if level not in kernels.LEVELS:
            raise UnknownName("instruction set", level, list(kernels.LEVELS))
    if not levels:
        return [kernels.library(source, variant).file]
    files = []
    for done, level in enumerate(levels):
        if progress:
            progress(done, len(levels), level)
        file = (to or source.file.parent) / kernels.file_name(source, variant, level)
        file.unlink(missing_ok=True)
        kernels.build(source, variant, file, (f"-march={level}",))
        files.append(file)
    return files


def binding_of(name: str) -> ModuleType:
    """The module that builds the library by which the framework of the target `name` reaches kernels.

    Raises UnknownName for a target that has none, KernelError where the framework is missing.
    """
    declared = {each: getattr(target(each), "kernels", None) for each in targets_named()}
    known = {each: found.binding for each, found in declared.items() if found is not None}
    if name not in known:
        raise UnknownName("target with a library of its own", name, list(known))
    try:
        return importlib.import_module(f"optloom.generated.{name}.{Path(known[name]).stem}")
    except ImportError as error:
        raise kernels.KernelError(f"the library of {name} is built against its framework: {error}") from error


def build_binding(binding: ModuleType, to: Path | None = None) -> Path:
    """Builds the library of `binding_of` into the folder `to`, where optimizers find it beside their files or by
    OPTLOOM_KERNEL_PATH; into the user's cache if none is given. It fits the version of the framework installed here.

    Raises KernelError with the compiler's words, or for a folder that cannot be written.
    """
    try:
        file: Path = binding.build(to or kernels.cache_folder())
    except binding.KernelError as error:  # of the loader that is generated
        raise kernels.KernelError(str(error)) from error
    return file


def build_for_devices(request: BuildRequest, to: Path | None = None) -> Path:
    """Builds a fatbin of a .cu file into the folder `to`, where optimizers find it beside the file or by
    OPTLOOM_KERNEL_PATH. Raises KernelError with nvcc's words, OSError for a folder that cannot be written."""
    from .targets.cuda.build import fatbin
    from .targets.cuda.driver import DeviceError
    from .targets.cuda.source import Choice, Source

    variant = request.variant()
    choice = Choice(variant.options, variant.parameter, variant.gradient)
    try:
        return fatbin(Source(request.source), choice, to or request.source.parent)
    except DeviceError as error:
        raise kernels.KernelError(str(error)) from error
