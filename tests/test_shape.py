"""The tree of terms and factors: what is form in it, and what is a constant."""

from __future__ import annotations

import math

import pytest
import sympy
from equations_compared import SYMBOLS, equation, tree

from symcompile.diff.equations.shape import ONE, Constant, constant_value, shape
from symcompile.expressions.program import to_sympy
from symcompile.expressions.slots import slot

x, y, t = sympy.symbols("x y t")
c = [slot(k) for k in range(4)]

SAME_FORM = [
    ("2.5*x + 0.5*y", "0.5*x + 2.5*y"),
    ("x*y", "1.5*x*y"),
    ("2*x*y", "2.5*x*y"),
    ("x/2", "0.5*x"),
    ("x - y", "x + y"),  # told apart when they are paired
    ("sin(x)", "sin(1.5*x)"),
    ("sqrt(x)", "x**0.5"),
    ("x**2", "x**3"),
    ("Max(x, 0)", "Max(0.5, x)"),
    ("where(x < 1.5, x, y)", "where(x < 2, 1.5*x, y)"),
    ("3", "2.5"),
]

OTHER_FORM = [
    ("x", "x + 0.5"),
    ("x", "x**1.5"),
    ("x", "y"),
    ("sin(x)", "cos(x)"),
    ("x + y", "x*y"),
    ("x*y", "x/y"),
    ("Max(x, y)", "Min(x, y)"),
    ("Max(x, y)", "Max(x, y, 0.5)"),
    ("where(x < 1, x, y)", "where(x <= 1, x, y)"),
    ("where(x < 1, x, y)", "where(x < 1, y, x)"),
    ("x**y", "y**x"),
    ("2.5**x", "x**2.5"),
    ("2.5", "2.5*x"),
]


@pytest.mark.parametrize(("one", "other"), SAME_FORM)
def test_equal_but_for_constants(one: str, other: str) -> None:
    assert tree(one).form == tree(other).form
    assert tree(one).content != tree(other).content or one == "sqrt(x)"


@pytest.mark.parametrize(("one", "other"), OTHER_FORM)
def test_other_forms(one: str, other: str) -> None:
    # x/y is a product with a power in it, x*y is not.
    assert tree(one).form != tree(other).form


def test_exact_exponents_are_told_apart_by_the_strict_key() -> None:
    assert tree("x**2").strict_form != tree("x**3").strict_form
    assert tree("x**2.5").strict_form == tree("x**3.5").strict_form
    assert tree("2*x").strict_form == tree("3*x").strict_form


def test_order_does_not_matter() -> None:
    one = shape(c[0] * sympy.sin(c[1] * x) + c[2] * y * t, (1.5, 2.5, 3.5))
    other = shape(c[1] * t * y + c[0] * sympy.sin(c[2] * x), (1.5, 3.5, 2.5))
    assert (one.content, one.order, one.steps) == (other.content, other.order, other.steps)


@pytest.mark.parametrize(
    ("factors", "values", "expected"),
    [
        ((c[0], c[1], x), (2.0, 3.0), Constant(6.0, False, (0, 1))),
        ((2, c[0], x), (2.5,), Constant(5.0, False, (0,))),
        ((sympy.pi, x), (), Constant(math.pi)),
        ((sympy.Rational(1, 3), x), (), Constant(1 / 3)),
        ((c[0] ** -1, x), (4.0,), Constant(0.25, False, (0,))),
        ((sympy.exp(c[0]), x), (0.0,), Constant(1.0, False, (0,))),
        ((sympy.Float(2.5), x), (), Constant(2.5, False)),
        ((x,), (), ONE),
    ],
)
def test_one_coefficient_for_all_constant_factors(
    factors: tuple[sympy.Expr, ...], values: tuple[float, ...], expected: Constant
) -> None:
    found = shape(sympy.Mul(*factors), values)
    assert found.constants == (expected,)
    assert [arg.name for arg in found.args] == ["x"]


def test_what_is_added_is_one_constant() -> None:
    (total,) = shape(x + c[0] + c[1] + 1, (0.5, 0.25)).args
    assert total.head == "sum"
    assert total.constants == (Constant(1.75, False, (0, 1)),)


def test_coefficients_are_multiplied_into_sums_when_asked_for() -> None:
    one = shape(c[0] * (x + c[1] * y + 2), (2.0, 3.0))
    spread = shape(c[0] * (x + c[1] * y + 2), (2.0, 3.0), spread=True)
    assert one.constants[0].value == 2.0
    assert spread.constants == (ONE,)
    assert sorted(term.constants[0].value for term in spread.args[0].args) == [2.0, 6.0]
    assert spread.args[0].constants[0].value == 4.0


def test_exact_coefficients_are_always_multiplied_in_as_sympy_does() -> None:
    apart = sympy.Mul(2, x + y, evaluate=False)
    assert shape(apart).content == shape(2 * x + 2 * y).content


def test_floats_in_an_expression_are_fitted_constants() -> None:
    assert shape(2.5 * x).constants == (Constant(2.5, False),)


@pytest.mark.parametrize("text", ["x > 1.5", "1.5 < x"])
def test_relations_have_one_direction(text: str) -> None:
    assert tree(f"where({text}, x, y)").content == tree("where(x > 1.5, x, y)").content


def test_an_equation_from_a_file_has_the_same_tree() -> None:
    text = "1.5*Max(x, -y)*sin(2.5*x - y)/(t + 0.5) + where((x < y) & (t > 1), x**2, sqrt(t))"
    text = text.replace("(x < y) & (t > 1)", "x < y")
    one = equation(text)
    form = to_sympy(one.program, SYMBOLS)[0]
    assert shape(form, one.constants).content == shape(one.form, one.constants).content


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (sympy.Integer(3), 3.0),
        (sympy.Rational(1, 3), 1 / 3),
        (sympy.sqrt(2) * sympy.pi, math.sqrt(2) * math.pi),
        (c[0] ** c[0], 2.5**2.5),
        (((c[1] ** c[1]) ** c[1]) ** c[1], math.inf),
        (sympy.log(-c[0]), math.nan),
    ],
)
def test_constants_are_computed_in_float64(expr: sympy.Expr, expected: float) -> None:
    found = constant_value(expr, (2.5, 999.0))
    assert found == pytest.approx(expected, nan_ok=True)


def test_pairing_steps_stay_bounded() -> None:
    few = shape(sympy.Add(*(sympy.Float(k + 0.5) * x**k for k in range(1, 20))))
    many = shape(sympy.Add(*(sympy.Float(k + 0.5) * x**k for k in range(1, 2000))))
    assert few.args[0].steps > 19 * 19
    assert many.args[0].steps < 20_000
