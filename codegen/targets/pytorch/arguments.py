"""The arguments of the generated class: the peer's, in its order, then what it does not have, by keyword only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...ir.nodes import Choice, Hyperparameter, Program
from ...passes.locality import locality
from .names import OFF, TUPLES, Names


@dataclass(frozen=True)
class Argument:
    name: str
    type: str
    default: str
    doc: str


WAYS = (
    Argument("maximize", "bool", "False", ""), Argument("foreach", "bool | None", "None", ""),
    Argument("capturable", "bool", "False", ""), Argument("differentiable", "bool", "False", ""),
    Argument("fused", "bool | None", "None", ""), Argument("write_back_grad", "bool", "True", ""),
)  # fmt: skip
"""What every optimizer of PyTorch has; the support module documents it."""


class Signature:
    """`positional` and `keywords` arguments in order; a param group keeps them all. `options`: the rule's and its
    stages'; `foreign`: what only the peer has, taken at its default for the sake of the order."""

    def __init__(self, program: Program, names: Names) -> None:
        self.program, self.names = program, names
        own = {argument.name: argument for argument in self._own()}
        order = names.peer.arguments if names.peer else tuple(dict.fromkeys(self._of_rule()))
        self.positional = [own.get(name) or _foreign(name) for name in order]
        sparse = Argument("sparse", "str", '"dense"' if locality(program) else '"lazy"', "")
        self.keywords = [*(own[name] for name in own if name not in order), sparse, *WAYS]
        self.options = list(dict.fromkeys(name for name in (*order, *own) if name in own))
        self.foreign = [name for name in order if name not in own]

    def documented(self) -> Iterator[Argument]:
        """What the class documents itself; the support module has the rest."""
        yield from (argument for argument in self.positional + self.keywords if argument.doc)
        shared = ", ".join(argument.name for argument in self.keywords if not argument.doc)
        yield Argument(f"params, {shared}", "", "", "as in _support.Optimizer")

    def _own(self) -> Iterator[Argument]:
        made = set()
        for hyper in self.program.hypers:
            name = self.names.argument(hyper.name)
            if name not in made:
                made.add(name)
                yield self._number(hyper) if self.names.place(hyper.name)[1] is None else self._tuple(name)
        for option in self.program.options:
            yield self._option(option)

    def to_choose(self) -> dict[str, str]:
        """Conventions of stages, and what turns the stage on: there the peer's meaning is not ours, nor the default."""
        stages = {hyper.stage: hyper.name for hyper in reversed(self.program.hypers) if hyper.stage}
        return {
            option.name: stages[option.stage] for option in self.program.options if option.convention and option.stage
        }

    def dialect(self) -> dict[str, bool | str]:
        """The conventions under which the class is its peer."""
        theirs = self.names.peer.dialect if self.names.peer else {}
        return {o.name: theirs.get(o.name, o.default) for o in self.program.options if o.convention}

    def _of_rule(self) -> Iterator[str]:
        for hyper in self.program.hypers:
            if not hyper.stage:
                yield self.names.argument(hyper.name)
        yield from (option.name for option in self.program.options if not option.stage)

    def parts(self, argument: str) -> list[Hyperparameter]:
        """The hyperparameters that an argument holds."""
        return [hyper for hyper in self.program.hypers if self.names.argument(hyper.name) == argument]

    def _tuple(self, name: str) -> Argument:
        parts = sorted(self.parts(name), key=lambda hyper: TUPLES[name].index(hyper.name))
        kinds, defaults = ", ".join("float | Tensor" for _ in parts), ", ".join(repr(hyper.default) for hyper in parts)
        return Argument(name, f"tuple[{kinds}]", f"({defaults})", "; ".join(_doc(hyper) for hyper in parts))

    def _number(self, hyper: Hyperparameter) -> Argument:
        kind = "int" if hyper.integer else "float"
        default = OFF.get(hyper.name) if hyper.default is None else hyper.default
        if not hyper.integer:
            kind += " | Tensor"
        if hyper.default is None or hyper.name in OFF:
            kind += " | None"
        return Argument(self.names.hyper(hyper.name), kind, repr(default), _doc(hyper))

    def _option(self, option: Choice) -> Argument:
        if option.name in self.to_choose():
            return Argument(option.name, "bool | None", "None", f"{option.doc}; to be chosen by those who want it")
        return Argument(option.name, "str" if option.choices else "bool", repr(option.default), option.doc)

    def checks(self) -> list[str]:
        """The statements that check a param group."""
        foreign = ", ".join(f'{name}=group["{name}"]' for name in self.foreign)
        lines = [f"_support.refuse({foreign})"] if foreign else []
        for name in self.options:
            parts = self.parts(name)
            if len(parts) == 1:
                lines.append(self._check_of(name, parts[0]))
            elif parts:
                bounds = ", ".join(_bounds(hyper) for hyper in parts)
                lines.append(f'_support.check_numbers(group, "{name}", {bounds})')
        for option in self.program.options:
            if option.choices:
                lines.append(f'_support.check_choice("{option.name}", group["{option.name}"], {option.choices!r})')
        for names in self.program.alternatives:
            lines.append(f"_support.check_one(group, {', '.join(map(repr, names))})")
        for hyper_name, option_name in self.program.dependents():
            lines.append(f'_support.check_needs(group, "{hyper_name}", "{option_name}")')
        for convention, hyper in self.to_choose().items():
            theirs = f"{self.names.peer.path} has {self.dialect()[convention]}" if self.names.peer else ""
            argument = self.names.argument(hyper)
            lines.append(f'_support.check_chosen(group, "{argument}", "{convention}", "{theirs}")')
        return lines

    def _check_of(self, name: str, hyper: Hyperparameter) -> str:
        integer = ", integer=True" if hyper.integer else ""
        optional = ", optional=True" if hyper.default is None or name in OFF else ""
        return f'_support.check_number(group, "{name}", {_bounds(hyper)}{integer}{optional})'


def _foreign(name: str) -> Argument:
    return Argument(name, "float", "0.0", "what this file was generated without: only 0 is taken")


def _bounds(hyper: Hyperparameter) -> str:
    return "{" + ", ".join(f'"{sign}": {bound:g}' for sign, bound in hyper.bounds) + "}"


def _doc(hyper: Hyperparameter) -> str:
    return hyper.doc or "step size"
