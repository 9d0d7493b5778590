"""Canonical form: an equal function, no more complex, constants merged, idempotent."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import sympy
from sympy import Abs, Float, Max, exp, log, sin, sqrt, tanh

from symcompile.errors import ExpressionError
from symcompile.expressions.canonical import canonical
from symcompile.expressions.complexity import complexity
from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.program import from_sympy
from symcompile.expressions.slots import extract, slot

x, y = sympy.symbols("x y")
c = [slot(i) for i in range(4)]
OPERATORS = OperatorSet.of(None)


def f(value: float) -> Float:
    return Float(value)


SPELLINGS = [
    (f(2.5) * (f(3.1) * x), c[0] * x),
    (f(2.5) * (f(3.1) * x + f(4.2) * y) + f(1.5), c[0] + c[1] * y + c[2] * x),
    ((f(2.5) * x + f(3.1)) * (f(4.2) * y + f(5.3)), c[0] * (c[1] + x) * (c[2] + y)),
    (f(7.3) / (f(2.5) * x + f(3.1)), c[0] / (c[1] + x)),
    (exp(f(1.5) * x) * exp(f(2.5) * y + f(3.1)), c[0] * exp(c[1] * y + c[2] * x)),
    ((x + f(2.5)) ** 2 + f(3.1) * x + f(1.7), c[0] + c[1] * x + x**2),
    (f(2.5) * x * y + f(3.1) * x, c[0] * x * (c[1] + y)),
    (f(2.5) * x + f(1.5) * x, c[0] * x),
    (f(3.5) * x + f(-3.5) * x, sympy.S.Zero),
    (sqrt(f(4.5) * x + f(2.5)), c[0] * sqrt(c[1] + x)),
    (f(2.5) * x + f(1.5) + f(0.5), c[0] + c[1] * x),
    ((f(3.5) * x) ** 2, c[0] * x**2),
    (Abs(f(3.5) * x) ** 2, c[0] * x**2),
]


def anonymous(form: sympy.Expr) -> sympy.Expr:
    """The form whatever the numbers of its slots."""
    one = sympy.Symbol("C", nonzero=True)
    return form.func(*map(anonymous, form.args)) if form.args else one if form in c else form


@pytest.mark.parametrize(("expr", "expected"), SPELLINGS)
def test_form(expr: sympy.Expr, expected: sympy.Expr) -> None:
    assert anonymous(canonical(expr, (), OPERATORS)[0]) == anonymous(expected)


def values(form: sympy.Expr, constants: tuple[float, ...], X: np.ndarray) -> np.ndarray:
    return evaluate(from_sympy([form], ["x", "y"], len(constants)), X, constants)[:, 0]


def random_expression(rng: np.random.Generator, depth: int) -> sympy.Expr:
    """A tree over x, y and floats, of every operator there is."""
    if depth == 0 or rng.random() < 0.15:
        leaf = [x, y][rng.integers(2)]
        return Float(rng.normal() * 2) * leaf if rng.random() < 0.7 else Float(rng.normal() * 2)
    operator = list(VOCABULARY.values())[rng.integers(len(VOCABULARY))]
    if operator.name == "pow":
        return random_expression(rng, depth - 1) ** int(rng.integers(2, 4))
    return operator.build(*(random_expression(rng, depth - 1) for _ in range(operator.arity)))


@pytest.mark.parametrize("seed", range(150))
def test_random_expressions_keep_their_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    try:
        expr = random_expression(rng, 4)
        before, start = extract(expr)
    except (ValueError, TypeError, ExpressionError):  # no real number, or none of float64
        return
    X = rng.uniform(0.3, 1.5, (30, 2))
    form, constants = canonical(expr, (), OPERATORS)
    old, new = values(before, start, X), values(form, constants, X)
    valid = np.isfinite(old) & (np.abs(old) < 1e6)
    np.testing.assert_allclose(new[valid], old[valid], rtol=1e-6, atol=1e-6)
    assert complexity(form, OPERATORS) <= complexity(before, OPERATORS)


def test_signs_and_phases() -> None:
    form, constants = canonical(f(-1.5) * sin(f(-3.5) * x), (), OPERATORS)
    assert form == c[0] * sin(c[1] * x)
    assert constants == pytest.approx((1.5, 3.5))
    form, constants = canonical(sin(f(-3.5) * x + f(9.5)), (), OPERATORS)
    assert min(constants) > -np.pi
    assert max(constants) == pytest.approx(3.5)
    form, constants = canonical(f(-1.5) * sin(f(3.5) * x + f(0.5)), (), OPERATORS)
    assert sorted(constants) == pytest.approx(sorted((1.5, 3.5, 0.5 - np.pi)))


def test_exact_numbers_stay() -> None:
    form, constants = canonical(sin(sympy.pi * x) / 3 + x**2, (), OPERATORS)
    assert form == sin(sympy.pi * x) / 3 + x**2
    assert constants == ()


def test_no_constant_is_lost_in_functions() -> None:
    expr = tanh(f(1.5) * x + f(0.5)) + Max(f(0.2), f(1.1) * y) + log(f(2.5) * x)
    assert len(canonical(expr, (), OPERATORS)[1]) == 5


def nested(depth: int, power: int = 2) -> sympy.Expr:
    form = x - f(1.1) * y
    for k in range(depth):
        form = form**power + f(0.3 + 0.1 * k) * (x if k % 2 else y) + f(0.7)
    return form


def quotient(depth: int) -> sympy.Expr:
    form = x + f(1.1)
    for k in range(depth):
        form = (y + f(1.5 + k)) / (form + x * (y + f(0.3))) + (x + f(0.2)) * (y + f(0.1))
    return form


DEAR = {
    **{f"{depth} nested squares": nested(depth) for depth in (3, 4, 5, 6, 12)},
    **{f"{depth} nested cubes": nested(depth, 3) for depth in (2, 3, 4)},
    **{f"{depth} nested reciprocals": nested(depth, -2) for depth in (3, 4, 6)},
    "power": (x + f(1.3) * y + f(2.3)) ** 12 + x,
    "power below": (x + f(1.3) * y + f(2.3)) ** -12 + x,
    "factors": sympy.Mul(*(x + f(1.1 + k) * y + f(0.3) for k in range(9))),
    "inside": sin(sympy.Mul(*(x + f(1.1 + k) * y + f(0.3) for k in range(6)))) ** 2
    + exp(nested(4)),
    "quotient": quotient(5),
    "polynomial": sum(
        f(1.1 + 0.01 * i + 0.3 * j) * x**i * y**j for i in range(9) for j in range(9)
    ),
}


@pytest.mark.parametrize("name", DEAR)
def test_dear_forms_take_no_longer_than_they_are_worth(name: str) -> None:
    operators = OperatorSet.of(["+", "-", "*", "/", "square", "cube", "sin", "exp"])
    start = time.process_time()
    form, constants = canonical(DEAR[name], (), operators)
    assert time.process_time() - start < 2.0  # milliseconds; many minutes when multiplied out
    written, given = extract(DEAR[name])
    assert complexity(form, operators) <= complexity(written, operators)
    X = np.random.default_rng(0).uniform(0.1, 0.5, (20, 2))
    with np.errstate(all="ignore"):
        expected = values(written, given, X)
        assert np.allclose(values(form, constants, X), expected, rtol=1e-9, equal_nan=True)


def test_products_of_few_terms_are_multiplied_out() -> None:
    expr = (x + f(2.5)) ** 2 - x**2 + y * (x + f(1.5)) - x * y
    assert anonymous(canonical(expr, (), OPERATORS)[0]) == anonymous(c[0] + c[1] * x + c[2] * y)


def test_constants_do_not_merge_beyond_the_range_of_float64() -> None:
    for expr in (
        f(1e-200) * (f(1e-200) * x + f(3.1) * y),
        f(1e200) * x * (f(1e200) * y + 1) ** 2,
        (f(1e-160) * (x + f(2.5) * y)) ** 2 * f(1e300),
        (f(1e220) * x + 1) * (f(1e-203) * y + f(1e-204) * x) * (f(1e-203) * x + f(1e-204) * y),
        y + f(1e-203) * x * (f(1e203) + y * (f(1e203) + x) * f(1e-203)),
    ):
        form, constants = canonical(expr, (), OPERATORS)
        assert all(np.isfinite(c) and abs(c) > 1e-307 for c in constants)
        written, given = extract(expr)
        X = np.random.default_rng(0).uniform(0.1, 0.5, (20, 2))
        assert np.allclose(values(form, constants, X), values(written, given, X), atol=0)


VANISHED = [Abs, sin, tanh, sqrt, log, exp, lambda e: e**3, lambda e: Max(e, 0.5)]


@pytest.mark.parametrize("function", VANISHED)
def test_functions_of_inputs_that_vanish_are_constants(function: Callable[..., sympy.Expr]) -> None:
    form, constants = canonical(*extract(function(Float(0.0) * x + 2.5)), OPERATORS)
    assert form == slot(0)
    # The factor of the input is a slot here, and is found to be zero as it is folded.
    given = function(slot(0) * x + slot(1))
    assert canonical(given, (0.0, 2.5), OPERATORS) == (form, pytest.approx(constants))
