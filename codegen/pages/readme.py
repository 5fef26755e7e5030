"""The README's tables: between `<!-- table: NAME -->` and `<!-- end -->` stands what is made here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from .measured import Measured
from .rule import conformance_cell, table

MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PINNED = re.compile(r"^([\w.-]+)==(.+)$", re.MULTILINE)


def filled(text: str, measured: Measured, root: Path) -> str:
    """`text` with its tables made anew; `root` is the checkout. Raises KeyError for a table that there is not."""
    made: Mapping[str, Callable[[], str]] = {
        "conformance": lambda: conformance(measured),
        "exactness": lambda: exactness(measured),
        "versions": lambda: versions(root),
    }
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]()}\n\n{found[3]}", text)


def conformance(measured: Measured) -> str:
    """Rules by targets: the lowest class, and the worst error over its bound."""
    if not measured.conformance:
        return "Not measured yet: `benchmarks/rules.py` does."
    targets = sorted({target for cells in measured.conformance.values() for target in cells})
    rows = []
    for rule, cells in measured.conformance.items():
        shown = (conformance_cell(cells[target])[:2] if target in cells else ("", "") for target in targets)
        rows.append((f"`{rule}`", *(" ".join(filter(None, cell)) or "–" for cell in shown)))  # noqa: RUF001
    return table(("rule", *targets), rows)


def exactness(measured: Measured) -> str:
    """Medians of ten steps in units in the last place: ours and the peers', per rule and target; the first way each."""
    rows = []
    for rule, found in measured.bench.items():
        by_target: dict[str, list[tuple[str, float]]] = {}
        for one in found["accuracy"]:
            known = by_target.setdefault(one["target"], [])
            if one["who"] not in [who for who, _ in known]:
                known.append((one["who"], one["median"]))
        for target, entries in by_target.items():
            own = [median for who, median in entries if "." not in who]
            for who, median in entries:
                if "." in who and own:
                    rows.append((f"`{rule}`", target, f"{own[0]:.1f}", f"{median:.1f}", f"`{who}`"))
    return table(("rule", "target", "generated", "peer", "which"), rows)


def versions(root: Path) -> str:
    """What each extra needs at least, and what the tests run with."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = dict(PINNED.findall((root / "constraints.txt").read_text(encoding="utf-8")))
    rows = [("Python", project["requires-python"].removeprefix(">="), "3.11", "")]
    for extra, wanted in project["optional-dependencies"].items():
        for one in wanted:
            name, at_least, version = one.partition(">=")
            if at_least and name in tested and f"{extra}" not in ("dev", "docs"):
                rows.append((name, version, tested[name], f"`optloom[{extra}]`"))
    return table(("", "at least", "tested with", "extra"), rows)
