"""What the parity tests share: each rule, in a peer's dialect, runs beside the peer itself on the same gradients.

The rule is rendered for the readable target with the whole dialect bound, in float64. Which peers there are, what they
take and which combinations are tried is derived from the rules' declarations and the peers' own signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import dialect_of, program_for, render
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.discovery import discover
from optloom.codegen.ir.nodes import Fn, Hyperparameter, Literal, Op, Program, walk
from optloom.spec.declarations import Peer
from optloom.spec.guards import Given, HasAxes, atoms
from optloom.spec.rule import Rule
from optloom.spec.stages import PIPELINE

SHAPES = ((3, 4), (5,))
STEPS = 12
RATE_FALLS_AT = 6
TOLERANCE = 16
"""Units of roundoff of the largest value so far. Peers were seen at 5 at most; a wrong dialect is off by millions."""

Numbers = dict[str, float | bool | None]
State = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Meeting:
    """A rule and one of its peers."""

    name: str
    rule: type[Rule]
    peer: Peer

    @property
    def program(self) -> Program:
        return program_for(self.rule, "numpy", settings=dialect_of(self.rule, self.peer.path))

    @property
    def slots(self) -> dict[str, str]:
        """The peer's names of the slots that every parameter has, by ours."""
        everywhere = {s.name for s in self.program.slots if not any(isinstance(a, HasAxes) for a in atoms(s.when))}
        return {name: theirs for name, theirs in self.peer.slots.items() if name in everywhere}

    def kept(self, given: Numbers) -> dict[str, str]:
        """Those of `slots` that exist with the numbers `given`: a peer may keep what is switched off."""
        off = {Given(hyper.name) for hyper in self.program.hypers if given.get(hyper.name) in (None, hyper.off)}
        return {name: theirs for name, theirs in self.slots.items() if self.program.slot(name).when not in off}

    def theirs(self) -> Any:
        """The peer itself."""
        module, _, name = self.peer.path.rpartition(".")
        return getattr(import_module(module), name)

    @property
    def rate_falls(self) -> bool:
        """Whether the peer takes a learning rate that changes: what is called otherwise is a number, and so is what
        optax computes with at once."""
        if self.peer.names.get("learning_rate", "learning_rate") != "learning_rate":
            return False
        try:
            return self.peer.ecosystem != "optax" or bool(self.theirs()(learning_rate=lambda count: 1.0))
        except TypeError:
            return False

    def signature(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.theirs()).parameters)


def cases(ecosystem: str, accepts: Callable[[Meeting, str], bool]) -> list[Any]:
    """The parameters of a test: every rule with every peer of the package, under several settings.

    What the rule says that the peer computes otherwise is left at the peer's default; with it the test must fail.
    """
    made = []
    for meeting in meetings(ecosystem):
        apart = meeting.peer.otherwise
        alike = settings(meeting, lambda name, m=meeting: name not in m.peer.otherwise and accepts(m, name))
        if "step" not in apart:
            made += [pytest.param(meeting, given, id=f"{meeting.peer.path}-{i}") for i, given in enumerate(alike)]
        for name, reason in apart.items():
            given = next(settings(meeting, lambda name, m=meeting: accepts(m, name)))
            mark = pytest.mark.xfail(strict=True, reason=f"{name}: {reason}")
            made.append(pytest.param(meeting, given, id=f"{meeting.peer.path}-{name}", marks=mark))
    return made


def meetings(ecosystem: str) -> list[Meeting]:
    """Every rule with every peer of the package."""
    return [
        Meeting(name, rule, peer)
        for name, rule in discover().items()
        for peer in rule.peers
        if peer.ecosystem == ecosystem
    ]


MEANT = frozenset({"", *(stage.called() for stage in PIPELINE if stage.needs)})
"""The rule, and the stages that read its numbers: what a peer has its own meaning of. Others go around any rule."""


def settings(meeting: Meeting, accepts: Callable[[str], bool]) -> Iterator[Numbers]:
    """The numbers and options tried: all of what is optional, none of it, and all but one.

    Numbers are powers of two and differences of them, so that no framework rounds them, not even to float32.
    """
    program = meeting.program
    own = [hyper for hyper in program.hypers if hyper.stage in MEANT]
    numbers = {hyper.name: exact_number(hyper, index) for index, hyper in enumerate(own) if accepts(hyper.name)}
    choosable = [hyper.name for hyper in own if hyper.optional and hyper.name in numbers]
    choosable += [o.name for o in program.options if o.stage in MEANT and not o.choices and accepts(o.name)]
    options = {o.name: not o.default for o in program.options if o.name in choosable}
    everything: Numbers = {**numbers, **options}
    seen: list[Numbers] = []
    for without in ([], [*choosable], *([name] for name in choosable)):
        off = {name: _off(program, name) for name in without}
        made = {**everything, **off}
        if made not in seen:
            seen.append(made)
            yield made


def exact_number(hyper: Hyperparameter, index: int) -> float:
    """A legal number with few bits, that differs from what others have."""
    if any(sign in ("<", "<=") and bound == 0 for sign, bound in hyper.bounds):
        return -(2.0 ** -(1 + index % 2))
    is_threshold = (">", 0) in hyper.bounds and (hyper.default or 0) >= 1  # some peers take none below one
    if is_threshold or any(sign in (">", ">=") and bound >= 1 for sign, bound in hyper.bounds):
        return 1 + 2.0 ** -(1 + index % 3)
    below_one = any(sign in ("<", "<=") and bound == 1 for sign, bound in hyper.bounds)
    return 1 - 2.0 ** -(2 + index % 4) if below_one else 2.0 ** -(4 + index % 3)


def _off(program: Program, name: str) -> float | bool | None:
    for hyper in program.hypers:
        if hyper.name == name:
            return hyper.off if hyper.off is None or hyper.integer else float(hyper.off)
    return next(option.default for option in program.options if option.name == name)  # type: ignore[return-value]


def defaults(meeting: Meeting) -> dict[str, float | None]:
    """What the rule says of the peer's defaults, by our names; off is None."""
    program = meeting.program
    found = {h.name: meeting.peer.defaults.get(h.name, h.default) for h in program.hypers}
    return {
        h.name: None if found[h.name] in (None, h.off, 0.0) and h.optional else found[h.name] for h in program.hypers
    }


def gradients() -> list[list[np.ndarray]]:
    """Of all sizes, one element always zero, one zero at first."""
    rng = np.random.default_rng(7)
    made = []
    for step in range(STEPS):
        scales = [10.0 ** rng.integers(-2, 2, shape) for shape in SHAPES]
        tensors = [rng.standard_normal(shape) * scale for shape, scale in zip(SHAPES, scales, strict=True)]
        tensors[0][0, 0] = 0
        tensors[1][0] = 0 if step < 3 else tensors[1][0]
        made.append(tensors)
    return made


def inputs(meeting: Meeting, step: int) -> dict[str, float]:
    """What the rule takes beside gradients: numbers that change."""
    return {source.name: 1 + step / 8 for source in meeting.program.inputs}


def start() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [rng.standard_normal(shape) for shape in SHAPES]


def rate(number: float, step: int) -> float:
    """The learning rate of a step, counted from 0: it falls in the middle."""
    return number if step < RATE_FALLS_AT else number / 8


def class_of(meeting: Meeting) -> type:
    """The rule in the dialect of the peer, rendered for the readable target."""
    return _class(meeting.name, meeting.peer.path)


@cache
def _class(name: str, path: str) -> type:
    rule = discover()[name]
    folder = Path(mkdtemp())
    for file, text in render(rule, "numpy", settings=dialect_of(rule, path)).items():
        (folder / Path(file).name).write_text(text)
    return getattr(load_module(str(folder / f"{name}.py")), rule.__name__)  # type: ignore[no-any-return]


def ours(meeting: Meeting, given: Mapping[str, Any]) -> Iterator[State]:
    """Our parameters ("w") and slots, by our names, after each step; a scalar slot once for each parameter."""
    parameters = start()
    apart = {name: value for name, value in defaults(meeting).items() if name in meeting.peer.otherwise}
    optimizer = class_of(meeting)(parameters, **{**apart, **given})
    for step, tensors in enumerate(gradients()):
        if "learning_rate" in given and meeting.rate_falls:
            optimizer.learning_rate = rate(given["learning_rate"], step)
        extra = inputs(meeting, step)
        optimizer.step(tensors, extra) if extra else optimizer.step(tensors)
        scalars = vars(getattr(optimizer, "scalar_slots", {}).get(np.float64, SimpleNamespace()))
        state: State = {"w": [w.copy() for w in parameters]}
        for slot in vars(optimizer.slots[0]):
            values = [getattr(slots, slot) for slots in optimizer.slots]
            if all(value is not None for value in values):
                state[slot] = [value.copy() for value in values]
        yield state | {name: [np.array(value)] * len(parameters) for name, value in scalars.items()}


def unit_of(program: Program, rounded_to: type[np.floating]) -> float:
    """The unit of roundoff: float64's or, if a number of the formula is none of `rounded_to`, that format's."""
    values = {node.value for s in program.update.statements for node in walk(s.value) if isinstance(node, Literal)}
    for node in (node for s in program.update.scalars for node in walk(s.value)):
        match node:
            case Literal(value):
                values.add(value)
            case Op(Fn.DIV, (Literal(dividend), Literal(divisor))):  # a literal to all its digits
                values.add(dividend / divisor)
    exact = all(Fraction(float(rounded_to(float(value)))) == value for value in values)
    return float(np.finfo(np.float64 if exact else rounded_to).eps) / 2


def check(ours: Iterator[State], theirs: Iterator[State], unit: float = 2.0**-53) -> None:
    """Same state after each step, within the rounding of what has gone in so far. `theirs` by our slots' names."""
    largest: dict[str, list[np.ndarray]] = {}
    worst: dict[str, float] = {}
    compared = 0
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        for name in other:
            assert name in mine, f"the peer keeps '{name}', we do not"
            for index, (a, b) in enumerate(zip(mine[name], other[name], strict=True)):
                peaks = largest.setdefault(name, [np.abs(x) for x in mine[name]])
                peaks[index] = np.maximum(peaks[index], np.abs(a))
                off = np.abs(a - b) / np.maximum(peaks[index] * unit, np.finfo(np.float64).tiny)
                worst[name] = max(worst.get(name, 0.0), float(off.max()))
                assert (off <= TOLERANCE).all(), f"step {step + 1}, {name}[{index}]: off by {off.max():.3g} units"
        compared = step + 1
    assert compared == STEPS
    print("units of roundoff at most:", {name: round(value, 1) for name, value in worst.items()})
