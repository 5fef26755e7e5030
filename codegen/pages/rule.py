"""The page of one rule, as Markdown: all of it derived from the spec, from `benchmarks/results/` and from runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from optloom.spec.rule import Rule

from ..compare import Comparison, compare
from ..compiler import Settings, specialised
from ..discovery import target_names
from ..show import HyperView, OptionView, PeerView, RuleView, show
from . import mathml
from .measured import Measured
from .usage import usages

CODE = "```sh\n{command}\n```\n\n```python\n{code}```"
NOT_MEASURED = "Not measured yet: `{command}` does."


def page(rule: type[Rule], measured: Measured, figure: str = "", missing: Mapping[str, str] | None = None) -> str:
    """The whole page. `figure`: HTML of the trajectories. `missing`: by target, why it does not print the rule.

    Raises SpecError for a rule that is wrong.
    """
    view, comparison = show(rule), compare(rule)
    formula = specialised(rule, Settings(stages=()))
    title, _, rest = view.doc.partition("\n")
    parts = [
        f"# {view.rule}",
        title,
        rest.strip(),
        "## Formula",
        "One step of a parameter `w` with gradient `g`, the `t`-th:",
        f'<div class="formula">{mathml.block(formula)}</div>',
        "## In your project",
        *_usage(rule, view, missing or {}),
        "## Hyperparameters",
        *_hyperparameters(view),
        "## State and memory traffic",
        *_state(view),
        "## Beside its peers",
        *_peers(view, comparison),
        "## Exactness",
        *_exactness(view, measured),
        "## Speed",
        *_speed(view, measured),
        *(["## On two functions of the plane", figure] if figure else []),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _usage(rule: type[Rule], view: RuleView, missing: Mapping[str, str]) -> Iterator[str]:
    for target, code in usages(rule, view.name).items():
        if target not in missing:
            command = f"optloom vendor add {view.name} --target {target} --to optim"
            yield f'=== "{target}"\n\n{_indented(CODE.format(command=command, code=code))}'
    kernels = [name for name in target_names() if name not in usages(rule, view.name) and name not in missing]
    if kernels:
        yield f"Also generated for {_listed(kernels)}: `optloom generate {view.name} --target {kernels[0]} --out DIR`."
    for target, reason in missing.items():
        yield f"Not for {target}: {escape(reason)}."


def _hyperparameters(view: RuleView) -> Iterator[str]:
    shown: list[HyperView | OptionView] = [*view.hyperparameters, *view.options]
    targets = list(dict.fromkeys(target for one in shown for target in one.names))
    rows = []
    for one in shown:
        if isinstance(one, HyperView):
            limits = ", ".join(f"{sign}\N{NO-BREAK SPACE}{bound:g}" for sign, bound in one.bounds)
            limits += ", integer" * one.integer
            default = "None" if one.default is None else f"{one.default:g}"
        else:
            limits, default = " or ".join(f"`{choice}`" for choice in one.choices), str(one.default)
        names = (_name(one.name, one.names, target) for target in targets)
        rows.append((f"`{one.name}`", default, escape(limits), *names, escape(_doc(one))))
    yield table(("name", "default", "bounds", *targets, "what it is"), rows)
    if any(isinstance(one, OptionView) and one.convention for one in shown):
        yield (
            "A convention only says whose formula is meant. It is an argument where the framework's own optimizer has "
            "it otherwise; elsewhere it is bound to its default and leaves no trace."
        )


def _name(name: str, names: Mapping[str, str], target: str) -> str:
    """What a target calls it: nothing where it does not have it."""
    return "" if target not in names else "same" if names[target] == name else f"`{names[target]}`"


def _doc(one: HyperView | OptionView) -> str:
    kind = "convention: " if isinstance(one, OptionView) and one.convention else ""
    return f"{kind}{one.doc}{f' (stage: {one.stage})' if one.stage else ''}"


def _state(view: RuleView) -> Iterator[str]:
    if view.slots:
        targets = list(dict.fromkeys(target for slot in view.slots for target in slot.names))
        rows = []
        for slot in view.slots:
            names = (_name(slot.name, slot.names, target) for target in targets)
            when = f"; only if {slot.when}" if slot.when else ""
            rows.append((f"`{slot.name}`", slot.shape, slot.start, *names, escape(slot.doc + when)))
        yield table(("slot", "shape", "starts as", *targets, "what it is"), rows)
    else:
        yield "It keeps no state."
    yield f"The rule's own slots take {_bytes(view.memory)} per float32 element of a parameter."
    rows = [
        (str(number), phase.when, ", ".join(phase.reads), ", ".join([*phase.writes, *phase.sums]),
         _bytes(phase.bytes_moved))
        for number, phase in enumerate(view.phases, start=1)
    ]  # fmt: skip
    yield "A step is so many passes over memory, with all stages around the rule:"
    yield table(("pass", "runs", "reads", "writes, sums", "per float32 element"), rows)


def _peers(view: RuleView, comparison: Comparison) -> Iterator[str]:
    if not view.peers:
        yield "No hand-written optimizer of this name is known to the spec."
    for peer in view.peers:
        yield f"### `{peer.path}`"
        yield from _peer(peer)
    if len(comparison.peers) > 1:
        yield "### From one peer to another"
    for conversion in comparison.conversions:
        renamed = [f"`{there}={here}`" for there, here in conversion.assignments if there != here]
        given = [f"`{name}={'None' if value is None else f'{value:g}'}`" for name, value in conversion.give]
        told = [f"pass {_listed(renamed)}" if renamed else "the names are the same"]
        told += [f"say {_listed(given)} where it was left out"] if given else []
        lines = [
            f"{'; '.join(told).capitalize()}.",
            "",
            *(f"- Does not convert: {why}." for why in conversion.kept_apart),
        ]
        heading = f'??? note "From `{conversion.source}` to `{conversion.target}`"'
        yield f"{heading}\n\n{_indented(chr(10).join(map(escape, lines)))}"


def _peer(peer: PeerView) -> Iterator[str]:
    told = [f"Here {escape(sentence)}." for sentence in peer.differs]
    told += [f"Under any options, there {escape(clause)}." for clause in peer.otherwise]
    told += [f"Its default of `{name}` is {value:g}." for name, value in peer.defaults.items()]
    yield "\n".join(f"- {sentence}" for sentence in told) or "Nothing differs but rounding."
    if peer.dialect:
        options = ", ".join(f"`{name}={value}`" for name, value in peer.dialect.items())
        yield f"Its own formula is the dialect {options}: `optloom vendor add ... --dialect {peer.path}`."


def _exactness(view: RuleView, measured: Measured) -> Iterator[str]:
    cells = measured.conformance.get(view.name)
    if cells:
        rows = [(target, *conformance_cell(cells[target])) for target in cells]
        yield table(("target", "class", "worst error / bound", "cells"), rows)
        yield f"What the classes mean is in [The numbers]({'../numerics.md'}#the-oracle-and-the-bound)."
    else:
        yield NOT_MEASURED.format(command=f"optloom conform {view.name}")
    raced = measured.bench.get(view.name, {}).get("accuracy", [])
    if raced:
        yield (
            "Ten steps in float32 from weights of 0, beside the same formula in float64, in units in the last place of "
            "the largest value that an element had:"
        )
        rows = [(f"`{one['who']}`", one["way"], f"{one['median']:.2f}", f"{one['worst']:.3g}") for one in raced]
        yield table(("who", "way", "median", "worst"), rows)


def _speed(view: RuleView, measured: Measured) -> Iterator[str]:
    raced = measured.bench.get(view.name, {}).get("speed", [])
    if not raced:
        yield NOT_MEASURED.format(command=f"optloom bench {view.name}")
        return
    rows = [
        (one["target"], one["way"], one["workload"], f"`{one['peer']}`" if one["peer"] else "",
         f"{one['ratio']:.2f}" if one["ratio"] else "", f"{one['ns']:.2f}")
        for one in raced
    ]  # fmt: skip
    yield "Above 1 the generated optimizer is faster. Times of both are taken in turn, within one run:"
    yield table(("target", "way", "float32 tensors", "peer", "peer's time / ours", "ns per element"), rows)
    machine = measured.machine
    if machine:
        where = f"{escape(machine['processor'])}, {machine['cores']} cores"
        yield f"Measured on {where}, one thread each, other work running beside."


def conformance_cell(cell: Mapping[str, object]) -> tuple[str, str, str]:
    """Class, worst error over bound, and how many cells were judged."""
    counts: Mapping[str, int] = cell["counts"]  # type: ignore[assignment]
    ratio = cell["ratio"]
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return str(cell["class"]), "" if ratio is None else f"{ratio:.2f}", listed


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; a bar within a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _bytes(by_variant: Mapping[str, int]) -> str:
    first, *others = by_variant.items()
    listed = ", ".join(f"{size} if {escape(variant)}" for variant, size in others if size != first[1])
    return f"{first[1]} bytes" + (f" ({listed})" if listed else "")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
