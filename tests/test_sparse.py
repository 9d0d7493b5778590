"""Sums of few terms, found by orthogonal matching pursuit."""

import numpy as np
import pytest

from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.limits import Limits
from symcompile.regression.sparse import sparse_candidates, without_search

OPERATORS = OperatorSet.of(["+", "*"])
NAMES = ("x0", "x1", "x2", "x3", "x4", "x5")
X = np.random.default_rng(0).normal(size=(500, 6)) + 0.5


def best_loss(y: np.ndarray, max_complexity: int) -> float:
    found = sparse_candidates(Dataset(X, y), NAMES, Limits(OPERATORS, max_complexity))
    return min(float(np.mean((e.predict(X) - y) ** 2)) for e in found) / float(y.var())


@pytest.mark.parametrize(
    ("y", "limit"),
    [
        (1.3 * X[:, 4] - 0.7 * X[:, 1] + 2.0, 11),
        (2.0 * X[:, 0] * X[:, 3], 7),
        (X[:, 2] ** 2 - 3.1 * X[:, 2] * X[:, 5] + 0.4, 13),
    ],
    ids=["linear", "product", "quadratic"],
)
def test_a_sparse_law_is_among_the_candidates(y: np.ndarray, limit: int) -> None:
    assert best_loss(y, limit) < 1e-12


def test_a_product_of_sums_is_among_the_candidates() -> None:
    """Ten terms when it is expanded, more than the limit holds."""
    y = (X[:, 0] + 2.0 * X[:, 1] - X[:, 2] + 0.3) * (X[:, 1] + 0.5 * X[:, 2] - 1.0)
    y = y + 3.0 * X[:, 2]
    assert best_loss(y, 31) < 1e-12
    assert best_loss(y, 20) > 1e-3


def test_operators_that_spell_no_sum_give_nothing() -> None:
    limits = Limits(OperatorSet.of(["*", "exp"]), 30)
    assert sparse_candidates(Dataset(X, X[:, 0]), NAMES, limits) == []


def test_candidates_keep_near_the_limit() -> None:
    y = np.sin(X @ np.arange(6.0))
    found = sparse_candidates(Dataset(X, y), NAMES, Limits(OPERATORS, 12))
    assert found
    assert max(e.complexity for e in found) <= 18


def test_sums_of_monomials_are_tried_where_they_are_wanted() -> None:
    positive, limits = np.abs(X) + 0.5, Limits(OperatorSet.of(["+", "*", "inv"]), 20)
    data = Dataset(positive, positive[:, 0] ** 3 / positive[:, 1])
    losses = [
        min(
            float(np.mean((e.predict(positive) - data.y) ** 2))
            for e in without_search(data, NAMES, limits, monomials=monomials)
        )
        for monomials in (True, False)
    ]
    assert losses[0] < 1e-12 < 1e-3 < losses[1]
