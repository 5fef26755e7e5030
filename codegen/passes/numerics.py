"""numerics: the form that loses no digits. No rewrite moves an epsilon.

Precondition: a frozen, specialised program. The rewrites, each with what it gains (one step, float32, median error of
the update against the oracle):

- `1 - beta**t` becomes one operation, so that no target subtracts rounded numbers: from 57 ULP (t = 1) to 0.5.
- a tensor divided by a step's scalar becomes a product with the scalar's inverse, which is rounded once like any other
  scalar: the same error, one division per element less, and no compiler can do it behind our back (XLA and Grappler
  do, and then the bits differ).
- a length is asked of the parameter, not of a value of its shape, which would have to be computed first.
- `x**0.5` becomes `sqrt(x)`: correctly rounded, where powers are not.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..ir.nodes import ONE, Expression, Fn, Kind, Length, Literal, Op, Program, Rate, Ref, transform, walk
from .rates import Environment, environment, rate_of


def numerics(program: Program) -> Program:
    regions = []
    for region in program.regions:
        rates = environment(program, region)

        def improve(node: Expression, rates: Environment = rates) -> Expression:
            match node:
                case Op(Fn.SUB, (Literal(one), Op(Fn.POWER, (base, exponent)))) if one == 1:
                    return Op(Fn.ONE_MINUS_POWER, (base, exponent))
                case Op(Fn.DIV, (numerator, denominator)) if (
                    rate_of(denominator, rates).is_scalar and rate_of(numerator, rates) >= Rate.ROW
                ):
                    return Op(Fn.MUL, (numerator, Op(Fn.DIV, (ONE, denominator))))
                case Length(argument) if _is_like_parameter(argument, rates):
                    return replace(node, argument=Ref(Kind.PARAMETER, "w"))
                case Op(Fn.POW, (base, Literal(value))) if value == Fraction(1, 2):
                    return Op(Fn.SQRT, (base,))
            return node

        statements = tuple(replace(s, value=transform(s.value, improve)) for s in region.statements)
        regions.append(replace(region, statements=statements))
    return replace(program, regions=tuple(regions))


def _is_like_parameter(node: Expression, rates: Environment) -> bool:
    reshaped = any(isinstance(part, Op) and part.fn in (Fn.MATMUL, Fn.TRANSPOSE) for part in walk(node))
    return bool(rate_of(node, rates) & Rate.ELEMENT) and not reshaped
