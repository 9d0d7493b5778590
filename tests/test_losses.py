"""Losses: their limits, their weights as derivatives, and laws that they find below outliers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch
from searches import QUICK
from torch import nn

from symcompile import SymCompileError, distill, symcompile
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.modules.arrays import split
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.losses import (
    LOSSES,
    SQUARED,
    Loss,
    has_heavy_tails,
    loss_for,
)

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=2000)
HEAVY = NORMAL / np.abs(RNG.normal(size=2000)) ** 3
ROBUST = ("absolute", "cauchy")


@pytest.mark.parametrize("name", ROBUST)
def test_a_robust_loss_is_squared_for_small_residuals(name: str) -> None:
    loss = Loss(name, scale=2.0)
    small = 1e-3 * NORMAL
    np.testing.assert_allclose(loss.of(small), small**2, rtol=1e-5)
    np.testing.assert_allclose(loss.weights(small), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["squared", *ROBUST])
def test_what_has_no_square_is_infinite_and_says_nothing(name: str) -> None:
    """Searches meet such values all the time; warnings are errors here."""
    loss, huge = Loss(name), np.array([1e200, -1e200, 1.0])
    assert np.isinf(loss.of(huge)).tolist() == [True, True, False]
    assert loss.mean(huge, None) == np.inf
    if not loss.is_squared:
        np.testing.assert_array_equal(loss.weights(huge)[:2], 0.0)


@pytest.mark.parametrize("name", ROBUST)
def test_weights_are_the_derivative_of_the_loss(name: str) -> None:
    loss, step = Loss(name, scale=0.7), 1e-6
    slope = (loss.of(NORMAL + step) - loss.of(NORMAL - step)) / (2 * step)
    np.testing.assert_allclose(slope, 2 * loss.weights(NORMAL) * NORMAL, atol=1e-7)


def test_large_residuals_count_by_their_size_or_their_logarithm() -> None:
    far = np.array([1e4, 2e4])
    near_absolute, limited = Loss("absolute", 1e-3).of(far), Loss("cauchy", 1.0).of(far)
    assert near_absolute[1] / near_absolute[0] == pytest.approx(2.0, rel=1e-3)
    assert limited[1] - limited[0] == pytest.approx(2 * np.log(2.0), rel=1e-3)


@pytest.mark.parametrize("name", ROBUST)
def test_the_scale_follows_the_outputs_but_not_their_outliers(name: str) -> None:
    scale = loss_for(name, NORMAL).scale
    assert loss_for(name, 100 * NORMAL + 7).scale == pytest.approx(100 * scale)
    spoiled = np.where(np.arange(2000) < 20, 1e9, NORMAL)
    assert loss_for(name, spoiled).scale == pytest.approx(scale, rel=0.05)
    assert loss_for(name, np.full(5, 3.0)).scale > 0


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("rounding", [0.0, 1e-8])
def test_the_scale_is_that_of_outputs_which_are_not_at_rest(name: str, rounding: float) -> None:
    """A rectifier that is off gives the same again and again, but for rounding."""
    rest = 3.0 + rounding * RNG.normal(size=3000)
    scale = loss_for(name, np.concatenate([3.0 + NORMAL, rest])).scale
    assert scale == pytest.approx(loss_for(name, NORMAL).scale, rel=0.05)


@pytest.mark.parametrize("rounding", [0.0, 1e-8])
def test_tails_are_those_of_outputs_which_are_not_at_rest(rounding: float) -> None:
    rest = rounding * RNG.normal(size=6000)
    assert has_heavy_tails(np.concatenate([HEAVY, rest]))
    assert not has_heavy_tails(np.concatenate([NORMAL, rest]))


def test_auto_is_robust_for_heavy_tails_alone() -> None:
    assert has_heavy_tails(HEAVY)
    assert loss_for("auto", HEAVY) == loss_for("cauchy", HEAVY)
    rare = np.where(np.arange(2000) < 10, 5.0, 0.0)
    even = RNG.exponential(size=2000), RNG.uniform(size=2000)
    for y in (NORMAL, *even, rare, HEAVY[:50], np.full(500, 3.0), np.empty(0)):
        assert loss_for("auto", y) == SQUARED
        assert Dataset(y[:, None], y, None, loss_for("auto", y)).search_weights is None


def test_the_mean_is_weighted_and_never_nan() -> None:
    residual = np.array([1.0, 3.0])
    assert SQUARED.mean(residual, None) == 5.0
    assert SQUARED.mean(residual, np.array([3.0, 1.0])) == 3.0
    assert Loss("cauchy").mean(np.array([1.0, np.nan]), None) == np.inf
    assert SQUARED.mean(np.empty(0), None) == np.inf


@pytest.mark.parametrize("name", ROBUST)
def test_constants_are_fitted_through_outliers(name: str) -> None:
    X = NORMAL[:, None]
    y = 2.0 * X[:, 0] + 0.5
    y[::10] = 50.0
    line = Equation.of(sympy.sympify(1.1) * sympy.Symbol("x") + 0.1, ("x",), OperatorSet.of(None))
    robust = fit_constants(line, Dataset(X, y, None, loss_for(name, y)), 50)
    squared = fit_constants(line, Dataset(X, y), 50)
    assert sorted(robust.constants) == pytest.approx([0.5, 2.0], abs=0.02)
    assert max(squared.constants) > 3.0


@pytest.mark.parametrize("rest", [0.0, 0.2])
def test_a_law_is_found_that_only_values_of_middle_size_follow(rest: float) -> None:
    """With a rest of 0.2, more than half of the outputs are the same but for rounding."""
    X = RNG.uniform(0.05, 5.0, (1000, 1))
    force = 1 / X[:, 0] ** 2
    # What a network makes of it.
    output = np.clip(force, rest, 20.0) + 1e-8 * RNG.normal(size=1000)

    def error(loss: str) -> float:
        front = distill(
            X,
            output,
            operators=["+", "*", "inv"],
            max_complexity=8,
            engine="operon",
            engine_options={"population": 200, "generations": 5, "restarts": 2},
            loss=loss,
            progress=False,
        )[0]
        return float(np.median(np.abs(front.best.predict(X) / force - 1)))

    assert error("cauchy") < 1e-4 < 1e-3 < error("squared")


@pytest.mark.parametrize("weighted", [False, True])
def test_r2_and_variance_of_a_front_are_what_they_are_called(weighted: bool) -> None:
    """Under a robust loss 0.47 was shown where R2 is 0.0003."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.1, 4, (600, 2))
    y = 1 / (X[:, 0] - X[:, 1] + 0.01)
    weights = rng.uniform(0.1, 2, 600) if weighted else None
    front = distill(X, y, weights=weights, seed=3, **QUICK)[0]
    assert front.loss.name == "cauchy"
    held = split(X, y[:, None], weights, 0.2, 3)
    truth, w = held.Y_holdout[:, 0], None if weights is None else weights[held.holdout]
    variance = np.average((truth - np.average(truth, weights=w)) ** 2, weights=w)
    assert front.variance == pytest.approx(variance)
    for equation in front:
        residual = equation.predict(held.X_holdout) - truth
        error = np.average(residual**2, weights=w)
        assert equation.holdout_mse == pytest.approx(error)
        assert front.r2(equation) == pytest.approx(1 - error / variance)
        loss = np.average(front.loss.of(residual), weights=w)
        assert equation.holdout_loss == pytest.approx(loss)


def test_an_equation_of_ones_own_is_scored_by_the_loss_of_its_front() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(1, 1))
    compiled = symcompile(
        model,
        "0",
        torch.from_numpy(rng.normal(size=(200, 1))).float(),
        loss="cauchy",
        **QUICK,
    )
    front = compiled.fronts["0"][0]
    compiled.choose("0", "0.1*x0")
    found, samples = compiled.equations["0"][0], compiled.recording["0"]
    residual = 0.1 * samples.X_holdout[:, 0] - samples.Y_holdout[:, 0]
    assert found.holdout_loss == pytest.approx(front.loss.of(residual).mean())
    assert found.holdout_mse == pytest.approx((residual**2).mean())
    assert compiled.report.to_dict()["targets"][0]["outputs"][0]["complexity"] == 3


def test_an_unknown_loss_is_named_with_those_there_are() -> None:
    with pytest.raises(SymCompileError, match=r"loss is 'l1': expected 'auto', 'squared'"):
        distill(NORMAL[:, None], NORMAL, loss="l1", progress=False)
    assert set(LOSSES) == {"auto", "squared", *ROBUST}
