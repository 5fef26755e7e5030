"""The JAX target: an optax factory, and a pure step that writes the parameters itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Literal

from optloom.spec.declarations import Peer
from optloom.spec.guards import ALWAYS, And, Flag, asks_tensors, before_tensors, of_tensors

from ... import c_family
from ...arguments import refused
from ...ir import nodes
from ...ir.nodes import Fn, Hyperparameter, Kind, Length, Program, Reduce, Ref, SlotInfo, walk
from ...passes.legalise import Nestings, gradient_apart
from ...passes.locality import locality, whole_under
from ...stages import GATES
from ...target import Kernels, Templates
from ..cpp.target import TARGET as CPP
from . import texts
from .formula import EXACT, LOCALS, Formula, goes_along_axes, guards_of_reads, tensors
from .printer import IS_NARROW, JaxPrinter
from .renaming import new_names, renamed
from .scalars import Scalars

TEMPLATES = Templates(Path(__file__).parent / "templates")
EXEMPT = {"exclude_from_weight_decay": "weight_decay"}
"""The arguments that say which leaves a stage is off for, and the number that turns it on."""

SUPPORT = ("support", "checks", "double", "leaves", "rounding", "shards", "state", "types", "calls", "fused")
"""The modules that all files of the folder share."""
CHAINS = dict(
    line.split() for line in (Path(__file__).parent / "chains.txt").read_text().splitlines() if line[0] != "#"
)

SUMS, PRODUCTS = (Fn.ADD, Fn.SUB), (Fn.MUL, Fn.SQUARE)


class JaxTarget:
    name = "jax"
    ecosystem = "optax"
    missing_stages: frozenset[str] = frozenset()
    numerics: Literal["strict", "fast"] = "fast"
    kernels = Kernels((CPP.name,), ("_fused.py", "_calls.py", "_calls.cpp", "_kernels.py"), "_calls.py")
    # XLA contracts products into sums, negated ones too, turns a/sqrt(b) into a*rsqrt(b), and merges divisions.
    nestings: Nestings = frozenset(
        {
            *((outer, inner) for outer in (*SUMS, Fn.NEG) for inner in PRODUCTS),
            (Fn.DIV, Fn.SQRT),
            (Fn.DIV, Fn.DIV),
        }
    )

    def names(self, program: Program) -> Mapping[str, str]:
        """What optax's users call what `program` declares."""
        return names_in_optax(program)

    def render(self, program: Program) -> Mapping[str, str]:
        names = names_in_optax(program)
        program = program if program.strict else gradient_apart(program, self.nestings)
        rule = TEMPLATES.render("rule.py.jinja", _Module(program, names).context())
        shared = {f"_{name}.py": f"{name}.py.jinja" for name in SUPPORT} | {"_calls.cpp": "calls.cpp.jinja"}
        if any(slot.storage == "parameter" for slot in program.slots):
            shared["_slot_dtype.py"] = "slot_dtype.py.jinja"
        known = {"in_rule": texts.IN_RULE, "gates": GATES}
        made = {
            path: TEMPLATES.render(template, known | {"stages": texts.of_stages()}) for path, template in shared.items()
        }
        return {program.source: rule, **made, "_kernels.py": c_family.loader()}


def names_in_optax(program: Program) -> dict[str, str]:
    """The name in generated code of each name of `program`."""
    return new_names(program, _peers_names(program), LOCALS)


def _peers_names(program: Program) -> dict[str, str]:
    """What optax calls what a rule calls otherwise."""
    names = texts.HYPERS | texts.SLOTS
    for peer in _peers(program):
        names |= {**peer.names, **peer.slots}
    return names


def _with_none_for_off(program: Program) -> Program:
    """optax says None where a number is off by default: `inject_hyperparams` makes an array of every other default."""
    hypers = (replace(h, default=None) if h.off is not None and h.default == h.off else h for h in program.hypers)
    return replace(program, hypers=tuple(hypers))


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program, names: Mapping[str, str]) -> None:
        self.program = renamed(_with_none_for_off(program), names)
        declared = [one.name for part in (program.slots, program.hypers, program.options) for one in part]
        usual = texts.IN_RULE
        self.in_rule = {names[n]: n for n in declared if usual.get(names[n], names[n]) != n}
        theirs = _peers_names(program)
        called = {names[slot.name]: theirs.get(slot.name, slot.name) for slot in program.slots}
        self.slots_in_optax = {ours: name for ours, name in called.items() if ours != name}
        self.scalars, self.formula = Scalars(self.program), Formula(self.program)
        self.printer, self.not_lazy = JaxPrinter(), locality(self.program)

    def context(self) -> dict[str, Any]:
        program, scalars = self.program, self.scalars
        predicates = list(self._predicates())
        factory, positional = PurePath(program.source).stem, self._positional()
        averages = next((slot.name for slot in program.slots if slot.for_evaluation), "")
        axis_name = [texts.AXIS_NAME] if self._sums() else []
        passes = self.formula.passes()
        exempt = {argument: name for argument, name in EXEMPT.items() if self._may_be_off(name)}
        ways = [*map(texts.exempt, exempt), self._sparse(), texts.FUSED, *axis_name]
        return {
            "name": program.name,
            "factory": factory,
            "source": program.source,
            "doc": program.doc,
            "formula": program.formula,
            "summary": texts.summary(program.name),
            "public": texts.public(factory, bool(averages)),
            "uses_jax": any(re.search(r"\bjax\.", line) for part in passes for line in part.lines + part.after),
            "differences": list(texts.differences(program, list(_peers(program)))),
            "arguments": list(map(texts.hyper, positional)),
            "keywords": [
                *map(texts.option, program.options),
                *(texts.hyper(given) for given in program.hypers if given not in positional),
                *ways,
            ],
            "documented": [
                *(texts.option(one) for one in program.options if not _is_of_stage(one)),
                *(texts.hyper(one) for one in program.hypers if one not in positional and not _is_of_stage(one)),
            ],
            "slots": [self._slot(slot) for slot in tensors(program)],
            "narrow": tuple(slot.name for slot in program.slots if slot.storage == "parameter"),
            "kept": [self._slot(slot) for slot in program.slots if slot.shape == "scalar"],
            "starts": {slot.name: start for slot in program.slots if (start := _start(slot)) != "0"},
            "whens": {slot.name: self._exists(slot) for slot in program.slots if slot.when != ALWAYS},
            "about": self._about(averages),
            "averages": averages,
            "predicates": predicates,
            "hypers": list(self._hypers()),
            "checks": list(self._checks()),
            "on": [f"{option.name}={option.name}" for option in program.options],
            "named": [option.name for option in program.options if option.choices],
            "sums_over_leaves": bool(axis_name),
            "gate": self.printer.guard(program.gate.guard) if program.gate else "",
            "params_needed": self._params_needed(),
            "rounds": any(_is_rounding(n) for s in program.update.statements for n in walk(s.value)),
            "uses_step": scalars.uses_step,
            "beside": scalars.beside,
            "scalars": scalars.lines(),
            "passes": passes,
            "moves": any("Moved" in part.returns for part in passes),
            "sums": any("Sums" in part.returns for part in passes),
            "strict": any(EXACT in part.lines + part.after for part in passes),
            "shapes": {slot.name: slot.shape for slot in tensors(program) if slot.shape != "parameter"},
            "refused": {each.takes: self.printer.guard(each.guard) for each in refused(program)},
            "inputs": {source.name: source.shape for source in program.inputs},
            "tensor_inputs": [source.name for source in program.inputs if source.shape == "parameter"],
            "not_lazy": self.not_lazy,
            "whole_under": whole_under(program),
            "exempt": exempt,
            "chained": next((CHAINS[peer.path] for peer in _peers(program) if peer.path in CHAINS), "2"),
        }

    def _about(self, averages: str) -> dict[str, str]:
        """What is said of the state's fields, where it is not plain."""
        kept = tuple(slot.name for slot in self.program.slots if slot.shape == "scalar")
        along = {slot.shape: slot.name for slot in self.program.slots if slot.shape in ("rows", "columns")}
        words = {
            "in_rule": self.in_rule, "in_optax": self.slots_in_optax, "scalars": kept, "averages": averages,
            "along": (along["rows"], along["columns"]) if len(along) == 2 else (),
        }  # fmt: skip
        return {word: repr(value) for word, value in words.items() if value}

    def _may_be_off(self, name: str) -> bool:
        """Whether there is a number of that name that turns something on."""
        return any(hyper.name == name and hyper.optional for hyper in self.program.hypers)

    def _positional(self) -> list[Hyperparameter]:
        """The rule's own hyperparameters, as far as optax's function takes them by position, in its order."""
        own = {hyper.name: hyper for hyper in self.program.hypers if not hyper.stage}
        theirs = next((peer.arguments for peer in _peers(self.program) if peer.arguments), tuple(own))
        return [own[name] for name in theirs if name in own]

    def _hypers(self) -> Iterator[str]:
        """Each hyperparameter with what is legal."""
        signs = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}
        dependent = dict(self.program.dependents())
        for hyper in self.program.hypers:
            starts_a_slot = any(slot.init == Ref(Kind.HYPER, hyper.name) for slot in self.program.slots)
            stages = [stage for stage in self.program.stages if hyper.name in stage.declares]
            parts = [hyper.name, *(f"{signs[sign]}={bound:g}" for sign, bound in hyper.bounds)]
            parts += [f"off={hyper.off:g}"] if hyper.off is not None else []
            parts += (
                ["optional=True"] if hyper.name not in dependent and (hyper.optional or hyper.default is None) else []
            )
            parts += ["integer=True"] if hyper.integer else []
            parts += ["schedule=False"] if starts_a_slot and not hyper.integer else []
            if hyper.name in dependent:
                parts.append(f'on="{dependent[hyper.name]}"')
            else:
                parts += [f"when={stage.guard.option}" for stage in stages if isinstance(stage.guard, Flag)]
            parts += [] if hyper.name in self.scalars.read else ["of_step=False"]
            yield f"{hyper.name}=Hyper({', '.join(parts)})"

    def _checks(self) -> Iterator[str]:
        """The lines that check what arguments mean together, and options."""
        for names in self.program.alternatives:
            yield f"_support.check_one({', '.join(f'{name}={name}' for name in names)})"
        for option in self.program.options:
            if option.choices:
                yield f'_support.check_choice("{option.name}", {option.name}, {option.choices})'

    def _slot(self, slot: SlotInfo) -> dict[str, Any]:
        return {"name": slot.name, "doc": slot.doc, "when": self._when(slot)}

    def _when(self, slot: SlotInfo) -> str:
        """The condition under which there is a slot; empty for always."""
        always = before_tensors(slot.when)
        return "" if always == ALWAYS else self.printer.guard(always)

    def _exists(self, slot: SlotInfo) -> str:
        """Whether there is a slot, or which leaves have one."""
        known, asked = self._when(slot), self.printer.guard(of_tensors(slot.when))
        if not asks_tensors(slot.when):
            return known
        function = asked.removesuffix("(w)") if asked == IS_NARROW else f"(lambda w: {asked})"
        return f"{known} and {function}" if known else function

    def _sums(self) -> bool:
        """Whether an element of the formula is made of others of its tensor, or of all, or waits for them."""
        values = [statement.value for region in self.program.regions for statement in region.statements]
        if self.program.gate:
            return True
        return any(goes_along_axes(v) or any(isinstance(node, Reduce | Length) for node in walk(v)) for v in values)

    def _sparse(self) -> dict[str, str]:
        return {"name": "sparse", "type": "str", "default": '"dense"' if self.not_lazy else '"lazy"'}

    def _predicates(self) -> Iterator[dict[str, str]]:
        """The predicates of regions: what they are called, under which flag they hold at all, every how many calls."""
        for region in self.program.regions:
            if region.predicate is not None:
                applies = self.printer.guard(region.guard)
                yield {"name": region.predicate.name, "applies": applies, "every": region.predicate.hyper}

    def _params_needed(self) -> str:
        """The condition under which an update needs the parameters, also where it does not write them."""
        found = list(dict.fromkeys(map(before_tensors, guards_of_reads(self.program))))
        guards = [g for g in found if not (isinstance(g, And) and any(part in found for part in g.guards))]
        texts = [self.printer.guard(guard) for guard in guards]
        conditions = [f"({text})" if " and " in text and len(texts) > 1 else text for text in texts]
        return "True" if ALWAYS in guards else " or ".join(conditions) or "False"


def _start(slot: SlotInfo) -> str:
    match slot.init:
        case nodes.Literal(value):
            return f"{float(value):g}"
        case Ref(Kind.PARAMETER):
            return "_support.COPY"
        case Ref(_, name):
            return name


def _is_of_stage(one: Hyperparameter | nodes.Choice) -> bool:
    """Whether an argument is a stage's, and means the same whatever the rule."""
    return bool(one.stage) and not one.convention


def _is_rounding(node: nodes.Expression) -> bool:
    return isinstance(node, nodes.Op) and node.fn is Fn.STOCHASTICALLY_ROUNDED


def _peers(program: Program) -> Iterator[Peer]:
    return (peer for peer in program.peers if peer.ecosystem == JaxTarget.ecosystem)


TARGET = JaxTarget()
