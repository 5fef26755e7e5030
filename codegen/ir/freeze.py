"""freeze: the traced SymPy trees become our IR, as written. SymPy stops here.

Precondition: a Trace made by `optloom.spec.tracing.trace`. Raises SpecError, naming the rule's line, for a SymPy
expression that the language does not hold.
"""

from __future__ import annotations

import inspect
from fractions import Fraction
from pathlib import Path

import sympy
from optloom.spec.declarations import Hyper, Input, Option, Slot, Takes
from optloom.spec.errors import Location, SpecError
from optloom.spec.rule import Composition, Layer, Stage, declarations_of
from optloom.spec.tracing import Call, Statement, Trace, Variable
from optloom.spec.tracing import Kind as Traced

from . import nodes
from .nodes import Choose, Expression, Fn, Kind, Length, Let, Literal, Op, Program, Reduce, Ref, Region, Store

KINDS = {
    Traced.HYPER: Kind.HYPER,
    Traced.INPUT: Kind.INPUT,
    Traced.SLOT_BEFORE: Kind.BEFORE,
    Traced.SLOT: Kind.SLOT,
    Traced.NAMED: Kind.LET,
    Traced.PARAMETER: Kind.PARAMETER,
    Traced.GRADIENT: Kind.GRADIENT,
    Traced.STEP: Kind.STEP,
}
UNWRITTEN = (Fn.EXACT, Fn.STORED, Fn.POWER, Fn.ONE_MINUS_POWER, Fn.SQUARE, Fn.ROUNDING_KEY)
"""What only passes make."""
FUNCTIONS = {fn.value: fn for fn in Fn if fn not in UNWRITTEN}


def freeze(trace: Trace) -> Program:
    composition = trace.composition
    rule = composition.rule
    owners = _owners(composition)
    return Program(
        name=rule.__name__,
        doc=inspect.cleandoc(rule.__doc__ or ""),
        hypers=tuple(_hyper(composition, hyper, owners) for hyper in composition.of_kind(Hyper)),
        options=tuple(
            nodes.Choice(
                option.name, option.default, option.choices, option.doc, owners[option.name], option.convention
            )
            for option in composition.of_kind(Option)
        ),
        slots=tuple(_slot(slot, owners) for slot in composition.of_kind(Slot)),
        inputs=tuple(nodes.InputInfo(i.name, i.doc, i.shape) for i in composition.of_kind(Input)),
        regions=tuple(
            Region(region.predicate, region.guard, tuple(_statement(statement) for statement in region.statements))
            for region in trace.regions
        ),
        gate=nodes.Gate(trace.gate.predicate, trace.gate.guard) if trace.gate else None,
        takes=tuple(nodes.TakesInfo(each.axes, each.when) for each in composition.of_kind(Takes)),
        peers=rule.peers,
        source=Path(inspect.getsourcefile(rule) or "").name,
        stages=tuple(_stage(stage) for stage in composition.stages),
    )


def _stage(stage: type[Stage]) -> nodes.StageInfo:
    names = tuple(d.name for d in declarations_of(stage) if isinstance(d, Hyper | Option))
    return nodes.StageInfo(stage.called(), stage.guard(), names, stage.is_of_optimizer)


def _stage_name(layer: type[Layer]) -> str:
    return layer.called() if issubclass(layer, Stage) else ""


def _owners(composition: Composition) -> dict[str, str]:
    return {declared.name: _stage_name(layer) for layer in composition.layers for declared in declarations_of(layer)}


def _hyper(composition: Composition, hyper: Hyper, owners: dict[str, str]) -> nodes.Hyperparameter:
    default = composition.default(hyper)
    if default is not None and (broken := hyper.broken_bound(default)):
        raise SpecError(f"the default {default} of '{hyper.name}' breaks its bound: {broken}", hyper.location)
    return nodes.Hyperparameter(
        hyper.name, default, hyper.off, tuple(hyper.bounds.items()), hyper.integer, hyper.optional, hyper.doc,
        owners[hyper.name], hyper.convention,
    )  # fmt: skip


def _slot(slot: Slot, owners: dict[str, str]) -> nodes.SlotInfo:
    init: Literal | Ref
    match slot.init:
        case Hyper(name=name):
            init = Ref(Kind.HYPER, name)
        case "parameter":
            init = Ref(Kind.PARAMETER, "w")
        case number:
            init = Literal(Fraction(repr(number)))
    return nodes.SlotInfo(
        slot.name, slot.doc, init, slot.when, slot.shape, stage=owners[slot.name], for_evaluation=slot.for_evaluation
    )


def _statement(statement: Statement) -> nodes.Statement:
    value = freeze_expression(statement.value, statement.location)
    if statement.is_store:
        return Store(statement.name, value, statement.guard, statement.location)
    return Let(statement.name, value, statement.guard, statement.location, statement.rebinds)


def freeze_expression(tree: sympy.Expr, location: Location | None) -> Expression:
    """One SymPy expression, argument order and grouping kept."""

    def go(tree: sympy.Expr) -> Expression:
        match tree:
            case Variable():
                return Ref(KINDS[tree.role], tree.reference)
            case sympy.Rational():
                return Literal(Fraction(int(tree.p), int(tree.q)))
            case Call():
                return _call(tree, go)
            case sympy.Add(args=(a, sympy.Mul(args=(minus, b)))) if minus == -1:
                return Op(Fn.SUB, (go(a), go(b)))
            case sympy.Add(args=(a, b)):
                return Op(Fn.ADD, (go(a), go(b)))
            case sympy.Mul(args=(minus, b)) if minus == -1:
                return Op(Fn.NEG, (go(b),))
            case sympy.Mul(args=(a, sympy.Pow(args=(b, exponent)))) if exponent == -1:
                return Op(Fn.DIV, (go(a), go(b)))
            case sympy.Mul(args=(a, b)):
                return Op(Fn.MUL, (go(a), go(b)))
            case sympy.Pow(args=(base, exponent)):
                return _power(go(base), go(exponent))
            case _:
                raise SpecError(
                    f"'{tree}' ({type(tree).__name__}) is not in the language",
                    location,
                    "use + - * / ** abs and the functions of optloom.spec",
                )

    return go(tree)


def _power(base: Expression, exponent: Expression) -> Expression:
    match exponent:
        case Literal(value) if value == 2:
            return Op(Fn.SQUARE, (base,))
        case Ref(Kind.STEP):
            return Op(Fn.POWER, (base, exponent))
        case _:
            return Op(Fn.POW, (base, exponent))


def _call(call: Call, go: object) -> Expression:
    arguments: tuple[Expression, ...] = tuple(go(argument) for argument in call.args)  # type: ignore[operator]
    name: str = call.function
    settings = call.settings
    if name == "choose":
        return Choose(settings["guard"], *arguments)
    if name == "largest":
        return Reduce(arguments[0], "axis", settings["axis"], "largest")
    if name in ("total", "mean", "norm", "length"):
        over: nodes.Scope = "axis" if "axis" in settings else settings["over"]
        axis = settings.get("axis", 0)
        size = Length(arguments[0], over, axis)
        if name == "length":
            return size
        if name == "norm":
            return Op(Fn.SQRT, (Reduce(Op(Fn.SQUARE, arguments), over, axis),))
        sum_ = Reduce(arguments[0], over, axis)
        return sum_ if name == "total" else Op(Fn.DIV, (sum_, size))
    if name == "stochastically_rounded":
        value, step = arguments
        return Op(Fn.STOCHASTICALLY_ROUNDED, (value, Op(Fn.ROUNDING_KEY, (step,))))
    return Op(FUNCTIONS[name], arguments)
