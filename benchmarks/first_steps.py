"""The newcomer's path, as `docs/first-steps.md` has it: its commands one after the other, each timed.

In a new environment, into which pip puts a wheel of this checkout; the frameworks are those of the interpreter that
runs this, or with --install are installed as well. Run: `python benchmarks/first_steps.py [--install]`; it prints what
a terminal shows, and its exit status is 1 if a command fails, or if all together take longer, or more lines are written
by hand, than promised.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "first-steps.md"
SECONDS, LINES = 300, 12


def walk(folder: Path, run: Callable[[str], None]) -> int:
    """Runs the page's commands and writes its files into `folder`; how many lines were written by hand.

    A Python block is a file, named in its first line; a block of differences goes into a file that is there.
    """
    lines = 0
    for kind, text in re.findall(r"```(sh|python|diff)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        head, _, rest = text.partition("\n")
        if kind == "sh":
            for command in text.splitlines():
                run(command)
        elif kind == "python":
            (folder / head.removeprefix("# ")).write_text(rest)
            lines += len(list(filter(None, rest.splitlines())))
        else:
            file = folder / head.removeprefix("--- ")
            lines += _change(file, rest.splitlines()[1:])
    return lines


def _change(file: Path, differences: list[str]) -> int:
    """Puts each line after + in the place of the one after - before it; how many there are."""
    text = file.read_text()
    for old, new in zip(differences[::2], differences[1::2], strict=True):
        if (old[0], new[0], text.count(old[1:] + "\n")) != ("-", "+", 1):
            raise ValueError(f"{file.name} has no such line, or several:\n{old}")
        text = text.replace(old[1:], new[1:])
    file.write_text(text)
    return len(differences) // 2


def environment(folder: Path) -> dict[str, str]:
    """The variables of a new environment, `folder`/venv, in which pip finds the wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "wheels", ROOT]
    subprocess.run(command, check=True)
    venv.create(folder / "venv", with_pip=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {
        "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{kept['PATH']}",
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_QUIET": "1",
    }


def lend_frameworks(environment: Path) -> None:
    """Lets an environment see what this interpreter has, behind what it has itself."""
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "frameworks.pth").write_text(sysconfig.get_path("purelib") + "\n")


def main(installs: bool) -> int:
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        project, variables = Path(name) / "project", environment(Path(name))
        project.mkdir()

        def run(command: str) -> None:
            if installs:
                command = command.replace("optloom[conform]", "optloom[conform,pytorch,tensorflow,jax]")
            print(f"$ {command}", flush=True)
            start = time.perf_counter()
            subprocess.run(command, shell=True, check=True, cwd=project, env=variables)
            took[command] = time.perf_counter() - start
            if command.startswith("pip ") and not installs:
                lend_frameworks(Path(name) / "venv")

        lines = walk(project, run)
    print()
    for command, seconds in took.items():
        print(f"{seconds:6.1f} s  {command}")
    print(f"{sum(took.values()):6.1f} s, {lines} lines by hand (limits {SECONDS} s, {LINES} lines)")
    return int(sum(took.values()) > SECONDS or lines > LINES)


if __name__ == "__main__":
    sys.exit(main("--install" in sys.argv[1:]))
