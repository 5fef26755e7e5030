"""The oracle: a rule's own `step`, run on exact numbers. No SymPy, and nothing of the compiler.

It takes a batch of calls at once, each from a state of its own: the first axis of every array is the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from optloom.spec.declarations import Hyper, Input, Option, Slot, Value
from optloom.spec.errors import SpecError, author_location
from optloom.spec.guards import Flag, Given, Guard, HasAxes, Is, Narrow, evaluate, negation
from optloom.spec.rule import AllFinite, Composition, Every, declarations_of

from .exact import ZERO, Arithmetic, Flags, Part, number, of_floats, of_numbers, precisely
from .formats import FORMATS, Wide
from .functions import call
from .protocol import Array, Slots, compute_dtype, numpy_dtype
from .value import Condition, Engine, Exact, Parts

Dtypes: TypeAlias = tuple[str, Mapping[str, str]]
"""That of parameters, and those that slots are kept in, by name."""


@dataclass(frozen=True)
class Configuration:
    """One optimizer: `hypers` and `options` have every name of the composition; `dtype` is the parameters'.

    `slot_dtype`: whether what the rule keeps of each element is in the parameters' dtype as well.
    """

    composition: Composition
    dtype: str
    hypers: Mapping[str, float | int | None]
    options: Mapping[str, bool | str]
    flushes: bool = False
    slot_dtype: Literal["compute", "parameter"] = "compute"

    def holds(self, guard: Guard, axes: int) -> bool:
        """The truth of `guard` for a parameter of `axes` axes."""

        def atom(part: Any) -> bool:
            match part:
                case Flag(option):
                    return self.options[option] is True
                case Is(option, value):
                    return self.options[option] == value
                case Given(hyper):
                    return self.is_given(hyper)
                case HasAxes(count):
                    return axes >= count
                case Narrow():
                    return self.dtype != compute_dtype(self.dtype)
            raise AssertionError(part)

        return evaluate(guard, atom)

    @cached_property
    def stages_on(self) -> Composition:
        """The rule and the stages that are on: what is off must leave no trace, nor any feature of its own."""
        on = tuple(stage for stage in self.composition.stages if self.holds(stage.guard(), 0))
        return Composition(self.composition.rule, on)

    def is_given(self, name: str) -> bool:
        declared = self.composition.declarations[name]
        assert isinstance(declared, Hyper)
        return self.hypers[name] is not None and self.hypers[name] != declared.off

    def slot_shape(self, slot: Slot, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of `slot` for a parameter of `shape`; None where it has none."""
        if not self.holds(slot.when, len(shape)):
            return None
        match slot.shape:
            case "rows":
                return (*shape[:-1], 1)
            case "columns":
                return (*shape[:-2], 1, *shape[-1:])
            case "scalar" | "tensor":
                return ()
            case _:
                return shape

    def dtype_of(self, slot: Slot) -> str:
        """The dtype that `slot` is kept in. Weights, what stages keep, and what has no number for each element are in
        the compute dtype whatever `slot_dtype` says."""
        own = all(slot is not declared for stage in self.composition.stages for declared in declarations_of(stage))
        is_narrow = own and slot.shape == "parameter" and slot.init != "parameter" and self.slot_dtype == "parameter"
        return self.dtype if is_narrow else compute_dtype(self.dtype)

    @cached_property
    def dtypes(self) -> Dtypes:
        return self.dtype, {slot.name: self.dtype_of(slot) for slot in self.composition.of_kind(Slot)}

    def periods(self) -> list[int]:
        """Every how many calls the regions of this optimizer run."""
        regions = [stage.region for stage in self.composition.stages if self.holds(stage.guard(), 0)]
        return [int(self.hypers[region.hyper] or 1) for region in regions if isinstance(region, Every)]

    def start(self, parameters: Sequence[Array]) -> Slots:
        """The slots of a fresh optimizer."""

        def fresh(slot: Slot, shape: tuple[int, ...], parameter: Array) -> Array:
            dtype = numpy_dtype(self.dtype_of(slot))
            if isinstance(slot.init, str):
                return parameter.astype(dtype)
            number = self.hypers[slot.init.name] if isinstance(slot.init, Hyper) else slot.init
            return np.full(shape, number, dtype)

        slots: Slots = {}
        for slot in self.composition.of_kind(Slot):
            owners = parameters[:1] if slot.shape == "scalar" else parameters
            shapes = [self.slot_shape(slot, p.shape) for p in owners]
            if any(shape is not None for shape in shapes):
                slots[slot.name] = [
                    np.zeros(0, numpy_dtype(self.dtype_of(slot))) if shape is None else fresh(slot, shape, p)
                    for shape, p in zip(shapes, owners, strict=True)
                ]
        return slots


@dataclass(frozen=True)
class Batch:
    """Calls to be judged, the first axis of every array being the call. `updates`, `calls`: made before each.

    The first axis has length 1 where all calls are from the same state: then what does not depend on the step is
    computed once. A slot that some parameter does not have (the rows of a vector) has an empty array there.
    """

    parameters: list[Array]
    gradients: list[Array]
    slots: Slots
    updates: NDArray[np.int64]
    calls: NDArray[np.int64]
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What correct code computes: `head + tail`, off by at most `bound`. Infinite and NaN heads are meant."""

    head: NDArray[np.float64]
    tail: NDArray[np.float64]
    bound: Wide
    flags: Flags
    spread: Wide | None = None
    """How far random rounding errors take it (standard deviation), where that was estimated."""

    def only(self, call: int) -> Expected:
        """One call of the batch."""
        chosen = slice(call, call + 1)
        spread = None if self.spread is None else self.spread[chosen]
        return Expected(self.head[chosen], self.tail[chosen], self.bound[chosen], self.flags[chosen], spread)


@dataclass(frozen=True)
class Outcome:
    """The state after the calls of a batch. `features`: what the rule sums over, whether it calls a library, and
    whether a gate decides about calls. `is_skipped`: whether it let none of these through."""

    parameters: list[Expected]
    slots: dict[str, list[Expected | None]]
    features: frozenset[str]
    is_skipped: bool = False

    def only(self, call: int) -> Outcome:
        """One call of the batch."""
        slots = {name: [part and part.only(call) for part in parts] for name, parts in self.slots.items()}
        return Outcome([part.only(call) for part in self.parameters], slots, self.features, self.is_skipped)


class _Running:
    """The interpreter of one run. Calls that a region's predicate excludes leave parameters and slots as they are."""

    def __init__(self, configuration: Configuration, batch: Batch, arithmetic: Arithmetic, storage: Arithmetic) -> None:
        self.configuration, self.batch, self.arithmetic, self.storage = configuration, batch, arithmetic, storage
        self.shapes = [parameter.shape[1:] for parameter in batch.parameters]
        self.engine = Engine(
            self.arithmetic, len(self.shapes), self._holds, lambda name: self.found[name],
            self.storage.format,
        )  # fmt: skip
        self.slots = {slot.name: self._given_slot(slot) for slot in configuration.composition.of_kind(Slot)}
        self.found = dict(self.slots)
        self.names: dict[str, Exact | Condition] = {}
        self.guards: list[Guard] = []
        self.active, self.is_skipped = True, False

    def _holds(self, guard: Guard, tensor: int) -> bool:
        return self.configuration.holds(guard, len(self.shapes[tensor]))

    def read_in(self, arrays: list[Array]) -> Exact:
        return Exact(self.engine, [self.arithmetic.read(array) for array in arrays])

    def counted(self, counts: NDArray[np.int64]) -> Exact:
        values = np.array([number(int(count)) for count in counts], object)
        return Exact(self.engine, [of_numbers(values)], known=True)

    def _given_slot(self, slot: Slot) -> Exact:
        arrays = self.batch.slots.get(slot.name)
        if arrays is None:
            return Exact(self.engine, [None], slot=slot.name)
        if slot.shape == "scalar":
            return Exact(self.engine, [of_floats(arrays[0])], known=True, slot=slot.name)
        exists = [self._holds(slot.when, index) for index in range(len(self.shapes))]
        parts = [self.arithmetic.read(a) if there else None for a, there in zip(arrays, exists, strict=True)]
        return Exact(self.engine, parts, slot=slot.name)

    def hyper(self, hyper: Hyper) -> Value:
        given = self.configuration.hypers[hyper.name]
        part = None if given is None else of_numbers(np.array([number(given)], object))
        return cast(Value, Exact(self.engine, [part], known=True, hyper=hyper.name if hyper.optional else None))

    def input(self, source: Input) -> Value:
        given = self.batch.inputs[source.name]
        if source.shape == "scalar":
            return cast(Value, Exact(self.engine, [of_floats(np.asarray(given))], known=True))
        return cast(Value, self.read_in(given))

    def load(self, slot: Slot) -> Value:
        return cast(Value, self.slots[slot.name])

    def store(self, slot: Slot, value: Value | float) -> None:
        if not self.active:
            return
        new, kept = self.engine.wrap(value), self.slots[slot.name]
        parts: Parts
        if slot.shape == "scalar":
            if self._applies(slot, 0):
                keep = self.arithmetic.kept_scalar if new.known else self.arithmetic.rounded
                parts = [part and keep(part) for part in new.parts]
                self.slots[slot.name] = replace(new, parts=parts, slot=slot.name)
            return
        parts = []
        for index, shape in enumerate(self.shapes):
            full = self.configuration.slot_shape(slot, shape)
            if full is None or not self._applies(slot, index):
                parts.append(kept.parts[index % len(kept.parts)])
            else:
                parts.append(self._kept(slot, self._spread(new.rounded(), index, full)))
        self.slots[slot.name] = Exact(self.engine, parts, slot=slot.name)

    def _kept(self, slot: Slot, part: Part) -> Part:
        is_rounded = FORMATS[self.configuration.dtype_of(slot)] != self.arithmetic.format
        return self.storage.stored(part) if part and is_rounded else part

    def _applies(self, slot: Slot, tensor: int) -> bool:
        return all(self._holds(guard, tensor) for guard in (*self.guards, slot.when))

    def _spread(self, value: Exact, index: int, shape: tuple[int, ...]) -> Part:
        """The part of one tensor, at its full shape."""
        part = value.parts[index % len(value.parts)]
        if part is None:
            raise SpecError("a slot is assigned what does not exist", author_location())
        full = (part.near.shape[0], *shape)
        stretched = (
            part if part.ndim == len(full) else part.reshaped((*part.near.shape, *(1,) * (len(full) - part.ndim)))
        )
        return stretched.each(lambda array: np.broadcast_to(array, full))

    def read(self, name: str) -> Value:
        if name in self.names:
            return cast(Value, self.names[name])
        declared = self.configuration.composition.declarations.get(name)
        if isinstance(declared, (Hyper, Option)):
            return cast(Value, self.hyper(declared) if isinstance(declared, Hyper) else self._option(declared))
        raise SpecError(f"unknown name '{name}'", author_location())

    def _option(self, option: Option) -> Any:
        return option.__get__(self, type(self))  # type: ignore[call-overload]

    def let(self, name: str, value: Value | float) -> None:
        self.names[name] = value if isinstance(value, Condition) else self.engine.wrap(value)

    def branch(self, guard: Guard, chosen: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """Both run, since tensors may differ; what a tensor does not take reaches neither its slots nor the result."""
        values = []
        for part, build in ((guard, chosen), (negation(guard), other)):
            self.enter(part)
            values.append(build())
            self.leave()
        return cast(Value, call(self.engine, "choose", tuple(values), {"guard": guard}))

    def enter(self, guard: Guard) -> None:
        self.guards.append(guard)

    def leave(self) -> None:
        self.guards.pop()

    def region(self, predicate: Every | AllFinite) -> None:
        self.found = dict(self.slots)
        if not all(self._holds(guard, 0) for guard in self.guards):
            return
        if isinstance(predicate, AllFinite):
            self.engine.features.add("gate")
            self.is_skipped = not all(bool(np.isfinite(g).all()) for g in self.batch.gradients)
            self.active = not self.is_skipped
        else:
            period = int(self.configuration.hypers[predicate.hyper] or 1)
            self.active = self.active and bool((self.batch.calls[0] + 1) % period == 0)

    def hand_over(self, name: str, guard: Guard, new: Value, before: Value) -> Value:
        return new if self._holds(guard, 0) else before

    def named_result(self, value: Value) -> Value:
        return value

    def result(self, new: Exact, w: Exact) -> list[Part]:
        """The parameters, as they are stored."""
        last = new.rounded() if self.active else w
        parts = [self._spread(last, index, shape) for index, shape in enumerate(self.shapes)]
        if self.active and self.storage.format != self.arithmetic.format:
            return [self.storage.kept(part) if new.is_stored else self.storage.rounded(part) for part in parts]
        return parts


@dataclass(frozen=True)
class Stepped:
    """Parameters and slots after a step, as exact numbers; a slot that a tensor does not have is None."""

    parameters: list[Part]
    slots: dict[str, Parts]
    features: frozenset[str]
    is_skipped: bool


def carry_out(configuration: Configuration, batch: Batch, arithmetic: Arithmetic, storage: Arithmetic) -> Stepped:
    """One step of all calls of `batch`, in `arithmetic`, stored by `storage`."""
    with np.errstate(all="ignore"), precisely():
        running = _Running(configuration, batch, arithmetic, storage)
        w, g = running.read_in(batch.parameters), running.read_in(batch.gradients)
        t = running.counted(batch.updates + 1)
        new = configuration.stages_on.run(running, cast(Value, w), cast(Value, g), cast(Value, t))
        slots = {name: slot.parts for name, slot in running.slots.items() if name in batch.slots}
        result = running.result(running.engine.wrap(new), w)
        return Stepped(result, slots, frozenset(running.engine.features), running.is_skipped)


def step(configuration: Configuration, batch: Batch) -> Outcome:
    """The state after each call of `batch`, all of which the regions' predicates must treat alike.

    Raises SpecError as the tracer would for a rule that is wrong.
    """
    storage = FORMATS[configuration.dtype], configuration.flushes and configuration.dtype != "float16"
    arithmetic = Arithmetic(FORMATS[compute_dtype(configuration.dtype)], configuration.flushes)
    stepped, calls = carry_out(configuration, batch, arithmetic, Arithmetic(*storage)), len(batch.updates)
    with np.errstate(all="ignore"), precisely():
        slots = {
            name: [None if part is None else expected(part, calls) for part in parts]
            for name, parts in stepped.slots.items()
        }
        parameters = [expected(part, calls) for part in stepped.parameters]
        return Outcome(parameters, slots, stepped.features, stepped.is_skipped)


_HEAD = np.frompyfunc(float, 1, 1)


def expected(part: Part, calls: int) -> Expected:
    """`part` for each of the calls, as floats."""
    finite = np.isfinite(part.near)
    value = np.where(finite, part.value, ZERO)
    head = np.asarray(_HEAD(value), np.float64)
    tail = np.asarray(_HEAD(value - np.where(np.isinf(head), 0, head)), np.float64)
    head = np.where(finite, head, part.near.astype(np.float64))
    full = (calls, *part.near.shape[1:])

    def each(array: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(array, full)

    return Expected(each(head), each(tail), each(part.error), each(part.flags))
