"""hoist: every value is computed at its own rate, and has a name.

Step scalars leave the tensor statements: the region's `scalars` hold them, in the order in which they are first read,
and tensor statements refer to them by `Kind.SCALAR`, rounded to the compute dtype. Values per tensor (a trust ratio)
become statements of their own. Precondition: `numerics` has run. Nothing is regrouped: only maximal subexpressions as
the author grouped them are taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from optloom.spec.guards import ALWAYS, And, Guard, before_tensors, conjunction, negation

from ..ir.naming import descriptive_name, unique
from ..ir.nodes import (
    Choose,
    Expression,
    Kind,
    Let,
    Literal,
    Program,
    Rate,
    Ref,
    Region,
    Statement,
    Store,
    rebuild,
)
from .rates import Environment, environment, rate_of


def hoist(program: Program) -> Program:
    regions: list[Region] = []
    taken: set[str] = set()
    for region in program.regions:
        regions.append(_Hoisting(program, region, taken).run())
    return replace(program, regions=tuple(regions))


@dataclass
class _Hoisting:
    """One region's. `taken`: the names of earlier regions, which this one adds its own to."""

    program: Program
    region: Region
    taken: set[str]
    scalars: dict[Expression, Statement] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)

    def run(self) -> Region:
        self.rates: Environment = environment(self.program, self.region)
        self.per_tensor: dict[Expression, int] = {}
        self.taken |= {statement.name for statement in self.region.statements if isinstance(statement, Let)}
        self.taken |= {slot.name for slot in self.program.slots} | {"w", "g", "t"}
        self.rounded: set[str] = set()
        stores = [s.slot for s in self.region.statements if isinstance(s, Store) and s.slot != "w"]
        self.stored = {name for name in stores if self.program.slot(name).shape == "scalar"}
        for statement in self.region.statements:
            if self._is_per_step(statement):
                self.scalars[_defined(statement)] = replace(statement, guard=before_tensors(statement.guard))
            else:
                self.statements.append(replace(statement, value=self._taken_out(statement.value, statement.guard)))
        return replace(self.region, statements=tuple(self.statements), scalars=tuple(self.scalars.values()))

    def _is_per_step(self, statement: Statement) -> bool:
        if not rate_of(statement.value, self.rates).is_scalar:
            return False
        if isinstance(statement, Let):
            return not statement.rebinds
        return statement.slot != "w" and self.program.slot(statement.slot).shape == "scalar"

    def _taken_out(self, node: Expression, guard: Guard) -> Expression:
        if isinstance(node, Literal):
            return node
        rate = rate_of(node, self.rates)
        if rate.is_scalar:
            return self._scalar(node, guard)
        inside = self._children(node, guard)
        if rate.is_per_tensor:
            return inside
        return rebuild(inside, lambda child: self._named_per_tensor(child, guard))

    def _children(self, node: Expression, guard: Guard) -> Expression:
        if isinstance(node, Choose):
            chosen = self._taken_out(node.chosen, conjunction(guard, node.guard))
            return replace(
                node, chosen=chosen, other=self._taken_out(node.other, conjunction(guard, negation(node.guard)))
            )
        return rebuild(node, lambda child: self._taken_out(child, guard))

    def _scalar(self, node: Expression, guard: Guard) -> Ref:
        guard = before_tensors(guard)
        known = self.scalars.get(node)
        if known is None:
            known = Let(self._name_of(node), node, guard)
        elif not (isinstance(node, Ref) and node.kind in (Kind.LET, Kind.SLOT)):
            known = replace(known, guard=_common(known.guard, guard))
        self.scalars[node] = known
        return Ref(Kind.SCALAR, known.name if isinstance(known, Let) else known.slot)

    def _name_of(self, scalar: Expression) -> str:
        """One that only rounds a hyperparameter, or a scalar slot that this step does not change, keeps its name."""
        match scalar:
            case Ref(Kind.BEFORE, name) if name in self.stored:
                return unique(f"old_{name}", self.taken)
            case Ref(Kind.HYPER | Kind.BEFORE):
                return unique(descriptive_name(scalar), self.rounded)
        return unique(descriptive_name(scalar), self.taken)

    def _named_per_tensor(self, node: Expression, guard: Guard) -> Expression:
        if isinstance(node, (Ref, Literal)):
            return node
        rates = {
            **self.rates,
            **{(Kind.SCALAR, s.name): Rate.STEP for s in self.scalars.values() if isinstance(s, Let)},
        }
        rates |= {(Kind.LET, self.statements[i].defines): Rate.STEP | Rate.TENSOR for i in self.per_tensor.values()}
        rate = rate_of(node, rates)
        if rate.is_scalar or not rate.is_per_tensor:
            return node
        at = self.per_tensor.setdefault(node, len(self.statements))
        if at == len(self.statements):
            self.statements.append(Let(unique(descriptive_name(node), self.taken), node, guard))
        else:
            known = self.statements[at]
            self.statements[at] = replace(known, guard=_common(known.guard, guard))
        return Ref(Kind.LET, self.statements[at].defines)


def _defined(statement: Statement) -> Ref:
    """How later expressions refer to what `statement` defines."""
    return Ref(Kind.LET, statement.name) if isinstance(statement, Let) else Ref(Kind.SLOT, statement.slot)


def _common(a: Guard, b: Guard) -> Guard:
    """What both guards ask for."""
    first, second = ((g.guards if isinstance(g, And) else (g,)) for g in (a, b))
    return conjunction(*(part for part in first if part in second)) if ALWAYS not in (a, b) else ALWAYS
