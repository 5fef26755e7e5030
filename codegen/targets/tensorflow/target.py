"""The tensorflow target: a `keras.optimizers.Optimizer` per rule, for Keras 3 on the TensorFlow backend."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS

from ...double_word import functions_for
from ...ir.nodes import Hyperparameter, Kind, Literal, Program, Ref, SlotInfo
from ...printing import UnsupportedOperation
from ...target import Templates
from . import statements
from .printer import HELPERS, NESTINGS, TensorFlowPrinter, may_be_none

KERAS_ARGUMENTS = {
    "weight_decay": "None",
    "clipnorm": "None",
    "clipvalue": "None",
    "global_clipnorm": "None",
    "use_ema": "False",
    "ema_momentum": "0.99",
    "ema_overwrite_frequency": "None",
    "loss_scale_factor": "None",
    "gradient_accumulation_steps": "None",
}
"""What every Keras optimizer takes after its own arguments, in Keras's order, with Keras's defaults."""

COMPARISONS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}


class TensorFlow:
    """Files for Keras: one per rule, and beside them `_support.py`, the part of Keras's surface that all share."""

    name = "tensorflow"
    ecosystem = "keras"
    numerics: OneOf["strict", "fast"] = "fast"
    nestings = NESTINGS
    templates = Templates(Path(__file__).parent / "templates")

    def render(self, program: Program) -> Mapping[str, str]:
        """The files of `program`, by name. Raises UnsupportedOperation for what Keras's class cannot hold yet."""
        _refuse(program)
        file = Path(program.source).with_suffix(".py").name
        return {
            file: self.templates.render("rule.py.jinja", _context(program)),
            "_support.py": self.templates.render("support.py.jinja", {"defaults": KERAS_ARGUMENTS}),
        }


TARGET = TensorFlow()


def _refuse(program: Program) -> None:
    """Raises UnsupportedOperation for what no part of the generated class has a place for."""
    problems = {
        "a rule without a learning rate": not any(hyper.name == "learning_rate" for hyper in program.hypers),
        "extra inputs": bool(program.inputs),
        "a slot of another shape than the parameter's": any(slot.shape != "parameter" for slot in program.slots),
        "a slot of the parameter's own dtype": any(slot.storage != "compute" for slot in program.slots),
        "a slot that starts as a copy of the parameter": any(
            isinstance(slot.init, Ref) and slot.init.kind is Kind.PARAMETER for slot in program.slots
        ),
        "a stage that recurs by its own clock": any(
            region.predicate and region.predicate.hyper != "gradient_accumulation_steps" for region in program.regions
        ),
    }
    for what, holds in problems.items():
        if holds:
            raise UnsupportedOperation(what, TensorFlow.name)


def _context(program: Program) -> dict[str, Any]:
    update = program.update
    peer = next((peer for peer in program.peers if peer.path.startswith("keras.")), None)
    stages = {hyper.name: hyper for hyper in program.hypers if hyper.stage}
    own = [hyper for hyper in program.hypers if not hyper.stage]
    if unknown := set(stages) - set(KERAS_ARGUMENTS):
        raise UnsupportedOperation(f"the stage's argument '{min(unknown)}'", TensorFlow.name)
    return {
        "program": program,
        "doc": inspect.cleandoc(program.doc),
        "peer": peer,
        "arguments": _arguments(program, peer),
        "checks": {hyper.name: _bounds(hyper) for hyper in program.hypers},
        "own": [hyper for hyper in own if hyper.name != "learning_rate"],
        "stages": list(stages.values()),
        "later": [name for name in KERAS_ARGUMENTS if name not in stages],
        "slots": _slot_lines(program, peer),
        "reads": statements.read_lines(program),
        "formula": statements.update_lines(program),
        "stores": statements.store_lines(program),
        "hypers": statements.hyper_lines(program, update),
        "scalars": statements.scalar_lines(program, update),
        "functions": functions_for(update.scalars) if program.strict else frozenset(),
        "reads_step": statements.reads_step(update),
        "helpers": {HELPERS[fn] for fn in statements.operations(program) if fn in HELPERS},
    }


def _arguments(program: Program, peer: Peer | None) -> list[tuple[str, str]]:
    """Names and defaults of the constructor's arguments: in the peer's order, then what all Keras optimizers take."""
    defaults = dict(KERAS_ARGUMENTS)
    own: dict[str, str] = {}
    for hyper in program.hypers:
        (defaults if hyper.stage else own)[hyper.name] = repr(hyper.default)
    own |= {option.name: repr(option.default) for option in program.options}
    values = own | defaults
    order = [*(peer.arguments if peer else ()), *values]
    return [(name, values[name]) for name in dict.fromkeys(order) if name in values]


def _bounds(hyper: Hyperparameter) -> str:
    """The bounds of a hyperparameter as arguments of `_support.checked`."""
    parts = [f"{COMPARISONS[sign]}={bound:g}" for sign, bound in hyper.bounds]
    parts += ["integer=True"] if hyper.integer else []
    parts += ["optional=True"] if may_be_none(hyper) else []
    return "".join(f", {part}" for part in parts)


def _slot_lines(program: Program, peer: Peer | None) -> list[str]:
    """What makes the rule's own slots, in Keras's order: interleaved by variable, guarded ones last."""
    printer = TensorFlowPrinter(program)
    names = dict(peer.slots) if peer else {}
    own = sorted((slot for slot in program.slots if not slot.stage), key=lambda slot: slot.when != ALWAYS)
    lines = statements.Lines()
    for guard, slots in groupby(own, key=lambda slot: slot.when):
        group = list(slots)
        targets = ", ".join(f"self.{statements.storage(slot.name)}" for slot in group)
        called = [repr(names.get(slot.name, slot.name)) for slot in group]
        starts = [_start(slot) for slot in group]
        call = f"self.add_optimizer_variables(variables, {_one_or_list(called)}{_initializers(starts)})"
        condition = printer.condition(guard)
        if "variable." in condition:
            raise UnsupportedOperation("a slot that depends on the variable's shape", TensorFlow.name)
        lines.add(condition, [f"{targets} = {call}"])
    return lines


def _start(slot: SlotInfo) -> str:
    match slot.init:
        case Literal(value) if value == 0:
            return '"zeros"'
        case Literal(value):
            return f"_support.filled({float(value)!r})"
        case Ref(_, name):
            return f"_support.filled(self.{name})"


def _initializers(starts: list[str]) -> str:
    """Keras's argument for the slots' start; zeros are its default."""
    return "" if set(starts) == {'"zeros"'} else f", initializer={_one_or_list(starts)}"


def _one_or_list(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
