"""`optloom build`: libraries that optimizers find, for machines without a compiler."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from optloom.codegen.build import BuildRequest, build, kernel_file
from optloom.codegen.c_family import kernels

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")


def test_for_instruction_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = BuildRequest(kernel_file("adam"), gradient="bfloat16", on=("amsgrad",), off=("epsilon_hat",))
    (old,) = build(request, tmp_path / "built", ["x86-64"])
    source = kernels.Source(kernel_file("adam"))
    assert old.name == f"adam-{request.variant().name}-x86-64.so"
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    monkeypatch.setenv("OPTLOOM_KERNEL_PATH", str(tmp_path / "built"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kernels.library(source, request.variant()).file == old
    with pytest.raises(kernels.KernelError, match="OPTLOOM_COMPILE=0 forbids"):
        kernels.library(source, BuildRequest(kernel_file("adam")).variant())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adamm"], "no kernel is called 'adamm': did you mean adam"),
        (["adam", "--on", "amsgard"], "no option is called 'amsgard': did you mean amsgrad?"),
        (["adam", "--for", "x86"], "no instruction set is called 'x86'"),
    ],
)
def test_wrong_names(
    optloom: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], message: str
) -> None:
    done = optloom("build", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
