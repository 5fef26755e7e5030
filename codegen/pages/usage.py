"""How a vendored optimizer is used: a few lines per target, out of the target's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optloom.codegen.targets
from optloom.spec.rule import Rule

from ..compiler import frozen
from ..discovery import target, target_names
from ..show import names_by_target
from ..target import Templates, names_in

FILE = "usage.py.jinja"
RATE = "learning_rate"


def usages(rule: type[Rule], module: str) -> dict[str, str]:
    """Python by target: of the targets whose folder has a `usage.py.jinja`; none for a rule with extra inputs.

    The optimizer is imported from a folder `optim`, its file is called `module`.
    """
    program = frozen(rule)
    if program.inputs:
        return {}
    found = {}
    for name in target_names():
        folder = Path(optloom.codegen.targets.__path__[0]) / name
        if (folder / FILE).is_file():
            found[name] = Templates(folder).render(FILE, _context(rule, module, name))
    return found


def _context(rule: type[Rule], module: str, target_name: str) -> dict[str, Any]:
    program = frozen(rule)
    names = names_by_target(program).get(target_name) or names_in(target(target_name), program)
    rate = next((hyper for hyper in program.hypers if hyper.name == RATE), None)
    ecosystem = target(target_name).ecosystem
    peer = next((peer.path for peer in rule.peers if peer.ecosystem == ecosystem), "")
    return {
        "module": module,
        "rule": rule.__name__,
        "rate": f"{names[RATE]}={rate.default!r}" if rate else "",
        "peer": peer,
    }
