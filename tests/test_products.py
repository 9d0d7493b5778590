"""Products of two affine sums, found by least squares."""

import numpy as np
import pytest
import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.limits import Limits
from symcompile.regression.refine import refine
from symcompile.regression.sparse import product_candidate, sparse_candidates

NAMES = ("a", "b", "c")
SYMBOLS = sympy.symbols(NAMES)
OPERATORS = OperatorSet.of(["+", "-", "*"])


def samples(n: int = 600, n_inputs: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, n_inputs)) * [4.0, 1.0, 0.2][:n_inputs] + [3.0, -1.0, 0.5][:n_inputs]


def candidate(X: np.ndarray, y: np.ndarray) -> sympy.Expr | None:
    return product_candidate(X, y, np.ones(len(X)), SYMBOLS[: X.shape[1]])


def mixed(X: np.ndarray) -> np.ndarray:
    """A product beside a linear sum, in coordinates that mix all inputs."""
    z = X @ np.array([[1.0, 0.5, -0.3], [-0.4, 1.0, 0.6], [0.2, -0.7, 1.0]])
    return 10.0 * z[:, 0] - 1.3 * z[:, 0] * z[:, 2] - z[:, 1] + 0.5


def test_a_product_in_mixed_coordinates_is_found_in_its_shortest_form() -> None:
    X = samples()
    found = candidate(X, mixed(X))
    assert found is not None
    values = sympy.lambdify(SYMBOLS, found)(*X.T)
    np.testing.assert_allclose(values, mixed(X), rtol=1e-8)
    # Two sums of three inputs and one input beside them, where all ten terms take 49.
    assert complexity(found, OPERATORS) <= 33
    assert complexity(sympy.expand(found), OPERATORS) == 49


@pytest.mark.parametrize(
    "law",
    [
        "1.7*a*b",
        "(a + 0.5)*(b - 2.5)",
        "2*a*b + 3*c - 1",
        "(a - 3*b)*(a + 3*b)",
        "a**2 - 0.4*a*c",
        "(a + b + 1)*(b - c) + 0.3*a",
    ],
)
def test_sparse_laws_get_no_terms_that_they_lack(law: str) -> None:
    X = samples()
    truth = sympy.sympify(law, dict(zip(NAMES, SYMBOLS, strict=True)))
    found = candidate(X, np.asarray(sympy.lambdify(SYMBOLS, truth)(*X.T)))
    assert found is not None
    difference = sympy.Poly(sympy.expand(found - truth), *SYMBOLS)
    assert all(abs(float(c)) < 1e-6 for c in difference.coeffs())
    assert found.free_symbols == truth.free_symbols


@pytest.mark.parametrize("law", [lambda a, b, c: a * a + b * b + c * c, lambda a, b, c: a + b])
def test_what_has_no_real_factors_gives_nothing(law: object) -> None:
    X = samples()
    assert candidate(X, law(*X.T) + 0.0) is None  # type: ignore[operator]


def test_too_few_samples_give_nothing() -> None:
    X = samples(15)
    assert candidate(X, mixed(X)) is None


@pytest.mark.parametrize("column", [1e200, 0.0])
def test_inputs_that_have_no_scale_give_nothing(column: float) -> None:
    X = samples()
    y = mixed(X)
    X[:, 1] *= column
    assert candidate(X, y) is None


def test_weights_say_which_samples_count() -> None:
    X, rng = samples(), np.random.default_rng(1)
    good = rng.uniform(size=len(X)) < 0.7
    y = np.where(good, mixed(X), rng.normal(size=len(X)) * 100.0)
    found = product_candidate(X, y, np.sqrt(good * 1.0 + 1e-12), SYMBOLS)
    values = sympy.lambdify(SYMBOLS, found)(*X.T)
    np.testing.assert_allclose(values[good], mixed(X)[good], rtol=1e-4, atol=1e-3)


def test_a_front_ends_in_the_whole_polynomial_within_its_limit() -> None:
    """With noise, within the limit of complexity that the paper sets for the Lorenz system."""
    X = samples(2000)
    clean = mixed(X)
    y = clean + 0.01 * clean.std() * np.random.default_rng(2).normal(size=len(X))
    candidates = sparse_candidates(Dataset(X, y), NAMES, Limits(OPERATORS, 35))
    fit, holdout = Dataset(X[:1500], y[:1500]), Dataset(X[1500:], y[1500:])
    front = refine(candidates, fit, holdout, Limits(OPERATORS, 35))
    best = front.select("plateau")
    assert best.complexity <= 31
    # A hundredth of noise is a ten-thousandth of the variance.
    assert 1.0 - front.r2(best) < 1.3e-4
    error = best.predict(X) - clean
    assert np.sqrt(np.mean(error**2)) < 2e-3 * clean.std()
