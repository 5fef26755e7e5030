"""Reports as text: Markdown for a pull request, XML for a server that shows tests, JSON for a badge and for pages."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from xml.etree import ElementTree

from .data import KINDS, Cell, Conformance

MOST = 40
"""Lines of one kind of change; more are counted."""
NOTABLE = 1.1
"""An error over bound that grows or shrinks by less than this factor is no change worth a line."""


def markdown(run: Conformance, before: Conformance | None = None) -> str:
    """What changed since `before`, or the table of rules by targets if there is none."""
    counted = ", ".join(f"{count} {kind}" for kind, count in run.counts().items())
    verdict = "passed" if run.passed else "**failed**" if run.cells else "**judged nothing**"
    lines = [f"### Conformance {verdict}", "", f"{len(run.cells)} cells: {counted or 'none'}.", ""]
    lines += [f"- {name} did not run: {reason}" for name, reason in sorted(run.missing.items())]
    lines += [f"- {sentence}" for sentence in run.stale]
    lines += _table(run) if before is None else _changes(run, before)
    return "\n".join(lines).rstrip() + "\n"


def _table(run: Conformance) -> Iterator[str]:
    yield f"| rule | {' | '.join(run.targets)} |"
    yield f"|---|{'---|' * len(run.targets)}"
    for rule in run.rules:
        cells = [[c for c in run.cells if (c.rule, c.target) == (rule, target)] for target in run.targets]
        yield f"| {rule} | {' | '.join(map(_summary, cells))} |"


def _summary(cells: Sequence[Cell]) -> str:
    if not cells:
        return ""
    lowest = min(cells, key=lambda cell: KINDS.index(cell.kind)).kind
    return lowest if lowest == "SKIP" else f"{lowest} {max(cell.ratio for cell in cells):.2f}"


def summary(run: Conformance) -> str:
    """JSON: for each rule and target the lowest class, the worst error over its bound (None where nothing ran), and
    how many cells of each class there are."""
    rules: dict[str, dict[str, object]] = {rule: {} for rule in run.rules}
    for rule in run.rules:
        for target in run.targets:
            cells = [cell for cell in run.cells if (cell.rule, cell.target) == (rule, target)]
            judged = [cell for cell in cells if cell.kind != "SKIP"]
            if judged:
                lowest = min((cell.kind for cell in judged), key=KINDS.index)
                worst = max(cell.ratio for cell in judged)
                ratio = round(worst, 3) if math.isfinite(worst) else None
                counts = Counter(cell.kind for cell in cells)
                counted = {kind: counts[kind] for kind in KINDS if counts[kind]}
                rules[rule][target] = {"class": lowest, "ratio": ratio, "counts": counted}
    return json.dumps({"schema": 1, "corpus": run.corpus, "extent": run.extent, "rules": rules}, indent=1) + "\n"


def _changes(run: Conformance, before: Conformance) -> Iterator[str]:
    old, new = ({cell.id: cell for cell in one.cells} for one in (before, run))
    common = [(old[key], new[key]) for key in new if key in old]
    changes: list[tuple[str, list[str]]] = [
        ("Now failing", [_failing(b) for a, b in common if b.kind == "FAIL" != a.kind]),
        ("New and failing", [_failing(cell) for key, cell in new.items() if key not in old and cell.kind == "FAIL"]),
        ("No longer failing", [f"`{b.id}`: {b.kind}" for a, b in common if a.kind == "FAIL" != b.kind]),
        ("Other class", [f"`{b.id}`: {a.kind} → {b.kind}" for a, b in common if _other_class(a, b)]),
        ("Larger error over bound", [_ratios(a, b) for a, b in common if b.ratio > NOTABLE * a.ratio]),
        ("Smaller error over bound", [_ratios(a, b) for a, b in common if a.ratio > NOTABLE * b.ratio]),
        ("Other bits after the run", [f"`{b.id}`" for a, b in common if a.digest != b.digest]),
        ("New cells", _grouped([cell for key, cell in new.items() if key not in old])),
        ("Cells that are gone", _grouped([cell for key, cell in old.items() if key not in new])),
    ]
    if before.corpus != run.corpus:
        yield "The corpus is another one.\n"
    if not any(entries for _, entries in changes):
        yield "No cell changed."
    for heading, entries in changes:
        if entries:
            yield f"**{heading}** ({len(entries)})\n"
            yield from (f"- {entry}" for entry in entries[:MOST])
            if len(entries) > MOST:
                yield f"- and {len(entries) - MOST} more"
            yield ""


def _failing(cell: Cell) -> str:
    return f"`{cell.id}`: {_first_line(cell.note)}; error {cell.ratio:.3g} times the bound"


def _other_class(a: Cell, b: Cell) -> bool:
    return a.kind != b.kind and "FAIL" not in (a.kind, b.kind)


def _ratios(a: Cell, b: Cell) -> str:
    return f"`{b.id}`: {a.ratio:.3f} → {b.ratio:.3f}"


def _grouped(cells: Sequence[Cell]) -> list[str]:
    counted: dict[tuple[str, str], int] = {}
    for cell in cells:
        counted[cell.rule, cell.target] = counted.get((cell.rule, cell.target), 0) + 1
    return [f"{rule} in {target}: {count} cells" for (rule, target), count in counted.items()]


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def junit(run: Conformance) -> str:
    """A test suite per target, a test case per cell."""
    root = ElementTree.Element("testsuites", name="optloom conform")
    for target in run.targets:
        cells = [cell for cell in run.cells if cell.target == target]
        count: Callable[[str], int] = [cell.kind for cell in cells].count
        suite = ElementTree.SubElement(
            root, "testsuite", name=target, tests=str(len(cells)), failures=str(count("FAIL")),
            skipped=str(count("SKIP")), errors=str(int(target in run.missing)),
        )  # fmt: skip
        for cell in cells:
            name = f"{cell.variant}/{cell.mode}/{cell.numerics}/{cell.dtype}/{cell.part}"
            case = ElementTree.SubElement(suite, "testcase", classname=f"{target}.{cell.rule}", name=name)
            if cell.kind == "FAIL":
                failure = ElementTree.SubElement(case, "failure", message=_xml(_first_line(cell.note)))
                failure.text = _xml("\n".join([cell.note, *cell.complaints, run.command(cell)]))
            elif cell.kind == "SKIP":
                ElementTree.SubElement(case, "skipped", message=_xml(_first_line(cell.note)))
        if target in run.missing:
            case = ElementTree.SubElement(suite, "testcase", classname=target, name="runs")
            ElementTree.SubElement(case, "error", message=_xml(_first_line(run.missing[target])))
    if run.stale:
        stale = ElementTree.SubElement(
            root, "testsuite", name="deviations", tests=str(len(run.stale)), failures=str(len(run.stale))
        )
        for sentence in run.stale:
            case = ElementTree.SubElement(stale, "testcase", classname="deviations", name=_xml(sentence))
            ElementTree.SubElement(case, "failure", message="the line is not needed any more")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """`text` without the characters that XML cannot hold."""
    return "".join(letter for letter in text if letter in "\t\n" or ord(letter) >= 0x20)


def badge(run: Conformance) -> str:
    """What shields.io's endpoint reads."""
    counts = run.counts()
    failing = counts.get("FAIL", 0) + len(run.stale)
    judged = len(run.cells) - counts.get("SKIP", 0)
    message = f"{failing} failing" if failing else f"{judged} cells, {counts.get('BIT', 0)} bit for bit"
    color = "lightgrey" if not judged else "red" if failing else "brightgreen"
    if not judged:
        message = "nothing judged"
    return json.dumps({"schemaVersion": 1, "label": "conformance", "message": message, "color": color}, indent=2) + "\n"
