"""The tensorflow target: a `keras.optimizers.Optimizer` per rule, for Keras 3 on the TensorFlow backend."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, Flag, Given, Is, atoms

from ...double_word import functions_for
from ...ir.nodes import Choice, Fn, Hyperparameter, Kind, Literal, Op, Program, Ref, Region, SlotInfo, Store, walk
from ...passes.locality import locality
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
    missing_stages = frozenset({"unscale", "clip", "ema"})
    numerics: OneOf["strict", "fast"] = "fast"
    nestings = NESTINGS
    templates = Templates(Path(__file__).parent / "templates")

    def names(self, program: Program) -> Mapping[str, str]:
        """What Keras's users call what `program` declares: the peer's names of slots."""
        peer = _peer_of(program)
        return peer.slots if peer else {}

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
        "a slot of another shape than the parameter's": any(
            slot.shape not in ("parameter", "scalar") for slot in program.slots
        ),
        "a slot of the whole optimizer that tensors decide": any(
            isinstance(statement, Store) and statement.slot != "w" and program.slot(statement.slot).shape == "scalar"
            for region in program.regions
            for statement in region.statements
        ),
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


def _peer_of(program: Program) -> Peer | None:
    return next((peer for peer in program.peers if peer.path.startswith("keras.")), None)


def _context(program: Program) -> dict[str, Any]:
    update = program.update
    peer = _peer_of(program)
    stages = {hyper.name: hyper for hyper in program.hypers if hyper.stage and not hyper.convention}
    own = [hyper for hyper in program.hypers if hyper.name not in stages]
    if unknown := set(stages) - set(KERAS_ARGUMENTS):
        raise UnsupportedOperation(f"the stage's argument '{min(unknown)}'", TensorFlow.name)
    never_lazy = locality(program)
    return {
        "program": program,
        "doc": inspect.cleandoc(program.doc),
        "peer": peer,
        "arguments": _arguments(program, peer),
        "keras_arguments": list(KERAS_ARGUMENTS),
        "conventions": _conventions(program),
        "declarations": _declarations(program, peer, never_lazy),
        "own": [hyper for hyper in own if hyper.name != "learning_rate"],
        "stages": list(stages.values()),
        "lazy": not never_lazy,
        "rows": "" if never_lazy else ", rows",
        "slots": _slot_lines(program, peer),
        "reads": statements.read_lines(program, not never_lazy),
        "formula": statements.update_lines(program),
        "stores": statements.store_lines(program, not never_lazy),
        "scalar_reads": statements.scalar_read_lines(program, update),
        "hypers": statements.hyper_lines(program, update),
        "scalars": statements.scalar_lines(program, update),
        "functions": _functions(update) if program.strict else frozenset(),
        "reads_step": statements.reads_step(update),
        "helpers": {HELPERS[fn] for fn in statements.operations(program) if fn in HELPERS},
    }


def _declarations(program: Program, peer: Peer | None, never_lazy: str) -> list[str]:
    """The attributes of the class: hyperparameters with their bounds, slots, and whose state is loaded."""
    deciding = {name for slot in program.slots for name in _names(slot)}
    lines = []
    for hyper in program.hypers:
        kind = "LearningRate" if hyper.name == "learning_rate" else "Number"
        lines.append(f"{hyper.name} = _support.{kind}({_bounds(hyper, hyper.name in deciding)})")
    for option in program.options:
        choices = [repr(choice) for choice in option.choices or (False, True)]
        choices += ["decides_slots=True"] if option.name in deciding else []
        lines.append(f"{option.name} = _support.Option({', '.join(choices)})")
    if never_lazy:
        lines.append(f'sparse = _support.Sparse("{never_lazy}")')
    own = {slot.name: statements.storage(slot.name) for slot in program.slots if slot.shape == "parameter"}
    scalar = {slot.name: statements.storage(slot.name) for slot in program.slots if slot.shape == "scalar"}
    rules = dict.fromkeys([program.name, *([peer.path.rpartition(".")[2]] if peer else [])])
    lines += ["", f"_RULES = {tuple(rules)!r}", f"_SLOTS = types.MappingProxyType({own!r})"]
    return lines + ([f"_SCALAR_SLOTS = types.MappingProxyType({scalar!r})"] if scalar else [])


def _functions(region: Region) -> frozenset[str]:
    """What strict scalars call, comparisons included."""
    nodes = (node for scalar in region.scalars for node in walk(scalar.value))
    compared = any(isinstance(node, Op) and node.fn is Fn.LESS for node in nodes)
    return functions_for(region.scalars) | ({"less"} if compared else frozenset())


def _names(slot: SlotInfo) -> set[str]:
    """The options and hyperparameters that decide whether there is a slot."""
    found = set()
    for atom in atoms(slot.when):
        match atom:
            case Flag(name) | Is(name) | Given(name):
                found.add(name)
    return found


def _conventions(program: Program) -> list[Hyperparameter | Choice]:
    """What only says which peer's formula is meant: keyword-only arguments."""
    return [item for item in _declared(program) if item.convention]


def _declared(program: Program) -> list[Hyperparameter | Choice]:
    return [*program.hypers, *program.options]


def _arguments(program: Program, peer: Peer | None) -> list[tuple[str, str]]:
    """Names and defaults of the constructor's arguments: in the peer's order, then what all Keras optimizers take."""
    defaults = dict(KERAS_ARGUMENTS)
    own: dict[str, str] = {}
    for item in _declared(program):
        if not item.convention:
            (defaults if item.stage else own)[item.name] = repr(item.default)
    values = own | defaults
    order = [*(peer.arguments if peer else ()), *values]
    return [(name, values[name]) for name in dict.fromkeys(order) if name in values]


def _bounds(hyper: Hyperparameter, decides_slots: bool) -> str:
    """The bounds of a hyperparameter, as arguments of what declares it."""
    parts = [f"{COMPARISONS[sign]}={bound:g}" for sign, bound in hyper.bounds]
    parts += ["integer=True"] if hyper.integer else []
    parts += ["optional=True"] if may_be_none(hyper) else []
    parts += [f"off={hyper.off:g}"] if hyper.off is not None else []
    parts += ["decides_slots=True"] if decides_slots else []
    return ", ".join(parts)


def _slot_lines(program: Program, peer: Peer | None) -> list[str]:
    """What makes the rule's own slots, in Keras's order: interleaved by variable, guarded ones last."""
    printer = TensorFlowPrinter(program)
    names = dict(peer.slots) if peer else {}
    own = [slot for slot in program.slots if not slot.stage and slot.shape == "parameter"]
    own = sorted(own, key=lambda slot: slot.when != ALWAYS)
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
    for slot in program.slots:
        if slot.shape == "scalar":
            name, start = names.get(slot.name, slot.name), _number(slot.init)
            made = f"self._scalar_slots(variables, {name!r}, {start})"
            lines.add(printer.condition(slot.when), [f"self.{statements.storage(slot.name)} = {made}"])
    return lines


def _start(slot: SlotInfo) -> str:
    number = _number(slot.init)
    return '"zeros"' if number == "0.0" else f"_support.filled({number})"


def _number(init: Literal | Ref) -> str:
    match init:
        case Literal(value):
            return repr(float(value))
        case Ref(_, name):
            return f'self._value("{name}")'


def _initializers(starts: list[str]) -> str:
    """Keras's argument for the slots' start; zeros are its default."""
    return "" if set(starts) == {'"zeros"'} else f", initializer={_one_or_list(starts)}"


def _one_or_list(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
