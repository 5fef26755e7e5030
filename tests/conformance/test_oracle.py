"""The oracle: independent of the compiler, in agreement with a second one, its bounds true and tight."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from optloom.codegen.conformance import second_oracle
from optloom.codegen.conformance.cases import cases, composition_of, configuration, variants
from optloom.codegen.conformance.corpus import tensors
from optloom.codegen.conformance.decisions import choose, extremum, sign
from optloom.codegen.conformance.exact import (
    DECIDED_EITHER_WAY,
    OVERFLOWED,
    Arithmetic,
    Part,
    Truth,
    number,
    of_floats,
    of_numbers,
    precisely,
)  # fmt: skip
from optloom.codegen.conformance.formats import FORMATS
from optloom.codegen.conformance.inputs import Question
from optloom.codegen.conformance.noise import Perturbed
from optloom.codegen.conformance.oracle import Expected, Outcome, step
from optloom.codegen.conformance.reductions import matmul, total
from optloom.codegen.discovery import discover
from optloom.spec.rule import Rule

SINGLE = Arithmetic(FORMATS["float32"])
FLUSHING = Arithmetic(FORMATS["float32"], flushes=True)
ROUNDOFF = 2.0**-24


def test_it_needs_neither_sympy_nor_the_compiler() -> None:
    program = (
        "import sys, importlib, pkgutil, numpy as np, optloom.spec.rules as rules\n"
        "from optloom.codegen.conformance import noise, oracle\n"
        "from optloom.codegen.conformance.cases import extra_inputs\n"
        "from optloom.spec.declarations import Option\n"
        "from optloom.spec.rule import Composition, Rule\n"
        "for found in pkgutil.iter_modules(rules.__path__):\n"
        "    module = importlib.import_module(f'optloom.spec.rules.{found.name}')\n"
        "    rule = next(v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__)\n"
        "    c = Composition(rule)\n"
        "    hypers = {h.name: c.default(h) for h in c.hypers}\n"
        "    options = {o.name: o.default for o in c.of_kind(Option)}\n"
        "    given = oracle.Configuration(c, 'float32', hypers, options)\n"
        "    w = np.ones((1, 2, 3), np.float32)\n"
        "    slots = {n: [a[None] for a in s] for n, s in given.start([w[0]]).items()}\n"
        "    batch = oracle.Batch([w], [w], slots, np.array([0]), np.array([0]), extra_inputs(c, [w]))\n"
        "    noise.with_spread(oracle.step(given, batch), given, batch)\n"
        "used = ('sympy', 'optloom.codegen.ir', 'optloom.codegen.passes', 'optloom.codegen.compiler')\n"
        "print(sorted(name for name in sys.modules if name.startswith(used)))\n"
    )
    root = str(Path(__file__).parents[2] / ".ci" / "importroot")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("rule", discover().values(), ids=discover())
def test_both_oracles_agree(rule: type[Rule]) -> None:
    composition = composition_of(rule)
    ordinary = tuple(tensor for tensor in tensors("float64") if tensor.name in ("matrix", "cube", "scalar"))
    for variant in variants(composition):
        case = cases(composition, variant, "float64")[-1]
        given = configuration(composition, case, "float64")
        question = Question(given, given, case, ordinary, run_calls=0)
        outcome = step(given, question.batch)
        for call in (0, 1, len(case.steps) - 1):
            found = second_oracle.step(given, question.batch, call)
            assert not _differences(outcome, found, call), (variant.name, case.steps[call])


def _differences(outcome: Outcome, found: list[dict[str, Any]], call: int) -> list[str]:
    """The outputs on which the oracles differ by more than 1e-28 of their size."""
    wrong = []
    for name in ("w", *outcome.slots):
        parts = outcome.parameters if name == "w" else outcome.slots[name]
        for index, part in enumerate(parts):
            if part is not None and name in found[index]:
                first = np.asarray(second_oracle.exact(part.head[call]) + second_oracle.exact(part.tail[call]), object)
                second = np.broadcast_to(np.asarray(found[index][name], object), first.shape)
                size = max((abs(x) for x in np.ravel(first)), default=0) + 1e-30
                pairs = zip(np.ravel(first), np.ravel(second), strict=True)
                wrong += [name for a, b in pairs if abs(a - b) > size * 1e-28]
    return wrong


def test_a_difference_of_one_part_in_ten_to_the_27_is_seen() -> None:
    rule = next(iter(discover().values()))
    composition = composition_of(rule)
    variant = variants(composition)[0]
    case = cases(composition, variant, "float64")[0]
    given = configuration(composition, case, "float64")
    ordinary = tuple(tensor for tensor in tensors("float64") if tensor.name in ("matrix", "cube"))
    question = Question(given, given, case, ordinary, run_calls=0)
    outcome = step(given, question.batch)
    moved = [replace(part, tail=part.tail + np.abs(part.head).max() * 1e-27) for part in outcome.parameters]
    found = second_oracle.step(given, question.batch, 0)
    assert _differences(Outcome(moved, outcome.slots, outcome.features), found, 0)


def _magnitudes(seed: int) -> np.ndarray:
    """Numbers of all sizes, subnormal ones and zero among them, as a batch of one call."""
    rng = np.random.default_rng(seed)
    values = np.ldexp(rng.uniform(-2, 2, 3000), rng.integers(-160, 127, 3000)).astype(np.float32)
    values[:5] = 0, 1, -1, np.float32(1e-45), 3e38
    return np.asarray(rng.permutation(values)[None])


OPERATIONS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_bounds_hold_and_are_one_rounding(name: str) -> None:
    a, b = _magnitudes(1), _magnitudes(2)
    with np.errstate(all="ignore"), precisely():
        part = getattr(SINGLE, name)(of_floats(a), of_floats(b))
        computed = OPERATIONS[name](a, b)
        off = np.abs(computed.astype(np.longdouble) - part.near)
    finite = np.isfinite(computed) & np.isfinite(part.near)
    assert np.array_equal(np.isfinite(computed), np.isfinite(part.near))
    assert (off[finite] <= part.error[finite]).all()
    tight = ROUNDOFF * np.abs(part.near[finite]) + 2.0**-150
    assert (part.error[finite] <= tight).all()


def test_bounds_of_chains_hold() -> None:
    a, b, c = (np.abs(_magnitudes(seed)) for seed in (3, 4, 5))
    with np.errstate(all="ignore"), precisely():
        x, y, z = of_floats(a), of_floats(b), of_floats(c)
        product = SINGLE.multiply(x, y)
        part = SINGLE.divide(product, SINGLE.add(SINGLE.sqrt(SINGLE.add(SINGLE.square(y), z)), x))
        computed = (a * b) / (np.sqrt(np.square(b) + c) + a)
        off = np.abs(computed.astype(np.longdouble) - part.near)
    judged = np.isfinite(part.near) & np.isfinite(part.error)
    assert judged.mean() > 0.3
    assert (off[judged] <= part.error[judged]).all()
    assert np.isnan(computed[np.isnan(part.near) & (part.error == 0)]).all()


def test_flushed_numbers_pass_only_where_flushing_is_known() -> None:
    tiny = np.array([[np.float32(1e-30)]])
    with precisely():
        gradual, flushed = (arithmetic.square(arithmetic.read(tiny)) for arithmetic in (SINGLE, FLUSHING))
        near_tiny = SINGLE.add(SINGLE.read(np.float32([[1.5e-38]])), SINGLE.read(np.float32([[-1.4e-38]])))
    assert gradual.error < 1e-45
    assert flushed.error > 1e-39
    assert near_tiny.error < 1e-45  # A sum below the normal range is exact, and may not be flushed.


def test_overflow_is_infinite_and_its_border_unknown() -> None:
    with np.errstate(all="ignore"), precisely():
        square = SINGLE.square(of_floats(np.float32([[1e25, 1.0, 2.0**64]])))
        quotient = SINGLE.divide(of_floats(np.float32([[1, 1, 1]])), square)
    assert square.near[0, 0] == np.inf and square.error[0, 0] == 0 and square.flags[0, 0] == OVERFLOWED
    assert quotient.near[0, 0] == 0 and quotient.value[0, 0] == 0
    assert np.isinf(square.error[0, 2])


def test_known_numbers_are_rounded_once() -> None:
    with precisely():
        third = of_numbers(np.array([number(1) / 3, number(0.5), number(0)], object))
        rounded = SINGLE.scalar(third)
    assert rounded.error[0] == pytest.approx(ROUNDOFF / 3, rel=1e-6)
    assert rounded.error[1] == rounded.error[2] == 0


def _uncertain(values: list[float], error: float) -> Part:
    part = of_floats(np.array([values]))
    return Part(part.value, part.near, np.full(part.near.shape, error, np.longdouble), part.flags)


def test_decisions_within_their_bound_go_either_way() -> None:
    signs = sign(_uncertain([1e-9, 1.0, 0.0], 1e-8))
    assert signs.error.tolist() == [[2, 0, 1]]
    assert signs.flags.tolist() == [[DECIDED_EITHER_WAY, 0, DECIDED_EITHER_WAY]]
    doubt = Truth(np.array([[True, True]]), np.array([[True, False]]))
    chosen = choose(doubt, _uncertain([1.0, 1.0], 0), _uncertain([5.0, 5.0], 0))
    assert chosen.near.tolist() == [[1, 1]] and chosen.error.tolist() == [[4, 0]]


def test_maximum_is_continuous_and_propagates_nan() -> None:
    largest = extremum("maximum", _uncertain([1.0, np.nan], 1e-8), _uncertain([1.0 + 1e-9, 2.0], 0))
    assert largest.error[0, 0] == 1e-8 and not largest.flags.any()
    assert np.isnan(largest.near[0, 1])


def test_sums_and_products_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1, 20, 15)).astype(np.float32)
    with precisely():
        part = total(SINGLE, of_floats(x))
        product = matmul(SINGLE, of_floats(x), of_floats(x.transpose(0, 2, 1)))
        empty = total(SINGLE, of_floats(np.zeros((1, 0), np.float32)))
    running = np.float32(0)
    for value in x.ravel():
        running += value
    assert abs(running - part.near[0]) <= part.error[0] < 2e-4
    assert (np.abs(np.matmul(x, x.transpose(0, 2, 1)) - product.near) <= product.error).all()
    assert empty.near[0] == 0 and empty.error[0] == 0


def test_perturbed_arithmetic_spreads_by_a_rounding() -> None:
    many = np.full((4000, 1), 3, np.float32)
    noisy = Perturbed(FORMATS["float32"], calls=4000)
    product = noisy.multiply(noisy.read(many), noisy.read(many))
    assert float(np.std(product.near)) == pytest.approx(9 * ROUNDOFF / np.sqrt(3), rel=0.05)


def test_an_expected_number_has_106_bits() -> None:
    with precisely():
        third = of_numbers(np.array([[number(1) / 3]], object))
    from optloom.codegen.conformance.oracle import expected

    part: Expected = expected(third, calls=1)
    assert part.tail[0, 0] != 0
    assert abs(mpmath.mpf(part.head[0, 0]) + mpmath.mpf(part.tail[0, 0]) - mpmath.mpf(1) / 3) < mpmath.mpf(2) ** -52
