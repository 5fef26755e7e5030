"""`optloom build`: libraries that optimizers find, for machines without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from optloom.codegen.api import targets_named
from optloom.codegen.build import BuildRequest, binding_of, build, build_binding, kernel_file
from optloom.codegen.c_family import kernels
from optloom.codegen.discovery import target

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


BINDINGS = [name for name in targets_named() if hasattr(target(name), "kernels")]
"""The targets whose framework reaches kernels by a library of its own."""
FRAMEWORKS = {name: {"tensorflow": "tensorflow", "jax": "jax"}.get(name, "torch") for name in BINDINGS}


def steps(name: str) -> str:
    """A program that makes a fused step of SGD at rate 0.5 on (1, 2), with the gradient (1, 1)."""
    return {
        "pytorch": """
import torch
from optloom.generated.pytorch import _fused_tables
from optloom.generated.pytorch.sgd import SGD
w = torch.tensor([1.0, 2.0]); w.grad = torch.ones(2)
assert _fused_tables.checker(False) is not None
SGD([w], lr=0.5, fused=FUSED).step()
print(w.tolist())
""",
        "jax": """
import jax.numpy as jnp, jax
from optloom.generated.jax.sgd import sgd_step
init, step = sgd_step(0.5, fused=FUSED)
w, g = jnp.array([1.0, 2.0]), jnp.ones(2)
assert "optloom_step" in jax.jit(step).lower(w, g, init(w)).as_text()
print(step(w, g, init(w))[0].tolist())
""",
        "tensorflow": """
import keras, tensorflow as tf
from optloom.generated.tensorflow.sgd import SGD
v = keras.Variable([1.0, 2.0]); optimizer = SGD(learning_rate=0.5, fused=FUSED); optimizer.build([v])
graph = tf.function(lambda: optimizer.apply([tf.ones(2)], [v])).get_concrete_function().graph
assert any(each.type.startswith("OptloomUpdate") for each in graph.get_operations())
optimizer.apply([tf.ones(2)], [v])
print(v.numpy().tolist())
""",
    }[name]


@pytest.mark.parametrize("name", BINDINGS)
def test_the_library_of_a_framework(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built ahead of time, it is found where nothing may be built; without it, a fused step is refused."""
    pytest.importorskip(FRAMEWORKS[name])
    built = tmp_path / "built"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = steps(name)
    build(BuildRequest(kernel_file("sgd")), built, ["x86-64"])
    monkeypatch.setenv("OPTLOOM_KERNEL_PATH", str(built))
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    assert run(program, "True").returncode != 0
    monkeypatch.delenv("OPTLOOM_COMPILE")
    file = build_binding(binding_of(name), built)
    assert file.parent == built
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    for fused in ("True", "None"):
        done = run(program, fused)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1] == "[0.5, 1.5]"
    assert not list((tmp_path / "cache").rglob("*.so"))


def run(program: str, fused: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(__file__).parent.parent / ".ci" / "importroot"), *sys.path])
    command = [sys.executable, "-c", program.replace("FUSED", fused)]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adamm"], "no kernel is called 'adamm': did you mean adam"),
        (["adam", "--on", "amsgard"], "no option is called 'amsgard': did you mean amsgrad?"),
        (["adam", "--for", "x86"], "no instruction set is called 'x86'"),
        (["adam", "--target", "jaxx"], "no target with a library of its own is called 'jaxx'"),
    ],
)
def test_wrong_names(
    optloom: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], message: str
) -> None:
    done = optloom("build", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
