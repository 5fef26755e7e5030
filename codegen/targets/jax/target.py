"""The JAX target: an optax factory, and a pure step that writes the parameters itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

from optloom.spec.guards import ALWAYS, Always, And, Atom, Flag, Given, Guard, HasAxes, Is, Not

from ...ir import nodes
from ...ir.nodes import Choice, Choose, Fn, Hyperparameter, Kind, Program, Ref, SlotInfo, walk
from ...passes.legalise import Nestings
from ...printing import UnsupportedOperation
from ...target import Templates
from .formula import LOCALS, Formula, guards_of_reads
from .printer import JaxPrinter, flag_of
from .renaming import new_names, renamed
from .scalars import Scalars

TEMPLATES = Templates(Path(__file__).parent / "templates")
HYPERS = {"beta_1": "b1", "beta_2": "b2", "beta_3": "b3", "epsilon": "eps"}
SLOTS = {"m": "mu", "v": "nu"}
"""What optax calls what rules call otherwise; a rule's optax peer may say otherwise."""

SUMS, PRODUCTS = (Fn.ADD, Fn.SUB), (Fn.MUL, Fn.SQUARE)


class JaxTarget:
    name = "jax"
    ecosystem = "optax"
    numerics: Literal["strict", "fast"] = "fast"
    # XLA contracts products into sums, negated ones too, turns a/sqrt(b) into a*rsqrt(b), and merges divisions.
    nestings: Nestings = frozenset(
        {
            *((outer, inner) for outer in (*SUMS, Fn.NEG) for inner in PRODUCTS),
            (Fn.DIV, Fn.SQRT),
            (Fn.DIV, Fn.DIV),
        }
    )

    def render(self, program: Program) -> Mapping[str, str]:
        _refuse_what_is_missing(program)
        named = renamed(program, names_in_optax(program))
        return {
            program.source: TEMPLATES.render("rule.py.jinja", _Module(named).context()),
            "_support.py": TEMPLATES.render("support.py.jinja", {}),
        }


def names_in_optax(program: Program) -> dict[str, str]:
    """The name in generated code of each name of `program`."""
    names = HYPERS | SLOTS
    for peer in program.peers:
        if peer.path.startswith("optax."):
            names |= {**peer.names, **peer.slots}
    return new_names(program, names, LOCALS)


def _refuse_what_is_missing(program: Program) -> None:
    if program.inputs:
        raise UnsupportedOperation(f"extra inputs ({program.inputs[0].name})", "jax")
    for slot in program.slots:
        if slot.shape != "parameter":
            raise UnsupportedOperation(f"slots of shape '{slot.shape}' ({slot.name})", "jax")
        if any(isinstance(atom, HasAxes) for atom in _atoms(slot.when)):
            raise UnsupportedOperation(f"slots that only some parameters have ({slot.name})", "jax")


class _Module:
    """What the template of one program lays out."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.scalars, self.formula, self.printer = Scalars(program), Formula(program), JaxPrinter()

    def context(self) -> dict[str, Any]:
        program, scalars = self.program, self.scalars
        predicates, flags = list(self._predicates()), list(self._flags())
        return {
            "name": program.name,
            "factory": PurePath(program.source).stem,
            "source": program.source,
            "doc": program.doc,
            "formula": program.formula,
            "differences": list(_differences(program)),
            "arguments": [self._hyper(hyper) for hyper in program.hypers if not hyper.stage],
            "keywords": [
                *map(_option, program.options),
                *(self._hyper(hyper) for hyper in program.hypers if hyper.stage),
            ],
            "slots": [self._slot(slot) for slot in sorted(program.slots, key=lambda slot: slot.when != ALWAYS)],
            "predicates": predicates,
            "flags": flags,
            "checks": list(self._checks()),
            "params_needed": self._params_needed(),
            "numbers": [hyper.name for hyper in scalars.hypers],
            "required": [hyper.name for hyper in scalars.hypers if hyper.default is not None],
            "optional": [hyper.name for hyper in scalars.hypers if hyper.default is None],
            "uses_step": scalars.uses_step,
            "scalars": list(scalars.lines()),
            "leaf_slots": [slot.name for slot in program.slots],
            "leaf": self.formula.lines(),
            "keywords_of_leaf": [part["name"] for part in (*predicates, *flags)],
            "results": self.formula.results(),
            "operations": scalars.operations(),
        }

    def _hyper(self, hyper: Hyperparameter) -> dict[str, str]:
        words = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}
        bounds = ", ".join(f"{words[sign]} {bound:g}" for sign, bound in hyper.bounds)
        return {
            "name": hyper.name,
            "type": ("int" if hyper.integer else "_support.Number") + (" | None" if hyper.optional else ""),
            "default": _number(hyper.default),
            "doc": f"{hyper.doc or 'step size'}{f' ({bounds})' if bounds else ''}",
        }

    def _checks(self) -> Iterator[str]:
        """The lines that check the arguments. What stands for "not given" is None from there on, or the number."""
        for hyper in self.program.hypers:
            check = f'_support.check_number("{hyper.name}", {hyper.name}, {self._limits(hyper)})'
            if hyper.default is None:
                yield from (f"if {hyper.name} is not None:", f"    {check}")
            else:
                if hyper.optional:
                    yield f"{hyper.name} = {_number(hyper.off)} if {hyper.name} is None else {hyper.name}"
                yield check
        for option in self.program.options:
            yield f'_support.check_choice("{option.name}", {option.name}, {option.choices or (False, True)})'

    def _limits(self, hyper: Hyperparameter) -> str:
        signs = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}
        starts_a_slot = any(slot.init == Ref(Kind.HYPER, hyper.name) for slot in self.program.slots)
        limits = [f"{signs[sign]}={bound:g}" for sign, bound in hyper.bounds]
        limits += ["schedule=False"] if hyper.integer or starts_a_slot else []
        return ", ".join([*limits, *(["integer=True"] if hyper.integer else [])])

    def _slot(self, slot: SlotInfo) -> dict[str, Any]:
        match slot.init:
            case nodes.Literal(value):
                start = f"_support.slots(params{'' if value == 0 else f', {float(value)!r}'})"
            case Ref(Kind.PARAMETER):
                start = "_support.copies(params)"
            case Ref(_, name):
                start = f"_support.slots(params, {name})"
        when = None if slot.when == ALWAYS else self.printer.guard(slot.when)
        return {"name": slot.name, "doc": slot.doc, "start": start, "when": when}

    def _predicates(self) -> Iterator[dict[str, str]]:
        """The predicates of regions: what they are called, under which flag they hold at all, every how many calls."""
        for region in self.program.regions:
            if region.predicate is not None:
                applies = self.printer.guard(region.guard)
                yield {"name": region.predicate.name, "applies": applies, "every": region.predicate.hyper}

    def _flags(self) -> Iterator[dict[str, Any]]:
        """The static arguments of `_leaf`: options, and whether optional hyperparameters were given."""
        asked = {atom for guard in _guards(self.program) for atom in _atoms(guard)}
        for option in self.program.options:
            if any(isinstance(atom, Flag | Is) and atom.option == option.name for atom in asked):
                yield {"name": option.name, "value": None}
        for hyper in self.program.hypers:
            if Given(hyper.name) in asked:
                off = "" if hyper.off is None else f", off={hyper.off:g}"
                yield {"name": flag_of(hyper.name), "value": f"_support.given({hyper.name}{off})"}

    def _params_needed(self) -> str:
        """The condition under which an update needs the parameters."""
        guards = list(dict.fromkeys(guards_of_reads(self.program)))
        conditions = ["write", *(self.printer.guard(guard) for guard in guards)]
        return "True" if ALWAYS in guards else " or ".join(conditions)


def _guards(program: Program) -> Iterator[Guard]:
    """All guards of the tensor statements."""
    for region in program.regions:
        yield region.guard
        for statement in region.statements:
            yield statement.guard
            yield from (node.guard for node in walk(statement.value) if isinstance(node, Choose))


def _atoms(guard: Guard) -> Iterator[Atom]:
    match guard:
        case Not(inner):
            yield from _atoms(inner)
        case And(parts):
            for part in parts:
                yield from _atoms(part)
        case Always():
            return
        case _:
            yield guard


def _number(value: float | None) -> str:
    """A Python literal, without the zeros of exponents."""
    return repr(value).replace("e-0", "e-")


def _option(option: Choice) -> dict[str, str]:
    return {
        "name": option.name,
        "type": "str" if option.choices else "bool",
        "default": f'"{option.default}"' if option.choices else repr(option.default),
        "doc": option.doc,
    }


def _differences(program: Program) -> Iterator[str]:
    """What separates the generated factory from the optax function of the same name."""
    for peer in program.peers:
        if peer.path.startswith("optax."):
            theirs = {HYPERS.get(name, name): value for name, value in peer.defaults.items()}
            known = {hyper.name for hyper in program.hypers}
            defaults = ", ".join(f"{name}={_number(value)}" for name, value in theirs.items() if name in known)
            parts = [*peer.differs, *([f"its defaults are {defaults}"] if defaults else [])]
            if parts:
                yield f"Differs from {peer.path}: {'; '.join(parts)}."


TARGET = JaxTarget()
