"""`optloom show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Json, OneRule, console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..show import HyperView, PeerView, RuleView

Latex = Annotated[bool, typer.Option("--latex", help="Print the formula alone, as LaTeX.")]


def add_to(app: typer.Typer) -> None:
    app.command("show")(show_rule)


def show_rule(rule: OneRule, latex: Latex = False, as_json: Json = False) -> None:
    """Show a rule: formula, hyperparameters and their names in each framework, slots, memory, bytes, peers."""
    from .. import api
    from ..recorded import view_of

    for name, found in api.rules_named([rule]).items():
        view = view_of(name, found)
        if as_json:
            print_json(view)
        elif latex:
            typer.echo(view.latex)
        else:
            _show(view)


def _show(view: RuleView) -> None:
    console_ = console()
    title, _, rest = view.doc.partition("\n")
    console_.print(f"{view.rule}  ({view.name})", style="bold", markup=False)
    console_.print(title, *filter(None, map(str.strip, rest.splitlines())), markup=False, sep="\n")
    _heading(console_, "formula, one step of a parameter w with gradient g, the t-th")
    for line in view.unicode if _prints_unicode(console_, view) else view.formula:
        console_.print(f"  {line}", markup=False, soft_wrap=True)
    _arguments(console_, view)
    _slots(console_, view)
    _heading(console_, "phases, and the bytes that each moves per float32 element")
    for number, phase in enumerate(view.phases, start=1):
        sums = f", sums {', '.join(phase.sums)}" if phase.sums else ""
        reads, writes = ", ".join(phase.reads) or "nothing", ", ".join(phase.writes) or "nothing"
        text = f"  {number} ({phase.when}): reads {reads}; writes {writes}{sums}; {_bytes(phase.bytes_moved)}"
        console_.print(text, markup=False, soft_wrap=True)
    if len(view.phases) > 1:
        console_.print(f"  all together: {_bytes(view.bytes_moved)}", markup=False, soft_wrap=True)
    for peer in view.peers:
        _peer(console_, peer)


def _prints_unicode(console_: Console, view: RuleView) -> bool:
    try:
        "".join(view.unicode).encode(console_.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _heading(console_: Console, text: str) -> None:
    console_.print()
    console_.print(text, style="bold cyan", markup=False)


def _arguments(console_: Console, view: RuleView) -> None:
    from rich.table import Table

    named = [*(hyper.names for hyper in view.hyperparameters), *(option.names for option in view.options)]
    targets = list(dict.fromkeys(target for names in named for target in names))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("  name", "default", "bounds", *targets, "what it is"):
        table.add_column(heading, no_wrap=heading not in ("bounds", "what it is"))
    for hyper in view.hyperparameters:
        names = (hyper.names.get(target, "-") for target in targets)
        default = "None" if hyper.default is None else f"{hyper.default:g}"
        table.add_row(f"  {hyper.name}", default, bounds_in_words(hyper), *names, hyper.doc)
    for option in view.options:
        names = (option.names.get(target, "-") for target in targets)
        choices = " | ".join(map(str, option.choices))
        table.add_row(f"  {option.name}", str(option.default), choices, *names, option.doc)
    _heading(console_, "hyperparameters and options, and what each framework calls them")
    console_.print(table, markup=False)


def bounds_in_words(hyper: HyperView) -> str:
    """`>= 0, < 1`."""
    limits = [f"{sign} {bound:g}" for sign, bound in hyper.bounds]
    return ", ".join([*limits, "integer"] if hyper.integer else limits)


def _slots(console_: Console, view: RuleView) -> None:
    from rich.table import Table

    targets = list(dict.fromkeys(target for slot in view.slots for target in slot.names))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("  slot", "shape", "starts as", *targets, "what it is"):
        table.add_column(heading, no_wrap=heading != "what it is")
    for slot in view.slots:
        names = (slot.names.get(target, "-") for target in targets)
        doc = f"{slot.doc}; only if {slot.when}" if slot.when else slot.doc
        table.add_row(f"  {slot.name}", slot.shape, slot.start, *names, doc)
    _heading(console_, f"slots; memory per float32 element: {_bytes(view.memory)}")
    if view.slots:
        console_.print(table, markup=False)
    else:
        console_.print("  none")


def _bytes(by_variant: Mapping[str, int]) -> str:
    """`24 bytes (32 if amsgrad=True)`."""
    first, *others = by_variant.items()
    others = [other for other in others if other[1] != first[1]]
    listed = ", ".join(f"{size} if {variant}" for variant, size in others)
    return f"{first[1]} bytes" + (f" ({listed})" if listed else "")


def _peer(console_: Console, peer: PeerView) -> None:
    _heading(console_, f"beside {peer.path}, the rule differs in that")
    for sentence in peer.differs:
        console_.print(f"  {sentence}", markup=False, soft_wrap=True)
    for name, value in peer.defaults.items():
        console_.print(f"  its default of {name} is not {value:g}", markup=False)
    if peer.dialect:
        options = ", ".join(f"{name}={value}" for name, value in peer.dialect.items())
        console_.print(f"  (the peer's own formula is an option: {options})", markup=False, soft_wrap=True)
    if not (peer.differs or peer.defaults or peer.dialect):
        console_.print("  nothing differs but rounding")
