"""No choice is worse than a linear map of the inputs, where the front holds one that is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.dataset import Dataset
from symcompile.regression.description import Comparison
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit
from symcompile.regression.folds import fold_numbers
from symcompile.regression.linear_map import LinearMap
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront

OPERATORS = OperatorSet.of(["+", "-", "*", "sin", "sqrt"])
ENGINE = create("operon", operators=OPERATORS, max_complexity=25)
RNG = np.random.default_rng(0)
X = RNG.uniform(0.0, 1.0, (500, 2))
# What a network adds: a function, as smooth as any.
WAVE = 0.03 * np.sin(9.0 * X[:, 0]) * np.cos(7.0 * X[:, 1])


def halves(y: np.ndarray, loss: str = "squared") -> tuple[Dataset, Dataset]:
    scale = Loss(loss, 0.1)
    return tuple(Dataset(X[k], y[k], None, scale) for k in (slice(400), slice(400, None)))


def measured(text: str, fit: Dataset, judged: Dataset) -> Equation:
    equation = Equation.of(parse(text, ["x", "y"]), ["x", "y"], OPERATORS)
    holdout, squares = judged.losses_of(equation)
    return equation.updated(loss=fit.loss_of(equation), holdout_loss=holdout, holdout_mse=squares)


@pytest.mark.parametrize("loss", ["squared", "cauchy"])
def test_a_linear_map_is_what_least_squares_make(loss: str) -> None:
    fit, judged = halves(1.5 * X[:, 0] - 0.7 * X[:, 1] + 0.2, loss)
    found = LinearMap.of(fit, judged)
    np.testing.assert_allclose(found.residual, 0.0, atol=1e-12)
    law, other = (
        measured(text, fit, judged) for text in ("1.5*x - 0.7*y + 0.2", "1.5*x - 0.7*y + 0.201")
    )
    assert found.not_better_than([law, other]) == [0]


def test_without_rows_held_out_each_is_predicted_by_the_others() -> None:
    x = np.linspace(0.0, 1.0, 6)[:, None]
    y = np.array([0.0, 0.3, 0.1, 0.9, 0.7, 1.1])
    data = Dataset(x, y, folds=fold_numbers(6))
    for k, error in enumerate(LinearMap.of(data, data).residual):
        others = np.arange(6) != k
        line = np.polyfit(x[others, 0], y[others], 1)
        assert error == pytest.approx(np.polyval(line, x[k, 0]) - y[k])


def test_what_is_worse_by_chance_is_not_worse() -> None:
    """The linear map of pure noise is now better than the mean and now worse."""
    better, refused = 0, 0
    for seed in range(20):
        y = 2.0 + np.random.default_rng(seed).normal(size=500)
        fit, judged = halves(y)
        mean = measured("2.0", fit, judged)
        linear = LinearMap.of(fit, judged)
        better += float(np.mean(linear.residual**2)) < mean.holdout_loss
        refused += linear.not_better_than([mean]) == []
    assert 4 <= better <= 16
    assert refused <= 2


def test_a_choice_is_not_worse() -> None:
    """That the constant leaves a slope behind is cheap to say of an error that is smooth: it costs
    less than the terms. Whoever reads that a linear map is better has no use for that."""
    fit, judged = halves(0.5 + WAVE + 0.05 * X[:, 0])
    texts = ("0.525", "0.5 + 0.05*x")
    front = ParetoFront.of([measured(text, fit, judged) for text in texts], judged.variance)
    assert len(front) == 2
    assert Comparison.of(front.equations, fit).shortest == 0
    one = Fit("f", fit, judged, ("x", "y"), ENGINE)
    chosen = one.chosen(front)
    assert chosen.behind == (math.inf, 0.0)
    assert chosen.best.text() == "0.05*x + 0.5"
    # None is better: there is nothing to avoid.
    assert one.chosen(front.only([0])).behind == (0.0,)
