"""Contributions: slopes against differences, and shares that add up to what has changed."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from symcompile.explanation.contributions import Contributions, contributions
from symcompile.explanation.features import Features
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet

RNG = np.random.default_rng(0)
a, b, red, green, blue = sympy.symbols("a b color_red color_green color_blue")
# Two numbers and a category of three levels.
TABLE = np.column_stack([RNG.uniform(0.5, 2.0, (40, 2)), np.eye(3)[RNG.integers(0, 3, 40)]])
FEATURES = Features.of(TABLE, ["a", "b", "color_red", "color_green", "color_blue"])[0]
X = np.array([1.7, 0.6, 0.0, 1.0, 0.0])
MEAN = np.array([0.8, 1.1, 0.5, 0.25, 0.25])


def equation(expr: sympy.Expr) -> Equation:
    return Equation.of(expr, FEATURES.symbols, OperatorSet.of(None))


def told(expr: sympy.Expr, x: Array = X) -> Contributions:
    return contributions(equation(expr), FEATURES, x, MEAN)


FORMS = {
    "linear": 2.0 * a - 3.0 * b + 1.0,
    "product": 1.5 * a * b,
    "quotient": a / (b + 0.2),
    "inverse": 1 / a,
    "sigmoid": 1 / (1 + sympy.exp(3.0 * b - 2.0 * a)),
    "steep sigmoid": 1 / (1 + sympy.exp(60.0 * (b - a))),
    "power": a**2.5 * sympy.sqrt(b),
    "logarithm": sympy.log(a * b) + sympy.sin(4.0 * a),
    "with a category": a * (2.0 * red - 3.0 * green) + b * blue,
    "softmax": 1 / (1 + sympy.exp(a - b) + sympy.exp(2.0 * green - 1.0)),
}


@pytest.mark.parametrize("name", FORMS)
def test_shares_add_up_to_what_changes_from_the_mean_to_x(name: str) -> None:
    found, at = told(FORMS[name]), equation(FORMS[name]).predict(np.vstack([X, MEAN]))
    assert found.at_x == pytest.approx(at[0])
    assert found.at_mean == pytest.approx(at[1])
    total = sum(one.integrated for one in found.by_feature.values())
    assert abs(at[0] - at[1]) > 1e-3
    assert total == pytest.approx(at[0] - at[1], rel=1e-8)


@pytest.mark.parametrize("name", FORMS)
def test_slopes_are_those_of_small_differences(name: str) -> None:
    found, law, step = told(FORMS[name]), equation(FORMS[name]), 1e-6
    for column, feature in enumerate("ab"):
        there = np.tile(X, (2, 1))
        there[:, column] += [step, -step]
        up, down = law.predict(there)
        slope = (up - down) / (2 * step)
        contribution = found.by_feature.get(feature)
        if contribution is None:
            assert slope == 0.0
        else:
            assert contribution.gradient == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_shares_by_hand() -> None:
    linear = told(2.0 * a - 3.0 * b + 1.0).by_feature
    assert linear["a"].integrated == pytest.approx(2.0 * 0.9)
    assert linear["b"].integrated == pytest.approx(-3.0 * -0.5)
    # Of a product on a straight line, each has the other's mean.
    product = told(a * b).by_feature
    assert product["a"].integrated == pytest.approx(0.9 * 0.85)
    assert product["b"].integrated == pytest.approx(-0.5 * 1.25)


def test_a_category_has_the_sum_of_its_levels_and_the_slope_of_that_of_x() -> None:
    found = told(4.0 * red - 3.0 * green + 0.5 * blue).by_feature
    assert list(found) == ["color"]
    assert found["color"].integrated == pytest.approx(4.0 * -0.5 - 3.0 * 0.75 + 0.5 * -0.25)
    assert found["color"].gradient == pytest.approx(-3.0)
    without = told(4.0 * red + 0.5 * blue).by_feature["color"]
    assert without.gradient == 0.0


def test_the_largest_comes_first_whatever_its_sign() -> None:
    for sign in (1.0, -1.0):
        assert list(told(a + 9.0 * sign * b + 2.0 * green).by_feature) == ["b", "color", "a"]
    assert list(told(-9.0 * a - b + 2.0 * green).by_feature) == ["a", "color", "b"]


def test_what_an_equation_does_not_hold_contributes_nothing() -> None:
    assert set(told(a**2).by_feature) == {"a"}


def test_a_constant_has_no_contributions() -> None:
    found = told(sympy.Float(2.5))
    assert found == Contributions({}, 2.5, 2.5)


def test_at_the_mean_there_is_nothing_to_share() -> None:
    found = told(a * b, MEAN)
    assert [one.integrated for one in found.by_feature.values()] == [0.0, 0.0]
    assert found.by_feature["a"].gradient == pytest.approx(MEAN[1])


@pytest.mark.parametrize(
    "expr",
    [sympy.Abs(a - b), sympy.Max(a, b), sympy.Min(a, 1.1), sympy.Max(0, a - b), sympy.sign(a) * b],
    ids=str,
)
def test_forms_with_corners_have_contributions(expr: sympy.Expr) -> None:
    found, at = told(expr), equation(expr).predict(np.vstack([X, MEAN]))
    total = sum(one.integrated for one in found.by_feature.values())
    assert total == pytest.approx(at[0] - at[1], rel=1e-6)
