"""Wrong versions of a rule, made mechanically from its program; and whether the suite catches them.

Each is the program with one place changed: a constant, a sign, the step's number, an epsilon, a slot's old or new
value, a term, a branch, the precision of one operation. A wrong version is caught if any element of any question
is off by more than the suite allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from optloom.spec.rule import Rule

from ..compiler import Settings, compile_rule, frozen, specialised
from ..dialects import named_by
from ..ir.nodes import (
    ONE,
    Choose,
    Expression,
    Fn,
    Kind,
    Length,
    Literal,
    Op,
    Program,
    Rate,
    Reduce,
    Ref,
    Statement,
    Store,
    children,
    rebuild,
)  # fmt: skip
from ..ir.text import TextPrinter
from ..passes.rates import Environment, environment, rate_of
from .cases import cases, composition_of, features, variants
from .floats import answer
from .inputs import Question, questions
from .judge import judge

ROUNDOFF = Fraction(1, 2**24)


@dataclass(frozen=True)
class WrongVersion:
    """`change` says what was done to which statement: `m: a + b => a - b`. `equivalent`: why it is right, if it is."""

    change: str
    program: Program
    equivalent: str = ""


DECIDES = "only the sign of it is taken, which so small an error changes within the bound of the switch alone"


@dataclass(frozen=True)
class Caught:
    """The wrong versions of one rule. `equivalent`: those that are not wrong, each with its reason."""

    rule: str
    caught: tuple[str, ...]
    missed: tuple[str, ...]
    equivalent: tuple[tuple[str, str], ...] = ()

    def share(self) -> float:
        """The share caught of those that are wrong."""
        return len(self.caught) / max(len(self.caught) + len(self.missed), 1)


class Jury:
    """All questions of a rule in float32, and whether a program answers them rightly."""

    def __init__(self, rule: type[Rule]) -> None:
        composition = composition_of(rule)
        every = variants(composition)
        together = {variant.dialect: variant for variant in every if variant.has_stages}
        apart = [v for v in every if v.has_stages and not v.dialect and v.hypers.keys() - together[""].hypers.keys()]
        asked = [*(variant for variant in every if not variant.has_stages), *together.values(), *apart]
        self.questions: list[Question] = [
            question
            for variant in asked
            for case in cases(composition, variant, "float32")
            for question in questions(composition, case, "float32", features(composition, variant))
        ]

    def accepts(self, program: Program) -> bool:
        """A step at a time: most wrong versions are caught by the first."""
        return not any(
            self._refuted(program, question, step)
            for question in self.questions
            for step in reversed(range(len(question.case.steps)))
        )

    @staticmethod
    def _refuted(program: Program, question: Question, step: int) -> bool:
        try:
            found = answer(program, question, step)
        except (LookupError, TypeError, ValueError):
            return True  # The wrong version cannot even be computed: shapes do not fit, a number does not exist.
        ids, steps = [tensor.ids for tensor in question.tensors], question.batch.updates[step : step + 1] + 1
        return not judge([found], question.expected.only(step), steps, ids, question.given.dtypes).passes


def wrong_versions(rule: type[Rule]) -> Iterator[WrongVersion]:
    """Those of the traced program, each different from it and from all others."""
    program = _open(rule)
    seen = {program.regions}
    for region, statement, spot in _places(program):
        for new in _changed(program, region, statement, spot.node):
            made = _with(
                program, region, statement, _replaced(program.regions[region].statements[statement], spot, new)
            )
            if made.regions not in seen:
                seen.add(made.regions)
                change = _described(program.regions[region].statements[statement], spot.node, new)
                is_small = isinstance(new, Op) and new.fn is Fn.EXACT
                yield WrongVersion(change, made, DECIDES if is_small and spot.decides else "")


def scaled_versions(rule: type[Rule], units: int = 16) -> Iterator[WrongVersion]:
    """The program that targets print, with one operation's result off by a factor of 1 + `units` of roundoff."""
    program = compile_rule(rule, settings=_settings(rule))
    factor = Literal(1 + units * ROUNDOFF)
    for region, statement, spot in _places(program):
        if isinstance(spot.node, (Op, Reduce)) and not _is_condition(spot.node):
            new = Op(Fn.MUL, (spot.node, factor))
            old = program.regions[region].statements[statement]
            made = _with(program, region, statement, _replaced(old, spot, new))
            yield WrongVersion(_described(old, spot.node, new), made, DECIDES if spot.decides else "")


def _settings(rule: type[Rule]) -> Settings:
    """Every convention of a peer's is an argument; those that no peer asks for are reached by nobody."""
    program = frozen(rule)
    return Settings(conventions=frozenset().union(*(named_by(program, peer) for peer in rule.peers)))


def _open(rule: type[Rule]) -> Program:
    """The program as traced, but for conventions that nobody asks for."""
    return specialised(rule, _settings(rule))


def tried(rule: type[Rule], name: str, versions: Iterator[WrongVersion]) -> Caught:
    """Raises AssertionError if the rule itself, unchanged, is not accepted."""
    jury = Jury(rule)
    assert jury.accepts(_open(rule)), f"{name}: the right version is not accepted"
    caught: list[str] = []
    missed: list[str] = []
    equivalent: list[tuple[str, str]] = []
    for version in versions:
        if version.equivalent:
            equivalent.append((version.change, version.equivalent))
        else:
            (missed if jury.accepts(version.program) else caught).append(version.change)
    return Caught(name, tuple(caught), tuple(missed), tuple(equivalent))


@dataclass(frozen=True)
class _Spot:
    """A node of a statement's expression, and the way to it: which child at each level. `decides`: under a sign."""

    path: tuple[int, ...]
    node: Expression
    decides: bool


def _places(program: Program) -> Iterator[tuple[int, int, _Spot]]:
    for i, region in enumerate(program.regions):
        for j, statement in enumerate(region.statements):
            yield from ((i, j, spot) for spot in _spots(statement.value, ()))


def _spots(node: Expression, path: tuple[int, ...], decides: bool = False) -> Iterator[_Spot]:
    if isinstance(node, Length):
        return  # Only the shape of its argument is taken, which no change of the argument's value touches.
    if isinstance(node, Op) and node.fn is Fn.STOCHASTICALLY_ROUNDED:
        yield from _spots(node.arguments[0], (*path, 0), decides)
        return  # Programs are judged in float32, whose numbers are rounded already.
    for index, child in enumerate(children(node)):
        yield from _spots(child, (*path, index), decides or (isinstance(node, Op) and node.fn is Fn.SIGN))
    yield _Spot(path, node, decides)


def _replaced(statement: Statement, spot: _Spot, new: Expression) -> Statement:
    def go(node: Expression, path: tuple[int, ...]) -> Expression:
        if not path:
            return new
        position = iter(range(len(children(node))))
        return rebuild(node, lambda child: go(child, path[1:]) if next(position) == path[0] else child)

    return replace(statement, value=go(statement.value, spot.path))


def _with(program: Program, region: int, statement: int, new: Statement) -> Program:
    statements = program.regions[region].statements
    changed = replace(program.regions[region], statements=(*statements[:statement], new, *statements[statement + 1 :]))
    return replace(program, regions=(*program.regions[:region], changed, *program.regions[region + 1 :]))


def _described(statement: Statement, old: Expression, new: Expression) -> str:
    text = TextPrinter()
    name = statement.slot if isinstance(statement, Store) else statement.name
    return f"{name}: {text.print(old)} => {text.print(new)}"


def _is_condition(node: Expression) -> bool:
    return isinstance(node, Op) and node.fn in (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.BOTH)


def _changed(program: Program, region: int, statement: int, node: Expression) -> Iterator[Expression]:
    """What could stand, wrongly, in place of `node`."""
    rates = environment(program, program.regions[region])
    stored = {s.slot for s in program.regions[region].statements[:statement] if isinstance(s, Store)}
    match node:
        case Literal(value):
            yield Literal(value + 1 if value == 0 else value * Fraction(101, 100))
        case Ref(Kind.STEP):
            yield Op(Fn.ADD, (node, ONE))
            yield Op(Fn.SUB, (node, ONE))
        case Ref(Kind.HYPER, name):
            like = program.hyper(name)
            yield from (
                Ref(Kind.HYPER, h.name) for h in program.hypers
                if h.name != name and (h.bounds, h.optional) == (like.bounds, like.optional)
            )  # fmt: skip
        case Ref(Kind.SLOT, name):
            yield Ref(Kind.BEFORE, name)
        case Ref(Kind.BEFORE, name) if name in stored:
            yield Ref(Kind.SLOT, name)
        case Choose(guard, chosen, other):
            yield Choose(guard, other, chosen)
        case Reduce(argument, over):
            yield argument
            if node.to != "sum":
                yield replace(node, to="sum")
            if over != "axis":
                yield replace(node, over="tensors" if over == "tensor" else "tensor")
        case Op(fn, arguments):
            yield from _changed_operation(fn, arguments)
            if rate_of(node, rates) >= Rate.ROW and not _is_condition(node) and _rounds(fn):
                yield Op(Fn.EXACT, (node,))
            yield from _moved_epsilon(node, rates)


def _rounds(fn: Fn) -> bool:
    return fn in (Fn.ADD, Fn.SUB, Fn.MUL, Fn.DIV, Fn.SQRT, Fn.SQUARE, Fn.MATMUL)


def _changed_operation(fn: Fn, arguments: tuple[Expression, ...]) -> Iterator[Expression]:
    """Another sign, another function, a term dropped."""
    others = {
        Fn.ADD: Fn.SUB, Fn.SUB: Fn.ADD, Fn.MUL: Fn.DIV, Fn.DIV: Fn.MUL, Fn.MAXIMUM: Fn.MINIMUM, Fn.MINIMUM: Fn.MAXIMUM,
        Fn.SQUARE: Fn.ABS, Fn.SQRT: Fn.SQUARE, Fn.LESS: Fn.LESS_EQUAL, Fn.LESS_EQUAL: Fn.LESS,
    }  # fmt: skip
    if fn in others:
        yield Op(others[fn], arguments)
    if fn in (Fn.SUB, Fn.DIV, Fn.LESS, Fn.MATMUL, Fn.POW, Fn.REMAINDER):
        yield Op(fn, (arguments[1], arguments[0]))
    if fn is Fn.WHERE:
        yield from arguments[1:]
        yield Op(fn, (arguments[0], arguments[2], arguments[1]))
    elif fn in (Fn.LESS, Fn.LESS_EQUAL, Fn.EQUAL, Fn.POWER):
        return
    else:
        yield from arguments


def _moved_epsilon(node: Op, rates: Environment) -> Iterator[Expression]:
    """sqrt(x) + k for sqrt(x + k), and the other way round; likewise for maximum and abs."""
    match node:
        case Op(Fn.ADD, (Op(fn, (*before, x)), k)) if (
            fn in (Fn.SQRT, Fn.MAXIMUM, Fn.ABS) and rate_of(k, rates).is_scalar
        ):
            yield Op(fn, (*before, Op(Fn.ADD, (x, k))))
        case Op(Fn.SQRT | Fn.ABS as fn, (Op(Fn.ADD, (x, k)),)) if rate_of(k, rates).is_scalar:
            yield Op(Fn.ADD, (Op(fn, (x,)), k))
