"""The wheel and the sdist: built, and installed with no more than what generating needs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tarfile
import venv
import zipfile
from operator import itemgetter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    name: value for name, value in os.environ.items()
    if name not in ("PYTHONPATH", "PYTHONHOME") and not name.startswith(("PIP_", "VIRTUAL_ENV"))
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git has, its links included: building leaves files behind."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        file = ROOT / name
        if not file.exists() and not file.is_symlink():
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink():
            place.symlink_to(os.readlink(file))
        else:
            place.write_bytes(file.read_bytes())
    return folder


def build(source: Path, hook: str, out: Path) -> Path:
    """One call of the build backend, as pip makes it, without fetching it anew."""
    out.mkdir()
    code = f"from setuptools import build_meta as b; print(b.{hook}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.iterdir())


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools")
    return build(source, "build_wheel", tmp_path_factory.mktemp("wheel") / "out")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an empty environment in which the wheel was installed as users do."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def run(*command: str | Path, cwd: Path) -> tuple[str, float]:
    """The output of a command that ends well, and the processor time that it took, which no neighbour lengthens."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"optloom", next(top for top in tops if top.endswith(".dist-info"))}
    modules = {f"optloom/{name}" for name in ("__main__.py", "pytest.py", "codegen/py.typed", "spec/py.typed")}
    assert modules <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    for folder in ("spec", "codegen", "generated"):
        listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
        files = {f"optloom/{name}" for name in listed.stdout.split() if (ROOT / name).exists()}
        assert files <= set(names), files - set(names)


def test_the_sdist_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build(source, "build_sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build(unpacked, "build_wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert set(one.namelist()) == set(other.namelist())


WITHOUT_SYMPY = "import sys; from optloom.codegen import api, recorded; {code}; print('sympy' in sys.modules)"


def test_list(environment: Path, tmp_path: Path) -> None:
    listed, _ = run(environment / "optloom", "list", cwd=tmp_path)
    again, _ = run(environment / "python", "-m", "optloom", "list", cwd=tmp_path)
    assert listed == again
    assert "adamax" in listed
    code = WITHOUT_SYMPY.format(code="api.catalogue()")
    assert run(environment / "python", "-c", code, cwd=tmp_path)[0] == "False\n"


def test_show(environment: Path, tmp_path: Path) -> None:
    """In a second, since what it says was recorded when the files were generated."""
    shown, seconds = min(
        (run(environment / "optloom", "show", "adamax", cwd=tmp_path) for _ in range(3)), key=itemgetter(1)
    )
    assert "u = max(β₂·u, |g|)" in shown and seconds < 1, seconds
    code = WITHOUT_SYMPY.format(code="[recorded.view_of(*named) for named in api.rules_named().items()]")
    assert run(environment / "python", "-c", code, cwd=tmp_path)[0] == "False\n"


def test_vendor_add(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    said, _ = run(
        environment / "optloom", "vendor", "add", "adamax", "--target", "pytorch", "--to", "optim", cwd=tmp_path
    )
    assert "optim/adamax.py" in said
    assert (tmp_path / "optim" / "adamax.py").read_text().startswith("# SPDX-License-Identifier: MIT-0\n")
    run(environment / "optloom", "vendor", "check", cwd=tmp_path)


def test_a_rule_of_ones_own(environment: Path, tmp_path: Path) -> None:
    run(environment / "optloom", "new", "tiger", cwd=tmp_path)
    run(environment / "optloom", "generate", "./tiger.py", "--out", "optim", cwd=tmp_path)
    assert list((tmp_path / "optim").glob("*/tiger.*"))
