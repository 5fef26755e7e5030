"""All generated pages by path: one per rule, and the tables over all rules. `docs/hook.py` hands them to MkDocs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from html import escape
from multiprocessing import get_context
from pathlib import Path

from optloom.spec.rule import Rule

from ..api import Progress, RuleInfo, catalogue, rules_named
from ..discovery import target_names
from ..output import OutputError, replace_files
from ..show import RuleView, show
from .commands import reference
from .measured import Measured, measured
from .rule import conformance_cell, page, table

TABLES = ("rules/index.md", "peers-by-rule.md", "commands.md")
PLANE = (
    "Two starts, drawn by seed. Each rule's learning rate is the best of {rates} (from {low:g} to {high:g}) after "
    "{steps} steps, so that all have the same budget. An illustration of how the rules move, not a ranking: two "
    "variables without noise say nothing of a network."
)


def documents(names: tuple[str, ...] = ()) -> dict[str, str]:
    """Markdown by path: `rules/<name>.md` of the rules named (all of optloom's own), and the tables over them.

    Raises UnknownName, SpecError; ModuleNotFoundError without what drawing needs (`optloom[docs]`).
    """
    known = {info.name: info for info in catalogue(names)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        texts = list(pool.map(document, known, (dict(info.missing) for info in known.values())))
    views = {name: show(rule) for name, rule in rules_named(names).items()}
    pages = {f"rules/{name}.md": text for name, text in zip(known, texts, strict=True)}
    tables = index(views, known, measured()), peers(views), reference()
    return pages | dict(zip(TABLES, tables, strict=True))


def write(names: Sequence[str], folder: Path, *, progress: Progress | None = None) -> list[Path]:
    """The pages of the rules named, as `<rule>.md` in `folder`: all or none. Raises OutputError, and as `documents`."""
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist")
    texts = texts_of(names, progress)
    try:
        replace_files(folder, texts, ())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return [folder / name for name in texts]


def texts_of(names: Sequence[str], progress: Progress | None = None) -> dict[str, str]:
    """The pages of the rules named, by file name: `<rule>.md`. Raises as `documents`."""
    rules, known, texts = rules_named(names), catalogue(names), {}
    for done, info in enumerate(known):
        if progress:
            progress(done, len(known), info.name)
        texts[f"{info.name}.md"] = _document(rules[info.name], info.missing)
    return texts


def document(name: str, missing: Mapping[str, str] | None = None) -> str:
    """The page of one rule, with its drawing."""
    (rule,) = rules_named([name]).values()
    return _document(rule, missing)


def _document(rule: type[Rule], missing: Mapping[str, str] | None) -> str:
    return page(rule, measured(), plane(rule), missing)


def plane(rule: type[Rule]) -> str:
    """The rule's runs on the plane's functions, beside others', with their legend and caption."""
    from .drawing import figure, legend
    from .landscapes import LANDSCAPES, RATES, STEPS, beside, tuned

    try:
        rows = [
            (landscape, [tuned(rule, landscape), *(run for run in beside(landscape) if run.rule != rule.__name__)])
            for landscape in LANDSCAPES
        ]
    except ValueError as error:
        return f"It does not take a vector of two numbers: {escape(str(error))}."
    marks = [
        f"<p class='legend'>{escape(landscape.name)}: {', '.join(legend(run, i) for i, run in enumerate(runs))}</p>"
        for landscape, runs in rows
    ]
    caption = PLANE.format(rates=len(RATES), low=RATES[0], high=RATES[-1], steps=STEPS)
    names = ", ".join(run.rule for run in rows[0][1])
    drawn = figure(rows, f"{names} on two functions of the plane")
    return f"<figure class='plane'>{drawn}{''.join(marks)}<figcaption>{caption}</figcaption></figure>"


def index(views: Mapping[str, RuleView], known: Mapping[str, RuleInfo], found: Measured) -> str:
    """What rules there are, which targets print them, and how exact they were found."""
    rows = []
    for name, view in views.items():
        cells = (_target_cell(known[name], found, target) for target in target_names())
        rows.append((f"[{view.rule}]({name}.md)", escape(known[name].title), *cells))
    text = table(("rule", "what it is", *target_names()), rows)
    return "\n\n".join(
        [
            "# The rules",
            "A page each, made from its spec. In the table: the class that its cells reach in a target, and the worst "
            "error over its bound (2 is the limit); what is printed but was not measured yet says so.",
            text,
            "What the classes mean is in [The numbers](../numerics.md#the-oracle-and-the-bound).",
        ]
    ) + "\n"  # fmt: skip


def _target_cell(info: RuleInfo, found: Measured, target: str) -> str:
    cell = found.conformance.get(info.name, {}).get(target)
    if target in info.missing:
        return "–"  # noqa: RUF001
    if cell is None:
        return "printed"
    kind, ratio, _ = conformance_cell(cell)
    return f"{kind} {ratio}"


def peers(views: Mapping[str, RuleView]) -> str:
    """What every rule does unlike its peers, in one table."""
    return "\n\n".join(
        [
            "# Peers, rule by rule",
            "What the generated optimizers do unlike the hand-written ones of the same name, in the rules' own names. "
            "How to go from one to another is on each rule's page, and in `optloom compare`.",
            table(("rule", "peer", "here", "other defaults there", "its dialect"), _peer_rows(views)),
        ]
    ) + "\n"  # fmt: skip


def _peer_rows(views: Mapping[str, RuleView]) -> Iterator[tuple[str, ...]]:
    for name, view in views.items():
        for peer in view.peers:
            there = [f"there {text}" for text in peer.otherwise]
            differs = "; ".join(map(escape, [*peer.differs, *there])) or "nothing differs but rounding"
            defaults = ", ".join(f"`{key}={value:g}`" for key, value in peer.defaults.items())
            dialect = ", ".join(f"`{key}={value}`" for key, value in peer.dialect.items())
            yield f"[{view.rule}](rules/{name}.md)", f"`{peer.path}`", differs, defaults, dialect
