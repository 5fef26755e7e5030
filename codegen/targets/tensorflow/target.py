"""The tensorflow target: a `keras.optimizers.Optimizer` per rule, for Keras 3 on the TensorFlow backend."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from typing import Literal as OneOf

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, Flag, Given, Is, asks_tensors, atoms, before_tensors, of_tensors

from ... import c_family
from ...arguments import refused
from ...double_word import functions_for
from ...ir.nodes import Choice, Hyperparameter, Kind, Literal, Op, Program, Ref, Region, SlotInfo, walk
from ...passes.joined import joined
from ...passes.locality import following, locality, whole_under
from ...printing import UnsupportedOperation
from ...stages import GATES
from ...target import Kernels, Templates
from ..cpp.target import TARGET as CPP
from . import statements
from .formula import passes
from .printer import DECISIONS, HELPERS, NESTINGS, TensorFlowPrinter, may_be_none


@dataclass(frozen=True)
class Argument:
    """An argument of the constructor: its name, type and default, as text."""

    name: str
    type: str
    default: str


KERAS_ARGUMENTS = {
    argument.name: argument
    for argument in (
        Argument("weight_decay", "float | None", "None"),
        Argument("clipnorm", "float | None", "None"),
        Argument("clipvalue", "float | None", "None"),
        Argument("global_clipnorm", "float | None", "None"),
        Argument("use_ema", "bool", "False"),
        Argument("ema_momentum", "float", "0.99"),
        Argument("ema_overwrite_frequency", "int | None", "None"),
        Argument("loss_scale_factor", "float | None", "None"),
        Argument("gradient_accumulation_steps", "int | None", "None"),
    )
}
"""What every Keras optimizer takes after its own arguments, in Keras's order, with Keras's defaults."""

OF_KERAS = {"average", "gradient_accumulator"}
"""What Keras calls the slots of its stages."""

COMPARISONS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}


class TensorFlow:
    """Files for Keras: one per rule, and beside them `_support.py`, the part of Keras's surface that all share."""

    name = "tensorflow"
    ecosystem = "keras"
    missing_stages: frozenset[str] = frozenset()
    numerics: OneOf["strict", "fast"] = "fast"
    nestings = NESTINGS
    templates = Templates(Path(__file__).parent / "templates")
    kernels = Kernels((CPP.name,), ("_fused.py", "_kernels.py", "_update.cpp"), "_fused.py")

    def names(self, program: Program) -> Mapping[str, str]:
        """What Keras's users call what `program` declares: the peer's names of slots."""
        peer = _peer_of(program)
        return peer.slots if peer else {}

    def render(self, program: Program) -> Mapping[str, str]:
        """The files of `program`, by name. Raises UnsupportedOperation for what Keras's class cannot hold yet."""
        _refuse(program)
        file = Path(program.source).with_suffix(".py").name
        narrow = {"_slot_dtype.py": self.templates.render("slot_dtype.py.jinja", {})} if _narrow(program) else {}
        return narrow | {
            file: self.templates.render("rule.py.jinja", _context(program)),
            "_support.py": self.templates.render("support.py.jinja", {"keras_arguments": KERAS_ARGUMENTS.values()}),
            "_fused.py": self.templates.render("fused.py.jinja", {"gates": GATES}),
            "_kernels.py": c_family.loader(),
            "_update.cpp": self.templates.render("update.cpp.jinja", {}),
        }


TARGET = TensorFlow()


def _refuse(program: Program) -> None:
    """Raises UnsupportedOperation for what no part of the generated class has a place for."""
    problems = {
        "a rule without a learning rate": not any(hyper.name == "learning_rate" for hyper in program.hypers),
        "slots of the parameter's dtype that are called as one of Keras's own": bool(_narrow(program) & OF_KERAS),
        "a stage that recurs by its own clock": any(
            region.predicate and region.predicate.hyper != "gradient_accumulation_steps" for region in program.regions
        ),
    }
    for what, holds in problems.items():
        if holds:
            raise UnsupportedOperation(what, TensorFlow.name)


def _narrow(program: Program) -> set[str]:
    """What the slots of the parameter's dtype are called in Keras."""
    peer = _peer_of(program)
    names = dict(peer.slots) if peer else {}
    return {names.get(slot.name, slot.name) for slot in program.slots if slot.storage == "parameter"}


def _peer_of(program: Program) -> Peer | None:
    return next((peer for peer in program.peers if peer.path.startswith("keras.")), None)


def _context(program: Program) -> dict[str, Any]:
    update = joined(program)
    peer = _peer_of(program)
    of_stages = [item for item in _declared(program) if item.stage and not item.convention]
    own = [hyper for hyper in program.hypers if hyper not in of_stages]
    never_lazy = locality(program)
    return {
        "program": program,
        "doc": inspect.cleandoc(program.doc),
        "peer": peer,
        "base": "_slot_dtype" if _narrow(program) else "_support",
        "arguments": _arguments(program, peer),
        "keras_arguments": list(KERAS_ARGUMENTS),
        "later": set(KERAS_ARGUMENTS) - {item.name for item in _declared(program)},
        "keywords": _keywords(program),
        "declarations": _declarations(program, peer, never_lazy),
        "own": [hyper for hyper in own if hyper.name != "learning_rate"],
        "stages": of_stages,
        "beyond": [item for item in of_stages if item.name not in KERAS_ARGUMENTS],
        "gate": _gate(program),
        "lazy": not never_lazy,
        "rows": "" if never_lazy else ", rows",
        "slots": _slot_lines(program, peer),
        "passes": passes(program, lazy=not never_lazy),
        "inputs": program.inputs,
        "refused": [
            {"condition": TensorFlowPrinter(program).guard(each.guard), "takes": each.takes}
            for each in refused(program)
        ],
        "tensor_inputs": [source.name for source in program.inputs if source.shape == "parameter"],
        "scalar_reads": statements.scalar_read_lines(program, update),
        "hypers": statements.hyper_lines(program, update),
        "scalars": statements.scalar_lines(program, update),
        "functions": _functions(update) if program.strict else frozenset(),
        "reads_step": statements.reads_step(update),
        "helpers": {HELPERS[fn] for fn in statements.operations(program) if fn in HELPERS},
    }


def _declarations(program: Program, peer: Peer | None, never_lazy: str) -> list[str]:
    """The attributes of the class: hyperparameters with their bounds, slots, and whose state is loaded."""
    deciding = {_gate(program), *(name for slot in program.slots for name in _names(slot))}
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
    own = {slot.name: statements.storage(slot.name) for slot in program.slots if slot.shape != "scalar"}
    scalar = {slot.name: statements.storage(slot.name) for slot in program.slots if slot.shape == "scalar"}
    if program.alternatives:
        lines.append(f"_ALTERNATIVES = {program.alternatives!r}")
    if program.dependents():
        lines.append(f"_NEEDS = {program.dependents()!r}")
    if program.gate:
        lines.append(f"_GATE = {_gate(program)!r}")
    if whole_under(program):
        lines.append(f"_WHOLE_UNDER = {whole_under(program)!r}")
    rules = dict.fromkeys([program.name, *([peer.path.rpartition(".")[2]] if peer else [])])
    lines += ["", f"_RULES = {tuple(rules)!r}", f"_SLOTS = {_fixed(own)}"]
    narrow = tuple(sorted(_narrow(program)))
    lines += [f"_NARROW = {narrow!r}"] if narrow else []
    copies = tuple(slot.name for slot in filter(_is_copy, program.slots))
    lines += [f"_COPIES = {copies!r}"] if copies else []
    lines += [f"_FOLLOWING = {following(program)!r}"] if following(program) else []
    lines += [f"_SCALAR_SLOTS = {_fixed(scalar)}"] if scalar else []
    inputs = {source.name: source.shape for source in program.inputs}
    return lines + ([f"_INPUTS = {_fixed(inputs)}"] if inputs else [])


def _fixed(names: Mapping[str, str]) -> str:
    """A mapping of names that the class may not lose."""
    return f"_support.fixed({', '.join(f'{name}={value!r}' for name, value in names.items())})"


def _functions(region: Region) -> frozenset[str]:
    """What strict scalars call, comparisons included."""
    nodes = [node for scalar in region.scalars for node in walk(scalar.value) if isinstance(node, Op)]
    decisions = (DECISIONS[node.fn][1] for node in nodes if node.fn in DECISIONS)
    return functions_for(region.scalars).union(*decisions)


def _names(slot: SlotInfo) -> set[str]:
    """The options and hyperparameters that decide whether there is a slot."""
    found = set()
    for atom in atoms(slot.when):
        match atom:
            case Flag(name) | Is(name) | Given(name):
                found.add(name)
    return found


def _keywords(program: Program) -> list[Argument]:
    """Keyword-only arguments: what only says which peer's formula is meant, and what of stages Keras does not have."""
    declared = _declared(program)
    return [_argument(item) for item in declared if item.convention or _is_beyond_keras(item)]


def _is_beyond_keras(item: Hyperparameter | Choice) -> bool:
    return bool(item.stage) and item.name not in KERAS_ARGUMENTS


def _gate(program: Program) -> str:
    """The option under which a call may be skipped; empty if none is."""
    known = atoms(program.gate.guard) if program.gate else ()
    return next((atom.option for atom in known if isinstance(atom, Flag)), "")


def _declared(program: Program) -> list[Hyperparameter | Choice]:
    return [*program.hypers, *program.options]


def _arguments(program: Program, peer: Peer | None) -> list[Argument]:
    """The constructor's arguments: in the peer's order, then what all Keras optimizers take."""
    of_keras = dict(KERAS_ARGUMENTS)
    own: dict[str, Argument] = {}
    for item in _declared(program):
        if not item.convention and not _is_beyond_keras(item):
            (of_keras if item.stage else own)[item.name] = _argument(item)
    values = own | {name: argument for name, argument in of_keras.items() if name not in own}
    order = [*(peer.arguments if peer else ()), *values]
    return [values[name] for name in dict.fromkeys(order) if name in values]


def _argument(item: Hyperparameter | Choice) -> Argument:
    if isinstance(item, Choice):
        return Argument(item.name, "str" if item.choices else "bool", repr(item.default))
    type_of_value = "int" if item.integer else "_support.Scalar"
    return Argument(item.name, f"{type_of_value} | None" if may_be_none(item) else type_of_value, repr(item.default))


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
    own = [slot for slot in program.slots if not slot.stage and slot.shape != "scalar" and not _is_copy(slot)]
    lines = statements.Lines()
    if any(slot.shape != "parameter" or asks_tensors(slot.when) for slot in own):
        lines.extend(_lines_by_variable(own, printer, names))
        own = []
    for guard, slots in groupby(sorted(own, key=lambda slot: slot.when != ALWAYS), key=lambda slot: slot.when):
        group = list(slots)
        targets = ", ".join(f"self.{statements.storage(slot.name)}" for slot in group)
        called = [repr(names.get(slot.name, slot.name)) for slot in group]
        starts = [_start(slot) for slot in group]
        call = f"self.add_optimizer_variables(variables, {_one_or_list(called)}{_initializers(starts)})"
        lines.add(printer.condition(guard), [f"{targets} = {call}"])
    for slot in filter(_is_copy, program.slots):
        some = f", lambda variable: {printer.guard(of_tensors(slot.when))}" if asks_tensors(slot.when) else ""
        made = f"self._copies(variables, {names.get(slot.name, slot.name)!r}{some})"
        lines.add(printer.condition(before_tensors(slot.when)), [f"self.{statements.storage(slot.name)} = {made}"])
    for slot in program.slots:
        if slot.shape == "scalar":
            name, start = names.get(slot.name, slot.name), _number(slot.init)
            made = f"self._scalar_slots(variables, {name!r}, {start})"
            lines.add(printer.condition(slot.when), [f"self.{statements.storage(slot.name)} = {made}"])
    return lines


def _lines_by_variable(slots: list[SlotInfo], printer: TensorFlowPrinter, names: Mapping[str, str]) -> Iterator[str]:
    """What makes slots that not every variable has, or of another shape than its own."""
    lists = [f"self.{statements.storage(slot.name)}" for slot in slots]
    yield f"{', '.join(lists)} = {', '.join('[]' for _ in slots)}"
    yield "for variable in variables:"
    for slot in slots:
        arguments = ["variable", repr(names.get(slot.name, slot.name))]
        arguments += [f"shape={slot.shape!r}"] if slot.shape != "parameter" else []
        arguments += [f"initializer={start}"] if (start := _start(slot)) != '"zeros"' else []
        made = f"self._slot({', '.join(arguments)})"
        if condition := printer.condition(slot.when):
            made += f" if {condition} else None"
        yield f"    self.{statements.storage(slot.name)}.append({made})"


def _is_copy(slot: SlotInfo) -> bool:
    """Whether a slot starts as a copy of the parameter."""
    return isinstance(slot.init, Ref) and slot.init.kind is Kind.PARAMETER


def _start(slot: SlotInfo) -> str:
    number = _number(slot.init)
    return '"zeros"' if number == "0.0" else f"_support.filled({number})"


def _number(init: Literal | Ref) -> str:
    match init:
        case Literal(value):
            return repr(float(value))
        case Ref(_, name):
            return f'self._initial("{name}")'


def _initializers(starts: list[str]) -> str:
    """Keras's argument for the slots' start; zeros are its default."""
    return "" if set(starts) == {'"zeros"'} else f", initializer={_one_or_list(starts)}"


def _one_or_list(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
