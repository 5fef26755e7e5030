"""What a rule declares: hyperparameters, options, slots, inputs, the shapes that it takes, peers.

The declarations are descriptors. On a rule's class they are themselves; inside `step` they give the value that the
running interpreter has for them (a traced expression, or a number of the oracle).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, overload

from .errors import Location, SpecError, author_location
from .guards import Flag, Given, Guard, HasAxes, Is, atoms, conjunction

if TYPE_CHECKING:
    from .rule import Layer


class Value(Protocol):
    """What a rule computes with. Truth and comparison by `==` are refused; use `where`, `equal`, `.is_`, `.given`."""

    def __add__(self, other: Value | float) -> Value: ...
    def __radd__(self, other: float) -> Value: ...
    def __sub__(self, other: Value | float) -> Value: ...
    def __rsub__(self, other: float) -> Value: ...
    def __mul__(self, other: Value | float) -> Value: ...
    def __rmul__(self, other: float) -> Value: ...
    def __truediv__(self, other: Value | float) -> Value: ...
    def __rtruediv__(self, other: float) -> Value: ...
    def __pow__(self, other: Value | float) -> Value: ...
    def __rpow__(self, other: float) -> Value: ...
    def __neg__(self) -> Value: ...
    def __abs__(self) -> Value: ...
    def __lt__(self, other: Value | float) -> Value: ...
    def __le__(self, other: Value | float) -> Value: ...
    def __gt__(self, other: Value | float) -> Value: ...
    def __ge__(self, other: Value | float) -> Value: ...
    @property
    def given(self) -> Guard: ...


class Declaration:
    """Knows its own name and the line that declares it."""

    name: str
    location: Location | None

    def __init__(self) -> None:
        self.name = ""
        self.location = author_location()

    def __set_name__(self, owner: type, name: str) -> None:
        if not self.name:
            self.name = name

    def __bool__(self) -> bool:
        raise SpecError("a declaration has no truth value", author_location(), "as a guard, write .given or .is_(...)")


@dataclass(frozen=True)
class Deferred:
    """A guard of a class body, where the declarations do not know their names yet."""

    resolve: Callable[[], Guard]


class Hyper(Declaration):
    """A number that the user sets.

    `default` None makes it optional; `off` names the number that means the same as None (momentum 0.0).
    Bounds are inclusive (`ge`, `le`) or strict (`gt`, `lt`). `integer` hyperparameters are structural: never traced.
    `convention`: only some peer has it; it is off by default, and there only where the target's own peer names it.
    """

    def __init__(
        self,
        default: float | None,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
        off: float | None = None,
        integer: bool = False,
        convention: bool = False,
        doc: str = "",
    ) -> None:
        super().__init__()
        self.default, self.off, self.integer, self.convention, self.doc = default, off, integer, convention, doc
        if convention and default != off:
            raise SpecError(
                f"a convention that is on by default: {default}", self.location, "give default=None, or the same as off"
            )
        self.bounds: dict[str, float] = {
            sign: bound for sign, bound in ((">=", ge), (">", gt), ("<=", le), ("<", lt)) if bound is not None
        }
        if default is not None and (isinstance(default, (bool, str)) or not isinstance(default, (int, float))):
            raise SpecError(f"the default {default!r} is no number", self.location, "give a number, or None")
        broken = default is not None and self.broken_bound(default)
        if broken:
            raise SpecError(
                f"the default {default} breaks its own bound: {broken}", self.location, "change one of them"
            )

    @property
    def optional(self) -> bool:
        return self.default is None or self.off is not None

    @property
    def given(self) -> Deferred:
        return Deferred(lambda: Given(self.name))

    def broken_bound(self, value: float) -> str:
        """The bound that `value` breaks, as text; empty when it is legal."""
        if not math.isfinite(value):
            return "it must be finite"
        if self.integer and value != int(value):
            return "it must be an integer"
        holds = {
            ">=": lambda bound: value >= bound,
            ">": lambda bound: value > bound,
            "<=": lambda bound: value <= bound,
            "<": lambda bound: value < bound,
        }
        return next(
            (f"it must be {sign} {bound:g}" for sign, bound in self.bounds.items() if not holds[sign](bound)), ""
        )

    @overload
    def __get__(self, layer: None, owner: type) -> Hyper: ...
    @overload
    def __get__(self, layer: Layer, owner: type) -> Value: ...
    def __get__(self, layer: Layer | None, owner: type) -> Any:
        return self if layer is None else layer.interpreter.hyper(self)


class OptionView:
    """An option inside `step`: a guard, not a truth value."""

    def __init__(self, option: Option) -> None:
        self.option, self.name, self.guard = option, option.name, Flag(option.name)

    def is_(self, value: str) -> Guard:
        self.option.check(value)
        return Is(self.name, value)

    def _refuse(self, *_: object) -> Any:
        raise SpecError(
            f"the option '{self.name}' has no truth value and takes no part in arithmetic or comparison",
            author_location(),
            f"write where(self.{self.name}, a, b), or self.{self.name}.is_('value') as a guard",
        )

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __abs__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class Option(Declaration):
    """A structural choice: a boolean, or one of several named forms (`choices`).

    `convention`: it only says which of several peers' formulas is meant. It is bound when code is generated, except
    where the target's own peer has another value than the default.
    """

    def __init__(
        self, default: bool | str, *, choices: tuple[str, ...] = (), convention: bool = False, doc: str = ""
    ) -> None:
        super().__init__()
        if isinstance(default, str) and default not in choices:
            raise SpecError(f"the default '{default}' is none of the choices {choices}", self.location, "add it")
        self.default, self.choices, self.convention, self.doc = default, choices, convention, doc

    @overload
    def __get__(self, layer: None, owner: type) -> Option: ...
    @overload
    def __get__(self, layer: Layer, owner: type) -> OptionView: ...
    def __get__(self, layer: Layer | None, owner: type) -> Any:
        return self if layer is None else OptionView(self)

    def is_(self, value: str) -> Deferred:
        self.check(value)
        return Deferred(lambda: Is(self.name, value))

    def check(self, value: str) -> None:
        """Raises SpecError unless `value` is one of the choices."""
        if value not in self.choices:
            known = ", ".join(map(repr, self.choices)) or "True or False; use it as a guard itself"
            raise SpecError(
                f"an option is compared with {value!r}, none of its choices", author_location(), f"it is {known}"
            )


Condition: TypeAlias = Guard | Deferred | Option
"""A guard, as a class body writes it."""
When: TypeAlias = Condition | tuple[Condition, ...] | None


def _checked_when(when: When, location: Location | None) -> tuple[Condition, ...]:
    conditions = () if when is None else when if isinstance(when, tuple) else (when,)
    for each in conditions:
        if not isinstance(each, Deferred | Option | Guard):
            raise SpecError(f"{each!r} is no guard", location, "write when=option, option.is_(...), hyper.given")
    return conditions


def _resolved(condition: Condition) -> Guard:
    match condition:
        case Deferred(resolve):
            return resolve()
        case Option(name=name):
            return Flag(name)
        case guard:
            return guard


class Takes(Declaration):
    """Which parameters a rule can be used on: where `when` holds, those with the axes that the guard `axes` asks for.

    The rule may then read along these axes without a guard, and optimizers refuse other parameters when they are made.
    """

    def __init__(self, axes: Guard, *, when: When = None) -> None:
        super().__init__()
        if not isinstance(axes, Guard) or not all(isinstance(atom, HasAxes) for atom in atoms(axes)):
            raise SpecError(f"{axes!r} does not say how many axes", self.location, "write Takes(has_axes(2))")
        self.axes = axes
        self._when = _checked_when(when, self.location)

    @property
    def when(self) -> Guard:
        return conjunction(*map(_resolved, self._when))


Shape = Literal["parameter", "rows", "columns", "tensor", "scalar"]


class Slot(Declaration):
    """State kept per parameter, of the parameter's shape unless said otherwise.

    `init`: a number, a hyperparameter, or "parameter" (a copy of it). `when`: the guards under which the slot exists.
    `shape`: "rows" keeps all axes but the last, "columns" all but the last but one (each kept with length 1, so that
    they broadcast), "tensor" is one number for each parameter, "scalar" one for the whole optimizer.
    `for_evaluation`: it holds what the parameter is to be when the model is evaluated.
    """

    def __init__(
        self,
        doc: str,
        *,
        init: float | Hyper | Literal["parameter"] = 0,
        when: When = None,
        shape: Shape = "parameter",
        for_evaluation: bool = False,
    ) -> None:
        super().__init__()
        self.doc, self.init, self.shape, self.for_evaluation = doc, init, shape, for_evaluation
        self._when = _checked_when(when, self.location)

    @property
    def when(self) -> Guard:
        return conjunction(*map(_resolved, self._when))

    @overload
    def __get__(self, layer: None, owner: type) -> Slot: ...
    @overload
    def __get__(self, layer: Layer, owner: type) -> Value: ...
    def __get__(self, layer: Layer | None, owner: type) -> Any:
        return self if layer is None else layer.interpreter.load(self)

    def __set__(self, layer: Layer, value: Value | float) -> None:
        layer.interpreter.store(self, value)


class Input(Declaration):
    """A value handed to the step beside the gradient: the loss ("scalar"), or a tensor of the parameter's shape."""

    def __init__(self, doc: str, *, shape: Literal["scalar", "parameter"] = "scalar") -> None:
        super().__init__()
        self.doc, self.shape = doc, shape

    @overload
    def __get__(self, layer: None, owner: type) -> Input: ...
    @overload
    def __get__(self, layer: Layer, owner: type) -> Value: ...
    def __get__(self, layer: Layer | None, owner: type) -> Any:
        return self if layer is None else layer.interpreter.input(self)


@dataclass(frozen=True)
class Peer:
    """The hand-written optimizer that users would otherwise take.

    `path`: its import path. `arguments`: its positional arguments after the parameters, in order, by its own names.
    `names`: our hyperparameter's name -> the peer's. `slots`: our slot's name -> the peer's.
    `differs`: one sentence per difference in meaning, for the docstring of the generated class.
    `defaults`: the peer's defaults where they are not ours.
    `dialect`: the options under which the rule is this peer's, where they are not the defaults.
    `settings`: the peer's own arguments under which it is the rule, where those are not its defaults.
    `in_float32`: it computes numbers of a step in float32, whatever the parameters' dtype.
    `machine_epsilon`: our hyperparameters that it takes None for: the machine epsilon of the parameter's dtype.
    `otherwise`: what the peer computes otherwise under any options: for a hyperparameter or option of ours, or for the
    whole "step", in a clause. Where it says nothing parity is claimed, and tested.
    """

    path: str
    arguments: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    dialect: Mapping[str, bool | str] = field(default_factory=dict)
    settings: Mapping[str, bool | int] = field(default_factory=dict)
    in_float32: bool = False
    machine_epsilon: tuple[str, ...] = ()
    otherwise: Mapping[str, str] = field(default_factory=dict)

    @property
    def ecosystem(self) -> str:
        """The package that the peer is of."""
        return self.path.partition(".")[0]
