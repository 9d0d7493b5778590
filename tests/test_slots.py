"""Slots: numbered places of fitted constants."""

import math

import numpy as np
import pytest
import sympy

from symcompile.errors import ExpressionError
from symcompile.expressions import slots

x, y = sympy.symbols("x y")
c = slots.slot


def test_slots_are_told_from_symbols() -> None:
    assert slots.slot_index(c(12)) == 12
    for other in (x, sympy.Symbol("c0"), sympy.Symbol("c[x]"), sympy.Symbol("c[1]x"), sympy.pi):
        assert slots.slot_index(other) is None
    assert slots.is_constant(c(0) * sympy.pi + 2)
    assert not slots.is_constant(c(0) * x)
    assert slots.slots_of(c(3) * x + c(1)) == [1, 3]


def test_extract_and_fill_are_inverse() -> None:
    expr = sympy.Float(1.5) * x + sympy.exp(sympy.Float(-0.25) * y) + 2 * sympy.pi
    form, values = slots.extract(expr)
    assert sorted(values) == [-0.25, 1.5]
    assert not form.atoms(sympy.Float)
    assert slots.fill(form, values) == expr


def test_extract_takes_a_repeated_number_once_and_leaves_exact_ones() -> None:
    form, values = slots.extract(sympy.Float(0.5) * x + sympy.sin(sympy.Float(0.5) * y))
    assert values == (0.5,)
    assert form == c(0) * x + sympy.sin(c(0) * y)
    assert slots.extract(x / 3 + sympy.pi) == (x / 3 + sympy.pi, ())


def test_extract_refuses_open_slots() -> None:
    with pytest.raises(ExpressionError, match="open constants"):
        slots.extract(c(0) * x + sympy.Float(1.5))


def test_renumber_closes_gaps() -> None:
    form, values = slots.renumber(c(5) * x, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert (form, values) == (c(0) * x, (5.0,))
    swapped, values = slots.renumber(c(1) * x**2 + c(0) * y, [10.0, 20.0])
    assert slots.fill(swapped, values) == 20 * x**2 + 10 * y


def test_exact_numbers_are_known_by_their_bits() -> None:
    for value, shown in ((2.0, 2), (1 / 3, sympy.Rational(1, 3)), (np.pi / 2, sympy.pi / 2)):
        assert slots.exact(value) == shown
        assert slots.exact(float(np.nextafter(value, 9.0))).is_Float
    assert slots.exact(2.5).is_Float
    assert slots.exact(1e12).is_Float


def test_constants_that_are_exact_to_the_last_bit_read_as_exact() -> None:
    found = slots.fill(c(0) * x + c(1) * y + c(2), [2.0, 0.1, float(sympy.pi)])
    assert found == 2 * x + sympy.Float(0.1) * y + sympy.pi


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (x ** sympy.Float(2.0), x**2),
        (x ** sympy.Float(-1.0), 1 / x),
        (x ** sympy.Float(0.5), sympy.sqrt(x)),
        (x ** sympy.Float(-0.5), 1 / sympy.sqrt(x)),
        (sympy.sin(x ** sympy.Float(3.0)) ** sympy.Float(2.0), sympy.sin(x**3) ** 2),
        (sympy.Float(2.0) * x ** sympy.Float(2.0) + sympy.Float(2.0), c(0) + c(0) * x**2),
        (x ** sympy.Float(1.0) + x ** sympy.Float(0.0), x + 1),
        (x ** sympy.Float(1.7), x ** c(0)),
        (x ** sympy.Float(1e6), x ** c(0)),
        (sympy.Float(2.0) ** x, c(0) ** x),
    ],
)
def test_whole_exponents_belong_to_the_form(expr: sympy.Expr, expected: sympy.Expr) -> None:
    assert slots.extract(expr)[0] == expected


def test_slots_in_exponents_become_exact_where_their_values_are() -> None:
    form = c(0) * x ** c(1) + y ** (c(2) / 2) + x ** c(3) + y**2
    found = slots.exact_exponents(form, (2.0, 2.0, 6.0, 2.5))
    assert found == c(0) * x**2 + y**3 + x ** c(3) + y**2
    assert slots.exact_exponents(form, (2.0, 2.1, 6.1, 2.5)) == form
    assert slots.exact_exponents(form) == form  # values that nobody knows


def test_constants_that_are_no_numbers_have_names() -> None:
    found = slots.fill(c(0) * x + c(1) - c(2) * y, (math.nan, 1.5, -math.inf))
    assert found == sympy.Symbol("nan") * x + 1.5 + sympy.Symbol("inf") * y


def test_what_is_no_real_number_is_refused_in_our_own_words() -> None:
    root = (sympy.Min(x, c(0)) - c(1)) ** sympy.Float(0.5)
    form = sympy.Min(root, y)
    assert slots.exact_exponents(form, (-1.0, 0.5))
    with pytest.raises(ExpressionError, match="no real number with these constants"):
        slots.fill(sympy.Min(sympy.sqrt(c(0)), y), (-2.0,))
