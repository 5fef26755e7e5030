"""Tracing: one run of a rule's `step` on SymPy symbols gives its program, as written.

Every value is wrapped, so that Python cannot ask for its truth and SymPy cannot rewrite it: nodes are built with
`evaluate=False`, argument order is kept, literals are exact decimals, and functions are uninterpreted.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, cast

import sympy

from .declarations import Hyper, Input, Option, OptionView, Slot, Takes, Value
from .errors import Location, SpecError, author_location
from .guards import ALWAYS, Given, Guard, HasAxes, atoms, conjunction, describe, implies, negation
from .rule import AllFinite, Composition, Every, location_of


class Kind(StrEnum):
    """What a symbol of a traced expression stands for."""

    HYPER = "hyper"
    INPUT = "input"
    SLOT_BEFORE = "slot before"
    SLOT = "slot"
    NAMED = "named"
    PARAMETER = "parameter"
    GRADIENT = "gradient"
    STEP = "step"


class Variable(sympy.Symbol):  # type: ignore[misc]
    """A SymPy symbol that knows what it stands for."""

    role: Kind
    reference: str

    def __new__(cls, reference: str, kind: Kind) -> Variable:
        shown = f"{reference}_old" if kind is Kind.SLOT_BEFORE else reference
        symbol = cast(Variable, super().__new__(cls, shown, real=True))
        symbol.role, symbol.reference = kind, reference
        return symbol


class Call(sympy.Function):  # type: ignore[misc]
    """A function of the language, uninterpreted. Settings (a guard, a scope, an axis) are kept beside it."""

    settings: Mapping[str, Any] = {}

    @classmethod
    def of(cls, name: str, arguments: tuple[sympy.Expr, ...], settings: Mapping[str, Any]) -> sympy.Expr:
        shown = name + "".join(f"_{value}" for value in settings.values() if isinstance(value, (str, int)))
        made = type(shown, (Call,), {"settings": dict(settings), "function": name})
        return made(*arguments, evaluate=False)


@dataclass(frozen=True)
class Statement:
    """One assignment of the rule. `rebinds` marks what a stage hands on in place of the parameter or gradient."""

    name: str
    value: sympy.Expr
    guard: Guard
    location: Location | None
    is_store: bool = False
    rebinds: str = ""


@dataclass
class TracedRegion:
    """Statements that run in the same calls: those in which `predicate` holds, where `guard` says it applies."""

    predicate: Every | None
    guard: Guard
    statements: list[Statement] = field(default_factory=list)


@dataclass(frozen=True)
class TracedGate:
    """Where `guard` says it applies, calls in which `predicate` does not hold change nothing but its counter."""

    predicate: AllFinite
    guard: Guard


@dataclass
class Trace:
    """The program of a composition, before it is frozen."""

    composition: Composition
    regions: list[TracedRegion]
    gate: TracedGate | None = None


class Traced:
    """A value of the traced rule: a SymPy expression, under the guard that it needs."""

    def __init__(
        self, tracer: Tracer, expression: sympy.Expr, needs: Guard = ALWAYS, given: Guard | None = None
    ) -> None:
        self.tracer, self.expression, self.needs, self._given = tracer, expression, needs, given
        self.location = author_location()

    def __str__(self) -> str:
        """The expression, in the names that the rule's author knows."""
        return re.sub(r"\w+", lambda name: self.tracer.shown.get(name[0], name[0]), str(self.expression))

    @property
    def given(self) -> Guard:
        if self._given is None:
            raise SpecError(f"'{self}' is no optional hyperparameter", author_location(), "give it default=None")
        return self._given

    def __rule_function__(self, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Traced:
        return self.tracer.call(name, arguments, settings)

    def _binary(self, node: Any, a: Any, b: Any) -> Traced:
        return self.tracer.combine(lambda x, y: node(x, y, evaluate=False), a, b)

    def _quotient(self, a: Any, b: Any) -> Traced:
        return self.tracer.combine(lambda x, y: sympy.Mul(x, sympy.Pow(y, -1, evaluate=False), evaluate=False), a, b)

    def _difference(self, a: Any, b: Any) -> Traced:
        return self.tracer.combine(lambda x, y: sympy.Add(x, sympy.Mul(-1, y, evaluate=False), evaluate=False), a, b)

    def __add__(self, other: Any) -> Traced:
        return self._binary(sympy.Add, self, other)

    def __radd__(self, other: Any) -> Traced:
        return self._binary(sympy.Add, other, self)

    def __sub__(self, other: Any) -> Traced:
        return self._difference(self, other)

    def __rsub__(self, other: Any) -> Traced:
        return self._difference(other, self)

    def __mul__(self, other: Any) -> Traced:
        return self._binary(sympy.Mul, self, other)

    def __rmul__(self, other: Any) -> Traced:
        return self._binary(sympy.Mul, other, self)

    def __truediv__(self, other: Any) -> Traced:
        return self._quotient(self, other)

    def __rtruediv__(self, other: Any) -> Traced:
        return self._quotient(other, self)

    def __pow__(self, other: Any) -> Traced:
        return self._binary(sympy.Pow, self, other)

    def __rpow__(self, other: Any) -> Traced:
        return self._binary(sympy.Pow, other, self)

    def __neg__(self) -> Traced:
        return self.tracer.combine(lambda x: sympy.Mul(-1, x, evaluate=False), self)

    def __abs__(self) -> Traced:
        return self.tracer.call("abs", (self,), {})

    def __lt__(self, other: Any) -> Traced:
        return self.tracer.call("less", (self, other), {})

    def __le__(self, other: Any) -> Traced:
        return self.tracer.call("less_equal", (self, other), {})

    def __gt__(self, other: Any) -> Traced:
        return self.tracer.call("less", (other, self), {})

    def __ge__(self, other: Any) -> Traced:
        return self.tracer.call("less_equal", (other, self), {})

    def _refuse(self, *_: object) -> Any:
        raise SpecError(
            f"'{self}' has no truth value, and `==` on it would compare text, not numbers",
            author_location(),
            "write where(condition, a, b), equal(a, b), or `.given` for an optional hyperparameter",
        )

    __bool__ = __eq__ = __ne__ = _refuse
    __hash__ = None  # type: ignore[assignment]

    def __float__(self) -> float:
        raise TypeError(f"'{self}' is no float while the rule is traced")

    def _sympy_(self) -> sympy.Expr:
        raise TypeError(f"SymPy's own functions do not take '{self}'")


ARITY = {
    "sqrt": 1, "maximum": 2, "minimum": 2, "sign": 1, "exp": 1, "log": 1, "tanh": 1, "abs": 1, "equal": 2, "less": 2,
    "less_equal": 2, "both": 2, "remainder": 2, "where": 3, "choose": 2, "total": 1, "mean": 1, "norm": 1, "matmul": 2,
    "transpose": 1, "largest": 1, "length": 1, "stochastically_rounded": 2, "bfloat16": 1,
}  # fmt: skip


AXES_OF_SLOTS = {"rows": 2, "columns": 2}
"""How many axes a parameter needs for a slot of a shape."""


def _axes_read(name: str, settings: Mapping[str, Any]) -> Guard:
    """What a function of the language asks of a parameter's axes."""
    axis = settings.get("axis") or 0
    count = 2 if axis or name in ("matmul", "transpose") else 0
    return HasAxes(count) if count else ALWAYS


class Tracer:
    """The interpreter that records a rule's statements."""

    def __init__(self, composition: Composition) -> None:
        self.composition = composition
        self.regions = [TracedRegion(None, ALWAYS)]
        self.gate: TracedGate | None = None
        self._guards: list[Guard] = []
        self._waiting: list[Statement] = []
        self._stored: set[str] = set()
        self._ever_stored: set[str] = set()
        self._named: dict[str, Traced] = {}
        self._versions: dict[str, int] = {}
        self.shown: dict[str, str] = {}
        self.used: set[str] = set()

    @property
    def guard(self) -> Guard:
        return conjunction(*self._guards)

    def branch(self, guard: Guard, chosen: Callable[[], Value], other: Callable[[], Value]) -> Value:
        values = []
        for part, build in ((guard, chosen), (negation(guard), other)):
            self.enter(part)
            values.append(build())
            self.leave()
        return cast(Value, self.call("choose", tuple(values), {"guard": guard}))

    def enter(self, guard: Guard) -> None:
        self._guards.append(guard)

    def leave(self) -> None:
        self._guards.pop()

    def region(self, predicate: Every | AllFinite) -> None:
        if isinstance(predicate, AllFinite):
            if self.gate or self.regions != [TracedRegion(None, ALWAYS)]:
                message = f"'{predicate.name}' decides about whole calls, but something comes before it"
                raise SpecError(message, location_of(self.composition.layers[0]), "make its stage the outermost")
            self.gate = TracedGate(predicate, self.guard)
            return
        self._waiting += self._taken_from_the_end()
        self.regions.append(TracedRegion(predicate, self.guard))
        self._stored.clear()

    def _taken_from_the_end(self) -> list[Statement]:
        """Takes from the region that ends the values that none of its stores needs, nor changes what they read."""
        ending = self.regions[-1]
        stores = [statement for statement in ending.statements if statement.is_store]
        needed, stored = list(stores), {store.name for store in stores}
        for statement in reversed(ending.statements):
            read = {name for other in needed for name in _read(other)}
            if not statement.is_store and (statement.name in read or stored & _read(statement)):
                needed.append(statement)
        taken = [statement for statement in ending.statements if statement not in needed]
        ending.statements = [statement for statement in ending.statements if statement in needed]
        return taken

    def variable(self, name: str, kind: Kind, needs: Guard = ALWAYS, given: Guard | None = None) -> Traced:
        return Traced(self, Variable(name, kind), needs, given)

    def hyper(self, hyper: Hyper) -> Value:
        given = Given(hyper.name) if hyper.optional else None
        # An optional number that is switched off by a value still is a number; one that is off by None is not.
        needs = Given(hyper.name) if self.composition.default(hyper) is None or hyper.default is None else ALWAYS
        return cast(Value, self.variable(hyper.name, Kind.HYPER, needs, given))

    def input(self, source: Input) -> Value:
        return cast(Value, self.variable(source.name, Kind.INPUT))

    def load(self, slot: Slot) -> Value:
        kind = Kind.SLOT if slot.name in self._stored else Kind.SLOT_BEFORE
        return cast(Value, self.variable(slot.name, kind, _needs_of(slot)))

    def store(self, slot: Slot, value: Value | float) -> None:
        location = author_location()
        if slot.name in self._stored:
            raise SpecError(f"slot '{slot.name}' is assigned twice", location, "name the first value: self.other = ...")
        guard = conjunction(self.guard, slot.when)
        self._check_axes_of(slot, guard)
        self._append(Statement(slot.name, self.checked(value, guard, location), guard, location, is_store=True))
        self._stored.add(slot.name)
        self._ever_stored.add(slot.name)

    def let(self, name: str, value: Value | float) -> None:
        location = author_location()
        if name in self.composition.declarations or name in ("w", "g", "t"):
            raise SpecError(f"'{name}' is taken by a declaration", location, "use another name")
        unique = self._unique(name)
        self._append(Statement(unique, self.checked(value, self.guard, location), self.guard, location))
        self._named[name] = self.variable(unique, Kind.NAMED, self.guard)

    def read(self, name: str) -> Value:
        if name in self._named:
            return cast(Value, self._named[name])
        declared = self.composition.declarations.get(name)
        if isinstance(declared, Hyper):
            return self.hyper(declared)
        if isinstance(declared, Option):
            return cast(Value, declared.__get__(self, type(self)))  # type: ignore[call-overload]
        known = sorted({*self._named, *self.composition.declarations})
        near = difflib.get_close_matches(name, known)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        raise SpecError(f"unknown name '{name}'", author_location(), hint)

    def hand_over(self, name: str, guard: Guard, new: Value, before: Value) -> Value:
        if new is before:
            return new
        changed, last = self.wrap(new), self.wrap(before)
        location = changed.location
        unique = self._unique(name)
        self.shown[unique] = name
        inside = conjunction(self.guard, guard)
        guard, changed = self._where_it_changes(guard, changed, last)
        value = self.call("choose", (changed, last), {"guard": guard}) if guard != ALWAYS else changed
        expression = self.checked(cast(Value, value), inside, location)
        self._append(Statement(unique, expression, ALWAYS, location, rebinds=name))
        return cast(Value, self.variable(unique, Kind.NAMED))

    def named_result(self, value: Value) -> Value:
        if not isinstance(value, Traced) or isinstance(value.expression, Variable):
            return value
        result = value
        unique = self._unique("w")
        self.shown[unique] = "w"
        expression = self.checked(value, self.guard, result.location)
        self._append(Statement(unique, expression, ALWAYS, result.location, rebinds="w"))
        return cast(Value, self.variable(unique, Kind.NAMED))

    def _where_it_changes(self, guard: Guard, new: Traced, before: Traced) -> tuple[Guard, Traced]:
        """`guard` and `new`, where `new` is itself a choice of which one branch is `before`: the other, and when."""
        match new.expression:
            case Call(function="choose", args=(a, b), settings=settings) if before.expression in (a, b):
                inner = settings["guard"] if b == before.expression else negation(settings["guard"])
                both = conjunction(guard, inner)
                return both, Traced(self, a if b == before.expression else b, conjunction(new.needs, both))
        return guard, new

    def _unique(self, name: str) -> str:
        self._versions[name] = count = self._versions.get(name, 0) + 1
        return name if count == 1 and name not in ("w", "g") else f"{name}_{count}"

    def _append(self, statement: Statement) -> None:
        """Values of earlier regions that wait for a reader come before the first."""
        if not _read(statement).isdisjoint(waiting.name for waiting in self._waiting):
            self.regions[-1].statements += self._waiting
            self._waiting = []
        self.regions[-1].statements.append(statement)

    def wrap(self, value: Any) -> Traced:
        if isinstance(value, Traced):
            return value
        if isinstance(value, OptionView):
            bool(value)
        if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
            raise SpecError(
                f"{value!r} is not a real number", author_location(), "rules compute with finite real numbers"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
            raise SpecError(
                f"{value!r} is no value of the language",
                author_location(),
                "use numbers, slots, hyperparameters and optloom.spec's functions",
            )
        exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
        return Traced(self, sympy.Rational(exact.numerator, exact.denominator))

    def combine(self, build: Any, *values: Any) -> Traced:
        wrapped = [self.wrap(value) for value in values]
        return Traced(self, build(*(value.expression for value in wrapped)), conjunction(*(v.needs for v in wrapped)))

    def call(self, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Traced:
        if name == "old":
            return self._old(arguments[0])
        wrapped = [self.wrap(argument) for argument in arguments]
        needs = conjunction(*(value.needs for value in wrapped))
        if name == "choose":
            needs = self._needs_of_choice(settings["guard"], *wrapped)
        needs = conjunction(needs, _axes_read(name, settings))
        settings = {key: value for key, value in settings.items() if value is not None}
        return Traced(self, Call.of(name, tuple(value.expression for value in wrapped), settings), needs)

    def _needs_of_choice(self, guard: Guard, a: Traced, b: Traced) -> Guard:
        """What both branches need beyond what the choice itself grants them."""
        chosen, other = guard, negation(guard)
        left = ALWAYS if implies(self.granted(conjunction(self.guard, chosen)), a.needs) else a.needs
        right = ALWAYS if implies(self.granted(conjunction(self.guard, other)), b.needs) else b.needs
        return conjunction(left, right)

    def granted(self, guard: Guard) -> Guard:
        """What holds under `guard`: it, and the axes that the rule takes there."""
        takes = self.composition.of_kind(Takes)
        return conjunction(guard, *(each.axes for each in takes if implies(guard, each.when)))

    def _check_axes_of(self, slot: Slot, guard: Guard) -> None:
        needed = _axes_of_slot(slot)
        if not implies(self.granted(guard), needed):
            message = f"slot '{slot.name}' of {slot.shape} exists only for {describe(needed)}"
            raise SpecError(message, slot.location, "give it when=has_axes(2), or declare shapes = Takes(has_axes(2))")

    def _old(self, value: Any) -> Traced:
        symbol = value.expression if isinstance(value, Traced) else None
        if not isinstance(symbol, Variable) or symbol.role not in (Kind.SLOT, Kind.SLOT_BEFORE):
            raise SpecError("old() takes a slot", author_location(), "write old(self.m)")
        if symbol.role is Kind.SLOT_BEFORE:
            raise SpecError(
                f"old of slot '{symbol.reference}', which is not yet assigned", author_location(), "read it directly"
            )
        return self.variable(symbol.reference, Kind.SLOT_BEFORE, value.needs)

    def checked(self, value: Value | float, guard: Guard, location: Location | None) -> sympy.Expr:
        """The expression of `value`, if all that it reads exists under `guard`."""
        traced = self.wrap(value)
        if not implies(self.granted(guard), traced.needs):
            raise SpecError(
                f"'{traced}' reads what exists only under {describe(traced.needs)}",
                location,
                "read it inside where(<that guard>, ..., ...), or assign to a slot with that guard"
                + (", or declare shapes = Takes(<that guard>)" if _asks_for_axes(traced.needs) else ""),
            )
        if traced.expression.is_real is False:
            raise SpecError(f"'{traced}' is not a real number", location, "rules compute with real numbers")
        self.used |= {symbol.name for symbol in traced.expression.free_symbols}
        return traced.expression


def _read(statement: Statement) -> set[str]:
    return {symbol.reference for symbol in statement.value.free_symbols}


def _asks_for_axes(guard: Guard) -> bool:
    return any(isinstance(atom, HasAxes) for atom in atoms(guard))


def _axes_of_slot(slot: Slot) -> Guard:
    count = AXES_OF_SLOTS.get(slot.shape, 0)
    return HasAxes(count) if count else ALWAYS


def _needs_of(slot: Slot) -> Guard:
    """Under what a slot exists."""
    return conjunction(slot.when, _axes_of_slot(slot))


def trace(composition: Composition) -> Trace:
    """The program of `composition`. Raises SpecError, naming file and line, for a rule that is wrong."""
    tracer = Tracer(composition)
    w, g, t = (tracer.variable(name, kind) for name, kind in (
        ("w", Kind.PARAMETER), ("g", Kind.GRADIENT), ("t", Kind.STEP)))  # fmt: skip
    try:
        result = composition.run(tracer, cast(Value, w), cast(Value, g), cast(Value, t))
    except SpecError:
        raise
    except Exception as error:
        raise _located(error, composition) from error
    if not isinstance(result, Traced):
        where = location_of(composition.rule)
        raise SpecError(f"step of {composition.rule.__name__} returns {result!r}", where, "return the new w")
    expression = tracer.checked(cast(Value, result), ALWAYS, result.location)
    tracer._append(Statement("w", expression, ALWAYS, result.location, is_store=True))
    _check_complete(tracer)
    return Trace(composition, tracer.regions, tracer.gate)


HINTS: Mapping[type[Exception], str] = {
    NameError: "what the rule declares or names is read as self.<name>",
    TypeError: "values know + - * / ** abs, comparisons, and the functions of optloom.spec",
    AttributeError: "values know + - * / ** abs, comparisons, and the functions of optloom.spec",
}


def _located(error: Exception, composition: Composition) -> SpecError:
    """`error` at the innermost line of the rule, or of a rule that it builds on."""
    layers = {base for layer in composition.layers for base in layer.__mro__}
    files = {sys.modules[layer.__module__].__file__ for layer in layers if layer is not object}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    location = Location(own[-1].filename, own[-1].lineno or 0) if own else location_of(composition.rule)
    hint = next((hint for kind, hint in HINTS.items() if isinstance(error, kind)), "")
    return SpecError(f"{composition.rule.__name__}: {type(error).__name__}: {error}", location, hint)


def _check_complete(tracer: Tracer) -> None:
    for slot in tracer.composition.of_kind(Slot):
        if slot.name not in tracer._ever_stored and not isinstance(slot.init, str):
            raise SpecError(f"slot '{slot.name}' is never assigned", slot.location, "assign it in step, or remove it")
    for region in tracer.regions:
        for statement in region.statements:
            if not statement.is_store and not statement.rebinds and statement.name not in tracer.used:
                raise SpecError(f"'{statement.name}' is never used", statement.location, "use it or remove the line")
