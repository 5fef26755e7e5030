"""What `show` says of optloom's own rules, as generating recorded it: nothing has to be traced to show them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optloom.spec.rule import Rule

from .explain import PhaseView
from .output import Output, digest
from .provenance import shown_digest
from .show import HyperView, OptionView, PeerView, RuleView, SlotView, show

RECORD = "RULES.json"
"""The file beside the manifest: by rule, `source` (the digest of what its view is made from) and `view`."""
PARTS = {
    "hyperparameters": HyperView, "options": OptionView, "slots": SlotView, "phases": PhaseView, "peers": PeerView,
}  # fmt: skip


def record(rules: Mapping[str, type[Rule]]) -> Output:
    """The file RECORD of `rules`. Raises SpecError for a rule that is wrong."""
    sources = {name: shown_digest(rule) for name, rule in rules.items()}
    entries = {name: {"source": sources[name], "view": asdict(show(rule))} for name, rule in rules.items()}
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    return Output(text, digest("".join(sources.values())))


def view_of(name: str, rule: type[Rule]) -> RuleView:
    """`show(rule)`: as recorded, if the rule and the compiler are those of the record, in the checkout or installed.

    Raises SpecError for a rule that is wrong.
    """
    entry = _entries().get(name)
    if entry is None or entry["source"] != shown_digest(rule):
        return show(rule)
    view = entry["view"]
    return RuleView(**view | {part: [kind(**each) for each in view[part]] for part, kind in PARTS.items()})


def _entries() -> dict[str, dict[str, Any]]:
    try:
        folder = Path(next(iter(importlib.import_module("optloom.generated").__path__)))
        entries: dict[str, dict[str, Any]] = json.loads((folder / RECORD).read_bytes())
    except (ImportError, OSError, ValueError):
        return {}
    return entries
