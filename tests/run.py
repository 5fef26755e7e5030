"""Runs the tests: a pytest process for each target and one for the rest, side by side.

Each framework has a process of its own: two in one share thread pools and flags of the processor. Arguments
are handed to every pytest. The closing line is pytest's own, with the sums of all processes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS_COLLECTED = 5
KINDS = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")
COUNTED = re.compile(rf"(\d+) ({'|'.join(KINDS)})")


def groups() -> list[str]:
    """`core`, which holds what names no target, or several, and the targets, derived from their folders: the largest
    folders first, since their tests take longest and the last group runs alone."""
    targets = [file.parent for file in (ROOT / "codegen" / "targets").glob("*/target.py")]
    return ["core", *(folder.name for folder in sorted(targets, key=_bytes_in, reverse=True))]


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in (".py", ".jinja"))


def run(group: str, arguments: list[str]) -> tuple[int, str]:
    """The exit status and the output of one group's process."""
    command = [sys.executable, "-m", "pytest", f"--group={group}", *arguments]
    pipe, to_pipe = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=to_pipe, text=True, errors="replace")
    return done.returncode, done.stdout


def counts(output: str) -> Counter[str]:
    """What the closing line of a pytest counts."""
    closing = output.rstrip().rpartition("\n")[2]
    return Counter({kind: int(number) for number, kind in COUNTED.findall(closing)})


def closing_line(total: Counter[str], seconds: float, width: int = 100) -> str:
    parts = [f"{total[kind]} {kind}" for kind in KINDS if total[kind]]
    return f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ".center(width, "=")


def main(arguments: list[str]) -> int:
    start = time.monotonic()
    total: Counter[str] = Counter()
    statuses: dict[str, int] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(run, group, arguments): group for group in groups()}
        for future in as_completed(running):
            group = running[future]
            statuses[group], output = future.result()
            print(f"\n{f' {group} '.center(100, '#')}\n{output}", end="", flush=True)
            total += counts(output)
    failed = [group for group, status in statuses.items() if status not in (0, NO_TESTS_COLLECTED)]
    if failed:
        print(f"\nFailed: {', '.join(failed)}. One alone: pytest --group={failed[0]}")
    print(f"\n{closing_line(total, time.monotonic() - start)}")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
