"""`optloom new`: a rule file to start from, which already conforms, and whose comments teach the language."""

from __future__ import annotations

import keyword
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import optloom.spec

from .output import OutputError, replace_files

TEMPLATE = '''\
"""{title}: what this optimizer is."""

from optloom.spec import Hyper, Rule, Slot, Value

# One class per file; all that is generated follows from it. This one is gradient descent along a moving average: make
# it yours. Beside it:
#     optloom explain ./{name}.py                  what the compiler makes of it
#     optloom generate ./{name}.py --out optim     the optimizer for every framework
#     optloom conform ./{name}.py                  the generated code against the rule itself


class {title}(Rule):
    """Descent along a moving average of the gradient (authors and year, "Title of the paper")."""

    # A hyperparameter: its default, its bounds (ge, gt, le, lt), what it means. A default of None makes it optional.
    learning_rate = Hyper(0.001, ge=0)
    beta = Hyper(0.9, ge=0, lt=1, doc="decay rate of the moving average")

    # A slot: state per parameter, of its shape, 0 at the start.
    m = Slot("moving average of the gradient")

    # One update: the parameter `w`, its gradient `g`, and the update's number `t`, counted from 1. Write it as the
    # paper does: statements run in order, and nothing is regrouped. An assignment to a slot stores it; to any other
    # name of `self` (self.rate = ...) it names an intermediate, under which the generated code has it.
    # Beside + - * / ** there are abs, sqrt, exp, log, sign, maximum, minimum, norm, mean, where(condition, a, b):
    # import them from optloom.spec. There is no `if`: a condition is a `where`.
    def step(self, w: Value, g: Value, t: Value) -> Value:
        self.m = self.beta * self.m + (1 - self.beta) * g
        return w - self.learning_rate * self.m
'''


def new_rule(name: str, folder: Path, *, force: bool = False) -> Path:
    """Writes `<folder>/<name>.py`, a rule of the class that `name` says, and returns its path.

    Raises OutputError for a name that is none, or that would hide a module; for a file that is there already, unless
    `force`; and where the folder does not exist or cannot be written.
    """
    stem = name.removesuffix(".py")
    title = "".join(part[:1].upper() + part[1:] for part in stem.split("_"))
    place = folder / f"{stem}.py"
    if not stem.isidentifier() or keyword.iskeyword(stem) or stem != stem.lower() or not title.isidentifier():
        raise OutputError(f"'{name}' is no name for a rule: lower-case letters, digits and _, as in 'my_rule'")
    if title in vars(optloom.spec) or keyword.iskeyword(title):
        raise OutputError(f"'{title}' is a word of the language: give the rule another name")
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist")
    if place.exists() and not force:
        raise OutputError(f"{place} is there already: --force overwrites it")
    if not place.exists() and _hides(stem):
        raise OutputError(f"a module '{stem}' is installed, which {place.name} would hide: give the rule another name")
    try:
        replace_files(folder, {place.name: TEMPLATE.format(name=stem, title=title)}, ())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return place


def _hides(name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    found = PathFinder.find_spec(name)
    return found is not None and found.origin is not None
