"""The functions of the language, for the oracle's values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gmpy2
import numpy as np
from optloom.spec.errors import SpecError, author_location
from optloom.spec.guards import Guard, asks_tensors

from . import chance, decisions, reductions
from .exact import DECIDED_EITHER_WAY, Arithmetic, Part, Truth, made, number, of_numbers
from .formats import FORMATS
from .value import Condition, Engine, Exact, Parts, aligned, compared, lockstep, pairwise


def call(engine: Engine, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """The function `name` of `optloom.spec.functions`, on Exacts, Conditions and numbers."""
    values = [a if isinstance(a, (Exact, Condition)) else engine.wrap(a) for a in arguments]
    function: Callable[..., Any] = _FUNCTIONS[name]
    return function(*values, **settings)


def _extremum(name: str) -> Callable[[Exact, Exact], Exact]:
    def extremum(a: Exact, b: Exact) -> Exact:
        known = a.known and b.known
        if not known:
            a, b = a.rounded(), b.rounded()
        return Exact(a.engine, pairwise(lambda x, y: decisions.extremum(name, x, y), a.parts, b.parts), known)

    return extremum


def _library(name: str) -> Callable[[Exact], Exact]:
    def function(x: Exact) -> Exact:
        if not x.known:
            x.engine.features.add("library")
        return x.map(lambda arithmetic, part: arithmetic.function(name, part))

    return function


def _both(a: Condition, b: Condition) -> Condition:
    def join(x: Truth | None, y: Truth | None) -> Truth | None:
        return None if x is None or y is None else decisions.both(x, y)

    return Condition(a.engine, [join(x, y) for x, y in zip(*lockstep(a.truths, b.truths), strict=True)])


def _remainder(t: Exact, k: Exact) -> Exact:
    if not (t.known and k.known):
        raise SpecError("remainder takes the step's number and an integer", author_location())
    modulo = np.frompyfunc(gmpy2.fmod, 2, 1)
    return Exact(
        t.engine,
        pairwise(lambda x, y: made(modulo(x.value, y.value), x.near % y.near, 0, x, y), t.parts, k.parts),
        True,
    )


def _stochastically_rounded(x: Exact, t: Exact) -> Exact:
    x, form = x.rounded(), x.engine.storage
    if form == x.engine.arithmetic.format:
        return x
    (step,) = t.parts
    parts = [part and step and chance.rounded(part, step.value, form) for part in x.parts]
    return Exact(x.engine, parts, is_stored=True)


def _bfloat16(x: Exact) -> Exact:
    """The nearest number of bfloat16, of float64 perhaps by way of float32. Where errors so far decide which one it
    is, either passes."""

    def narrowed(arithmetic: Arithmetic, part: Part) -> Part:
        if arithmetic.format.digits > FORMATS["float32"].digits:
            part = replace(arithmetic, format=FORMATS["float32"]).rounded(part)
        kept = replace(arithmetic, format=FORMATS["bfloat16"]).stored(part)
        either = np.where(kept.error > 0, kept.flags | DECIDED_EITHER_WAY, kept.flags)
        return replace(kept, flags=either)

    return x.rounded().map(narrowed)


def _where(condition: Condition, a: Exact, b: Exact) -> Exact:
    """Element by element. A choice between known values is known if the condition is."""
    known = a.known and b.known and all(t is None or t.holds.ndim == 1 for t in condition.truths)
    if not known:
        a, b = a.rounded(), b.rounded()

    def pick(truth: Truth | None, x: Part | None, y: Part | None) -> Part | None:
        if truth is None or x is None or y is None:
            return None
        x, y = aligned(x, y)
        axes = max(x.ndim, truth.holds.ndim)
        x, y = (p.reshaped((*p.near.shape, *(1,) * (axes - p.ndim))) for p in (x, y))
        shape = (*truth.holds.shape, *(1,) * (axes - truth.holds.ndim))
        return decisions.choose(Truth(truth.holds.reshape(shape), truth.doubtful.reshape(shape)), x, y)

    triples = zip(*lockstep(condition.truths, a.parts, b.parts), strict=True)
    return Exact(a.engine, [pick(*triple) for triple in triples], known)


def _choose(a: Exact, b: Exact, guard: Guard) -> Exact:
    """By a guard, decided before the step: one that asks tensors, for each of them."""
    engine = a.engine
    if not asks_tensors(guard):
        return a if engine.holds(guard, 0) else b
    if not (a.known and b.known):
        a, b = a.rounded(), b.rounded()
    spread = [items * engine.tensors if len(items) == 1 else items for items in (a.parts, b.parts)]
    picked = [x if engine.holds(guard, index) else y for index, (x, y) in enumerate(zip(*spread, strict=True))]
    return Exact(engine, picked, a.known and b.known)


def _total(x: Exact, over: str = "tensor", axis: int | None = None) -> Exact:
    x.engine.features.add("axis" if axis is not None else over)
    if x.known:
        raise SpecError("a sum is over a tensor's elements", author_location())
    if axis is not None:
        return x.map(lambda arithmetic, p: reductions.total(arithmetic, p, axis) if _has(p, axis) else None)
    sums = x.map(reductions.total)
    if over == "tensor":
        return sums
    parts = [part for part in sums.parts if part is not None]
    if len(parts) < len(sums.parts):
        return Exact(x.engine, [None])
    return Exact(x.engine, [reductions.join(x.engine.arithmetic, parts)])


def _largest(x: Exact, axis: int) -> Exact:
    x.engine.features.add("axis")
    return x.map(lambda _, part: reductions.largest(part, axis) if _has(part, axis) else None)


def _has(part: Part, axis: int) -> bool:
    """The first axis is the batch of calls."""
    return -part.ndim < axis < part.ndim - 1


def _size(x: Exact, over: str = "tensor", axis: int | None = None) -> Exact:
    def count(part: Part) -> int:
        shape = part.near.shape[1:]
        return shape[axis] if axis is not None else int(np.prod(shape, dtype=int))

    sizes: Parts = [
        None if part is None or (axis is not None and not _has(part, axis)) else _integer(count(part))
        for part in x.parts
    ]
    if over == "tensors" and axis is None:
        return Exact(x.engine, [_integer(sum(count(part) for part in x.parts if part is not None))], known=True)
    return Exact(x.engine, sizes, known=True)


def _integer(count: int) -> Part:
    return of_numbers(np.array([number(count)], object))


def _mean(x: Exact, over: str = "tensor", axis: int | None = None) -> Exact:
    return _total(x, over, axis) / _size(x, over, axis)


def _norm(x: Exact, over: str = "tensor") -> Exact:
    return _total(x.map(Arithmetic.square), over).map(Arithmetic.sqrt)


def _matmul(a: Exact, b: Exact) -> Exact:
    arithmetic = a.engine.arithmetic
    a.engine.features.update(("axis", "library"))

    def product(x: Part | None, y: Part | None) -> Part | None:
        missing = x is None or y is None or x.ndim < 3 or y.ndim < 3
        return None if missing else reductions.matmul(arithmetic, x, y)  # type: ignore[arg-type]

    return Exact(a.engine, [product(x, y) for x, y in zip(*lockstep(a.parts, b.parts), strict=True)])


def _transpose(a: Exact) -> Exact:
    return a.map(lambda _, part: reductions.transpose(part) if part.ndim > 2 else None)


def _old(slot: Exact) -> Exact:
    if slot.slot is None:
        raise SpecError("old() takes a slot", author_location())
    return slot.engine.before(slot.slot)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": lambda x: x.map(Arithmetic.sqrt),
    "maximum": _extremum("maximum"),
    "minimum": _extremum("minimum"),
    "sign": lambda x: x.map(lambda _, part: decisions.sign(part)),
    "exp": _library("exp"),
    "log": _library("log"),
    "tanh": _library("tanh"),
    "equal": lambda a, b: compared("equal", a, b),
    "both": _both,
    "remainder": _remainder,
    "bfloat16": _bfloat16,
    "stochastically_rounded": _stochastically_rounded,
    "where": _where,
    "choose": _choose,
    "total": _total,
    "mean": _mean,
    "largest": _largest,
    "norm": _norm,
    "matmul": _matmul,
    "transpose": _transpose,
    "length": lambda x, axis: _size(x, axis=axis),
    "old": _old,
}
