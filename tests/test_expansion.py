"""Terms are counted before anything is multiplied out: as many as sympy makes, or more."""

import pytest
import sympy
from sympy import Float, Max, exp, sin, sqrt

from symcompile.expressions.expansion import BEYOND, expanded, terms_made

a, b, c, d = sympy.symbols("a b c d")

# What is multiplied out has exactly so many terms in its sums: none is like another.
COUNTED = [
    (a, 1),
    (a + b + 1, 3),
    ((a + b) * (c + d), 4),
    ((a + b) ** 2, 3),
    ((a + b + c + d) ** 5, 56),
    ((a + b) ** 12, 13),
    (((a + b) ** 2 + c) ** 2, 10),
    (sin((a + b) * (c + d)), 1 + 4),
    (sin((a + b) ** 2) ** 2 + c, 2 + 3),
    ((sin(a + b) + c) ** 2, 3 + 2 * 2),  # sin(a + b)**2 + 2*c*sin(a + b) + c**2
    ((sin(a + b) + c + 1) ** 3, 10 + 6 * 2),
    ((sin(a + b) + c) * (a + d), 4 + 2 * 2),
    ((a + b) ** -2, 3),
    ((a + b) / (c + d) ** 2, 2 * 3),
    (1 / (a + b) + 1 / (c + d), 2 * 4),
    (sqrt(a + b), 1 + 2),
    ((a + b) ** sympy.Rational(5, 2), 3 + 3 * 2),  # a root in each term
    (((a + b) ** 3) ** sympy.Rational(17, 10), 4 + 4 * 4),
    (exp(a * (b + c)) + Max(a * (b + d), 1), 2 + 2 + 2),
]


@pytest.mark.parametrize(("expr", "count"), COUNTED)
def test_count(expr: sympy.Expr, count: int) -> None:
    assert terms_made(expr) == count


@pytest.mark.parametrize(("expr", "count"), COUNTED)
def test_bound(expr: sympy.Expr, count: int) -> None:
    assert expanded(expr, count - 1) is None
    out = expanded(expr, count, power_exp=False)
    assert out == sympy.expand(expr, power_exp=False)


def nested(depth: int, power: int = 2) -> sympy.Expr:
    form = a - Float(1.1) * b
    for k in range(depth):
        form = form**power + Float(0.3 + 0.1 * k) * (c if k % 2 else b) + Float(0.7)
    return form


@pytest.mark.parametrize("power", [2, 3, -2])
def test_what_stands_in_functions_is_counted_as_often_as_it_is_written(power: int) -> None:
    form = a
    for k in range(9):
        form = (sympy.Abs(form - b) + k + Float(0.5)) ** power
    assert terms_made(form) > 2**9
    assert expanded(form, 60) is None


@pytest.mark.parametrize("power", [2, 3, 7, -2, -3])
def test_counting_is_cheap_where_multiplying_out_is_not(power: int) -> None:
    assert terms_made(nested(30, power)) == BEYOND
    assert terms_made((a + b + 1) ** 10**9) == BEYOND
    assert terms_made(sympy.Mul(*((a + k * b + c) for k in range(2, 500)))) == BEYOND
