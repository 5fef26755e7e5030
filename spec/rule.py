"""Rules, stages, and their composition.

A rule's `step` is run by an interpreter: the tracer (SymPy) for the compiler, the oracle (mpmath) for the suite.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from .declarations import Declaration, Hyper, Input, Option, Peer, Slot, Value
from .errors import Location, SpecError, author_location
from .guards import Flag, Given, Guard

D = TypeVar("D", bound=Declaration)


@dataclass(frozen=True, slots=True)
class Every:
    """The calls whose number, counted from 1, is a multiple of the hyperparameter `hyper`: the predicate `name`."""

    name: str
    hyper: str


@dataclass(frozen=True, slots=True)
class AllFinite:
    """The calls in which every element of every gradient is finite, as it was given: the predicate `name`. In others
    nothing changes but the number of them, which targets keep as `skipped`. Only the outermost stage may have it."""

    name: str


class Interpreter(Protocol):
    """Gives the declarations and functions of a rule their meaning while `step` runs."""

    def hyper(self, hyper: Hyper) -> Value: ...
    def load(self, slot: Slot) -> Value: ...
    def store(self, slot: Slot, value: Value | float) -> None: ...
    def input(self, source: Input) -> Value: ...
    def read(self, name: str) -> Value:
        """The named intermediate, or a hyperparameter of another layer."""
        ...

    def let(self, name: str, value: Value | float) -> None: ...
    def branch(self, guard: Guard, chosen: Callable[[], Value], other: Callable[[], Value]) -> Value: ...
    def enter(self, guard: Guard) -> None: ...
    def leave(self) -> None: ...
    def region(self, predicate: Every | AllFinite) -> None:
        """From here on, statements run only in calls for which `predicate` holds."""
        ...

    def hand_over(self, name: str, guard: Guard, new: Value, before: Value) -> Value:
        """What the next layer sees as `name`: `new` under `guard`, else `before`."""
        ...

    def named_result(self, value: Value) -> Value:
        """The new parameter that a layer returned, as a statement of its own."""
        ...


class Layer:
    """A rule or a stage while it runs: its attributes are the interpreter's values."""

    interpreter: Interpreter
    _next: Layer | None
    _is_run: bool

    def __init__(self, interpreter: Interpreter, following: Layer | None) -> None:
        object.__setattr__(self, "interpreter", interpreter)
        object.__setattr__(self, "_next", following)
        object.__setattr__(self, "_is_run", False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.interpreter.read(name)

    def __setattr__(self, name: str, value: Value | float) -> None:
        declared = getattr(type(self), name, None)
        if isinstance(declared, Slot):
            declared.__set__(self, value)
        elif isinstance(declared, Declaration):
            raise SpecError(f"'{name}' is declared and cannot be assigned", author_location(), "use another name")
        else:
            self.interpreter.let(name, value)

    def branch(self, guard: Guard, chosen: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """The value of `chosen()` where `guard` holds, else of `other()`; only that one runs, statements and all."""
        return self.interpreter.branch(guard, chosen, other)

    def step(self, w: Value, g: Value, t: Value) -> Value:
        """The new parameter. Slots and intermediates are assigned on the way."""
        raise SpecError(
            f"{type(self).__name__} has no step", location_of(type(self)), "write `def step(self, w, g, t): ...`"
        )

    def inner(self, w: Value, g: Value, t: Value) -> Value:
        """The new parameter by the layers inside this one."""
        if self._next is None:
            raise SpecError("self.inner is called, but nothing is wrapped", author_location(), "set `wraps = SomeRule`")
        wrapped = self._next
        if wrapped._is_run:
            message = f"{type(self).__name__} runs {type(wrapped).__name__}, which it wraps, twice in a step"
            raise SpecError(
                message, author_location(), "call self.inner once, and name what it returns: self.new = ..."
            )
        return wrapped._run(w, g, t)

    def _run(self, w: Value, g: Value, t: Value) -> Value:
        object.__setattr__(self, "_is_run", True)
        result = self.step(w, g, t)
        code = type(self).step.__code__
        where = Location(code.co_filename, code.co_firstlineno)
        if result is None:
            raise SpecError(f"step of {type(self).__name__} returns nothing", where, "return the new w")
        if self._next is not None and not self._next._is_run:
            message = f"{type(self).__name__} wraps {type(self._next).__name__}, but does not run it"
            raise SpecError(message, where, "call self.inner(w, g, t), or leave `wraps` out")
        return result


class Rule(Layer):
    """The mathematics of one optimizer. `wraps` names the rule that `self.inner` runs, if any."""

    wraps: ClassVar[type[Rule] | None] = None
    peers: tuple[Peer, ...] = ()
    stage_defaults: ClassVar[dict[str, float]] = {}


class Stage(Layer):
    """What surrounds a rule in a step. It is on when `when` is: a hyperparameter that is given, an option that is set.

    `every_call` runs in each call and replaces nothing; `step` runs in the calls that `region` selects (all, if it is
    None), as does everything inside it, and hands parameter and gradient on by `self.inner`.
    """

    name: ClassVar[str] = ""
    """What it is called where stages are chosen; its class's name if empty. Of those with one name at most one may be
    on."""
    when: ClassVar[str]
    is_of_optimizer: ClassVar[bool] = False
    """Whether its numbers are the whole optimizer's: groups of parameters may not differ in them."""
    reads_result: ClassVar[bool] = False
    """Whether it reads the parameter that the layers inside it return, which is then a value with a name."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters of the rule that the stage reads; around a rule without them it does not exist."""
    region: ClassVar[Every | AllFinite | None] = None

    def every_call(self, w: Value, g: Value) -> None:
        """Statements that run in every call, before the region."""

    @classmethod
    def called(cls) -> str:
        """Its name where stages are chosen."""
        return cls.name or cls.__name__.lower()

    @classmethod
    def guard(cls) -> Guard:
        """When it is on."""
        return Flag(cls.when) if isinstance(getattr(cls, cls.when), Option) else Given(cls.when)

    def _run(self, w: Value, g: Value, t: Value) -> Value:
        guard = self.guard()
        engine = self.interpreter
        engine.enter(guard)
        self.every_call(w, g)
        if self.region:
            engine.region(self.region)
        object.__setattr__(self, "_outer", (w, g))
        result = self.step(w, g, t)
        engine.leave()
        return engine.hand_over("w", guard, result, self._inner_result)

    def inner(self, w: Value, g: Value, t: Value) -> Value:
        if self._next is None:
            raise SpecError("a stage runs around a rule, not alone", author_location())
        guard, engine = self.guard(), self.interpreter
        outer_w, outer_g = self._outer
        g = engine.hand_over("g", guard, g, outer_g)  # first: a new w must not be what g was made with
        w = engine.hand_over("w", guard, w, outer_w)
        engine.leave()
        result = self._next._run(w, g, t)
        if self.reads_result:
            result = engine.named_result(result)
        object.__setattr__(self, "_inner_result", result)
        engine.enter(guard)
        return result


class Composition:
    """A rule with its stages around it: the declarations of all, and one run of the whole step."""

    def __init__(self, rule: type[Rule], stages: tuple[type[Stage], ...] = ()) -> None:
        for each in _wrapped(rule):
            _check_bases(each)
        own = {declared.name for layer in _wrapped(rule) for declared in declarations_of(layer)}
        # A rule that declares a stage's hyperparameter itself takes the stage's place.
        self.rule = rule
        self.stages = tuple(stage for stage in stages if stage.when not in own and own.issuperset(stage.needs))
        self.layers: tuple[type[Layer], ...] = (*self.stages, *_wrapped(rule))
        self.declarations: dict[str, Declaration] = {}
        for layer in reversed(self.layers):
            for declared in declarations_of(layer):
                known = self.declarations.get(declared.name)
                if known is not None and known is not declared:
                    raise SpecError(
                        f"'{declared.name}' is declared by two layers of {rule.__name__}",
                        declared.location,
                        f"the other is at {known.location}; rename one",
                    )
                self.declarations[declared.name] = declared

    def run(self, interpreter: Interpreter, w: Value, g: Value, t: Value) -> Value:
        """One step: the new parameter; slots and intermediates go to the interpreter."""
        chain: Layer | None = None
        for layer in reversed(self.layers):
            chain = layer(interpreter, chain)
        assert chain is not None
        return chain._run(w, g, t)

    def of_kind(self, kind: type[D]) -> tuple[D, ...]:
        return tuple(declared for declared in self.declarations.values() if isinstance(declared, kind))

    @property
    def hypers(self) -> tuple[Hyper, ...]:
        return self.of_kind(Hyper)

    def default(self, hyper: Hyper) -> float | None:
        """The default of `hyper` in this composition: the rule may set a stage's."""
        return self.rule.stage_defaults.get(hyper.name, hyper.default)


def declarations_of(layer: type[Layer]) -> Iterator[Declaration]:
    """The declarations of a rule or stage, base classes first, in the order of the text."""
    seen: dict[str, Declaration] = {}
    for base in reversed(layer.__mro__):
        seen.update({name: value for name, value in vars(base).items() if isinstance(value, Declaration)})
    yield from seen.values()


def check_stage_defaults(rule: type[Rule], stages: tuple[type[Stage], ...]) -> None:
    """Raises SpecError, at the rule, for a default of no stage's hyperparameter, or out of its bounds.

    `stages`: those offered, some of which may not fit around the rule.
    """
    around = Composition(rule, stages).stages
    declared = {d.name: d for stage in around for d in declarations_of(stage) if isinstance(d, Hyper)}
    for name, default in rule.stage_defaults.items():
        if name not in declared:
            known = ", ".join(sorted(declared))
            message = f"stage_defaults names '{name}', which no stage around {rule.__name__} declares"
            raise SpecError(message, location_of(rule), f"known: {known}")
        if broken := declared[name].broken_bound(default):
            message = f"the default {default} of '{name}' breaks its bound: {broken}"
            raise SpecError(message, location_of(rule), "change stage_defaults")


def check_dialects(rule: type[Rule], stages: tuple[type[Stage], ...]) -> None:
    """Raises SpecError, at the rule, for a peer's dialect that names no option, or a value that it does not have."""
    declared = {option.name: option for option in Composition(rule, stages).of_kind(Option)}
    for peer in rule.peers:
        for name, value in peer.dialect.items():
            if name not in declared:
                message = f"the dialect of {peer.path} names '{name}', which is no option of {rule.__name__}"
                raise SpecError(message, location_of(rule), f"known: {', '.join(sorted(declared))}")
            legal = declared[name].choices or (True, False)
            if value not in legal:
                message = f"the dialect of {peer.path} sets '{name}' to {value!r}"
                raise SpecError(message, location_of(rule), f"it is one of {', '.join(map(repr, legal))}")


def _wrapped(rule: type[Rule]) -> tuple[type[Rule], ...]:
    """`rule`, the rule that it wraps, what that wraps, and so on. Raises SpecError where one wraps what is no rule."""
    chain = [rule]
    while (inner := chain[-1].wraps) is not None:
        outer = chain[-1].__name__
        if not (isinstance(inner, type) and issubclass(inner, Rule)):
            raise SpecError(
                f"{outer} wraps {inner!r}, which is no rule", location_of(chain[-1]), "set `wraps = SomeRule`"
            )
        if inner in chain:
            message = f"{outer} wraps {inner.__name__}, which wraps it"
            raise SpecError(message, location_of(chain[-1]), "wrap a rule that wraps neither")
        chain.append(inner)
    return tuple(chain)


def _check_bases(rule: type[Rule]) -> None:
    """Raises SpecError for a modifier (a base whose step goes on to the next one's) that has no rule to modify."""
    steps = [base for base in rule.__mro__ if "step" in vars(base) and base is not Layer]
    is_rule = ["super" not in vars(base)["step"].__code__.co_names for base in steps]
    for index, base in enumerate(steps):
        if is_rule[index]:
            continue
        if any(is_rule[:index]) and base in rule.__bases__:
            message = f"{base.__name__} comes after a rule in the bases of {rule.__name__}, and so modifies nothing"
            raise SpecError(message, location_of(rule), f"name {base.__name__} first")
        if not any(is_rule[index:]):
            message = f"{base.__name__} modifies a rule, and none comes after it in the bases of {rule.__name__}"
            raise SpecError(message, location_of(rule), f"write class {rule.__name__}({base.__name__}, SomeRule)")


def location_of(rule: type[Layer]) -> Location | None:
    try:
        return Location(inspect.getsourcefile(rule) or "?", inspect.getsourcelines(rule)[1])
    except (OSError, TypeError):
        return None
