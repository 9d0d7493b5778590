"""Linear laws: logistic models found again, shorter laws, and predictions for rows of a table."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy
from scipy.special import expit

from symcompile.errors import DataError
from symcompile.explanation.features import Features
from symcompile.explanation.linear import (
    LinearLaw,
    joined,
    linear_expression,
    linear_law,
    shorter_laws,
)
from symcompile.explanation.link import Link, Part, link_of
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import LinearMap, controls

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) * [1.0, 0.1, 10.0, 1.0]
WEIGHTS = RNG.uniform(0.2, 1.0, 300)
TRUE, BIAS = np.array([1.5, -8.0, 0.05, 0.0]), 0.4


def odds(y: Array, share: Array | None = None) -> Part:
    return Part(y, np.ones(len(y)) if share is None else share, is_odds=True)


def values(y: Array) -> Part:
    return Part(y, np.ones(len(y)), is_odds=False)


def mean_deviance(part: Part, law: LinearMap, rows: Array) -> float:
    return float(part.deviance(law.predict(rows)[:, 0]).mean())


# --- one law -------------------------------------------------------------------------------------


def test_a_logistic_model_is_found_again() -> None:
    law = linear_law(odds(expit(X @ TRUE + BIAS)), X, WEIGHTS)
    np.testing.assert_allclose(law.weight[0], TRUE, atol=2e-3)
    assert law.bias[0] == pytest.approx(BIAS, abs=2e-3)


@pytest.mark.parametrize("steepness", [5.0, 20.0])
def test_a_logistic_model_is_found_among_rows_that_are_certain(steepness: float) -> None:
    """Most probabilities are 0 or 1 to the last digit there, which no log-odds tell apart."""
    y = expit(steepness * (X @ TRUE + BIAS))
    assert (np.minimum(y, 1.0 - y) < 1e-6).mean() > 0.1
    law = linear_law(odds(y), X, np.ones(300))
    np.testing.assert_allclose(expit(law.predict(X)[:, 0]), y, atol=0.01)
    np.testing.assert_allclose(law.weight[0, :2] / steepness, TRUE[:2], rtol=0.05)


@pytest.mark.parametrize("far", [-100.0, 30.0, 1e4])
def test_a_bad_start_does_no_harm(far: float) -> None:
    part = odds(expit(X @ TRUE + BIAS))
    start = LinearMap(np.full((1, 4), far), np.array([-far]))
    law = linear_law(part, X, WEIGHTS, start)
    np.testing.assert_allclose(law.predict(X)[:, 0], X @ TRUE + BIAS, atol=0.02)


def test_a_good_start_is_not_left_for_a_worse_law() -> None:
    part, best = odds(expit(X @ TRUE + BIAS)), LinearMap(TRUE[None], np.array([BIAS]))
    assert mean_deviance(part, linear_law(part, X, WEIGHTS, best), X) < 1e-12


def test_a_law_of_log_odds_is_no_worse_than_any_constant() -> None:
    """Where no input tells anything, and where one row is wrong by far."""
    noise = odds(RNG.uniform(0.0, 1.0, 300))
    wrong = expit(X @ TRUE + BIAS)
    wrong[7] = 1.0 - np.round(wrong[7])
    for part in (noise, odds(wrong)):
        constant = LinearMap(np.zeros((1, 4)), np.array([part.start(np.ones(300))]))
        law = linear_law(part, X, np.ones(300))
        assert mean_deviance(part, law, X) <= mean_deviance(part, constant, X) * (1 + 1e-9)


def test_rows_count_by_their_share() -> None:
    """Half of the rows follow another law, and count for nothing."""
    y = expit(X @ TRUE + BIAS)
    y[150:] = 1.0 - y[150:]
    share = np.repeat([1.0, 0.0], 150)
    law = linear_law(odds(y, share), X, WEIGHTS)
    np.testing.assert_allclose(law.weight[0], TRUE, atol=0.01)


def test_a_law_of_values_is_the_control() -> None:
    y = X @ TRUE + 0.3 * RNG.normal(size=300)
    law, control = linear_law(values(y), X, WEIGHTS), controls(X, y[:, None], WEIGHTS).linear
    np.testing.assert_array_equal(law.weight, control.weight)
    np.testing.assert_array_equal(law.bias, control.bias)


# --- shorter laws --------------------------------------------------------------------------------


@pytest.mark.parametrize("of_odds", [True, False])
def test_shorter_laws_are_nested_and_keep_what_matters_longest(of_odds: bool) -> None:
    """By what a column moves, which its coefficient alone does not tell: the third has the smallest
    one that is not zero, and moves more than the last."""
    eta = X @ TRUE + BIAS
    part = odds(expit(eta)) if of_odds else values(eta)
    found = list(shorter_laws(part, X, WEIGHTS))
    columns = [kept.tolist() for _, kept in found]
    assert columns == [[0, 1, 2, 3], [0, 1, 2], [0, 1], [0]]
    for law, kept in found:
        assert law.weight.shape == (1, len(kept))


@pytest.mark.parametrize("of_odds", [True, False])
def test_each_shorter_law_is_fitted_to_what_is_left(of_odds: bool) -> None:
    """Two columns nearly say the same: the one that stays takes what the other one said."""
    twin = np.column_stack([X[:, 0], X[:, 0] + 0.3 * RNG.normal(size=300)])
    eta = twin @ [1.0, 0.9]
    part = odds(expit(eta)) if of_odds else values(eta)
    found = {tuple(kept): law for law, kept in shorter_laws(part, twin, WEIGHTS)}
    (alone,) = (kept for kept in found if len(kept) == 1)
    again = linear_law(part, twin[:, list(alone)], WEIGHTS)
    assert found[alone].weight[0, 0] > 1.6
    np.testing.assert_allclose(found[alone].weight, again.weight, rtol=0.02)


def test_of_many_columns_a_tenth_is_left_out_at_once() -> None:
    many = RNG.normal(size=(200, 45))
    part = values(many[:, 17] + 0.1 * many[:, 3])
    columns = [kept for _, kept in shorter_laws(part, many, np.ones(200))]
    sizes = [len(kept) for kept in columns]
    assert sizes[:4] == [45, 40, 36, 32]
    assert sizes[-9:] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    for longer, shorter in pairwise(columns):
        assert set(shorter) < set(longer)
    assert columns[-1].tolist() == [17]
    assert columns[-2].tolist() == [3, 17]


# --- laws of a table -----------------------------------------------------------------------------


def test_maps_of_several_equations_are_joined_in_their_order() -> None:
    maps = [LinearMap(RNG.normal(size=(1, 4)), RNG.normal(size=1)) for _ in range(3)]
    expected = np.column_stack([law.predict(X)[:, 0] for law in maps])
    np.testing.assert_allclose(joined(maps).predict(X), expected)


def test_a_linear_expression_says_what_its_map_does() -> None:
    law = LinearMap(np.array([[0.0, 0.0], [2.0, 0.0], [0.5, -3.0]]), np.array([7.0, 1.0, 0.25]))
    a, b = sympy.symbols("a b")
    assert linear_expression(law, ("a", "b"), 0) == sympy.Float(7.0)
    assert linear_expression(law, ("a", "b"), 1).free_symbols == {a}
    at = RNG.normal(size=(9, 2))
    form = sympy.lambdify((a, b), linear_expression(law, ("a", "b"), 2))
    np.testing.assert_allclose(form(*at.T), law.predict(at)[:, 2])


def rooms() -> Any:
    pandas = pytest.importorskip("pandas")
    kind = np.array(["flat", "house"])[np.arange(300) % 2]
    return pandas.DataFrame({"size (m)": X[:, 0], "kind": kind, "age": X[:, 2]})


def test_rows_of_a_data_frame_are_predicted_by_their_names() -> None:
    table = rooms()
    features, numbers = Features.of(table)
    weight = np.array([[2.0, 0.0, 5.0, -0.1]])
    maps, link = LinearMap(weight, np.ones(1)), Link((0,), ("y",))
    law = LinearLaw(features, maps, link, of_odds=False, spread=numbers.std(axis=0))
    expected = 1.0 + 2.0 * X[:, 0] + 5.0 * (np.arange(300) % 2) - 0.1 * X[:, 2]
    found = law.predict(table[["age", "kind", "size (m)"]])
    assert found.shape == (300, 1)
    np.testing.assert_allclose(found[:, 0], expected)
    row = {"size (m)": 1.0, "kind": "house", "age": 10.0}
    np.testing.assert_allclose(law.predict(row), [[7.0]])
    assert law.coefficients() == {"kind=house": 5.0, "size (m)": 2.0, "age": -0.1}
    assert {s.name for s in law.expression().free_symbols} == {"size_m", "kind_house", "age"}
    with pytest.raises(DataError, match="column 'kind' of X holds 'tent'"):
        law.predict(row | {"kind": "tent"})


def test_one_number_for_a_row_stays_one() -> None:
    features, numbers = Features.of(X)
    maps = LinearMap(TRUE[None], np.array([BIAS]))
    link = Link((0,), ("y",), flat=True)
    law = LinearLaw(features, maps, link, of_odds=False, spread=numbers.std(axis=0))
    np.testing.assert_allclose(law.predict(X), X @ TRUE + BIAS)


def test_laws_of_log_odds_predict_probabilities_of_what_is_asked_for() -> None:
    features, numbers = Features.of(X)
    eta = X @ TRUE + BIAS
    P = np.column_stack([1.0 - expit(eta), expit(eta)])
    for outputs, columns in (((0, 1), P), ((1,), P[:, 1:])):
        link = link_of("auto", P, P[0], outputs, ("no", "yes"))
        maps = LinearMap(TRUE[None], np.array([BIAS]))
        law = LinearLaw(features, maps, link, of_odds=True, spread=numbers.std(axis=0))
        assert law.titles == (link.title(1),)
        np.testing.assert_allclose(law.predict(X), columns)
        np.testing.assert_allclose(law.chosen(numbers).sum(axis=1), 1.0)


@pytest.mark.parametrize("outputs", [(0, 1, 2), (2,), (2, 0)])
def test_laws_of_probabilities_predict_what_is_asked_for(outputs: tuple[int, ...]) -> None:
    """And not what is left for all other classes, which has a map as well."""
    features, numbers = Features.of(X)
    P = 0.2 + 0.01 * numbers[:, :2] * [1.0, 10.0]
    P = np.column_stack([P, 1.0 - P.sum(axis=1)])
    link = link_of("logit", P, P[0], outputs, ("a", "b", "c"))
    maps = controls(numbers, link.chosen(P), np.ones(300)).linear
    law = LinearLaw(features, maps, link, of_odds=False, spread=numbers.std(axis=0))
    assert law.titles == (*("abc"[k] for k in outputs), *["any other"] * (len(outputs) < 3))
    np.testing.assert_allclose(law.predict(X), P[:, list(outputs)], atol=1e-6)
