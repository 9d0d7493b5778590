"""Few rows: leaving each out against explicit refits, the choice among them, and their laws."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from symcompile import distill, load, record, symcompile
from symcompile.errors import DataError, ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.controls import controls
from symcompile.fidelity.metrics import agreement
from symcompile.modules.arrays import split
from symcompile.regression.dataset import Dataset
from symcompile.regression.folds import SMALL, fold_numbers, in_words
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.recording import Recording

OPERATORS = OperatorSet.of(["+", "*", "sqrt", "square", "cube", "exp"])
QUICK: dict[str, Any] = {
    "engine": "operon",
    "engine_options": {"restarts": 1, "population": 100, "generations": 3},
    "operators": ["+", "*", "sqrt", "square", "cube"],
    "progress": False,
}
# Semi-major axes in astronomical units, sidereal periods in days: Mercury to Saturn.
AXES = np.array([0.387, 0.723, 1.0, 1.524, 5.203, 9.537])
DAYS = np.array([87.97, 224.70, 365.26, 686.98, 4332.6, 10759.2])
RNG = np.random.default_rng(0)


def equation(text: str, *names: str) -> Equation:
    return Equation.of(parse(text, names), names, OPERATORS)


def fitted(text: str, X: Array, y: Array, weights: Array | None = None) -> Equation:
    found = equation(text, "x")
    fit = fit_constants(found, Dataset(X, y, weights), 100, 1e-14)
    return found.with_constants(fit.constants)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("text", ["1.5*x + 0.5", "0.7*exp(0.4*x) + 0.1", "x**2"])
def test_rows_left_out_are_predicted_as_by_explicit_refits(text: str, weighted: bool) -> None:
    X = np.linspace(0.5, 3, 9)[:, None]
    y = np.exp(0.5 * X[:, 0]) + 1e-3 * RNG.normal(size=9)
    weights = RNG.uniform(0.2, 2, 9) if weighted else None
    found = fitted(text, X, y, weights)
    errors = found.predict(X) - y + Dataset(X, y, weights, folds=fold_numbers(9)).fold_shift(found)
    for row in range(9):
        rest = np.arange(9) != row
        w = None if weights is None else weights[rest]
        again = fit_constants(found, Dataset(X[rest], y[rest], w), 100, 1e-14)
        expected = found.with_constants(again.constants).predict(X[[row]])[0] - y[row]
        assert errors[row] == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_folds_of_several_rows_are_left_out_together() -> None:
    X = RNG.uniform(0, 1, (200, 1))
    y = 2 * X[:, 0] + RNG.normal(size=200)
    folds = fold_numbers(200)
    assert sorted(np.bincount(folds)) == [20] * 10
    found = fitted("1.5*x + 0.5", X, y)
    errors = found.predict(X) - y + Dataset(X, y, folds=folds).fold_shift(found)
    for fold in range(10):
        line = np.polyfit(X[folds != fold, 0], y[folds != fold], 1)
        expected = np.polyval(line, X[folds == fold, 0]) - y[folds == fold]
        np.testing.assert_allclose(errors[folds == fold], expected, rtol=1e-6, atol=1e-9)


def test_constants_that_hang_on_single_rows_are_found_out() -> None:
    X, y = np.arange(1.0, 5.0)[:, None], np.array([1.0, 5.0, 2.0, 4.0])
    data = Dataset(X, y, folds=fold_numbers(4))
    cubic = fitted("1.1*x**3 + 1.2*x**2 + 1.3*x + 1.4", X, y)
    assert np.isinf(data.fold_shift(cubic)).all()
    step = equation("0.5*where(x > 3.5, 1, 0)", "x")
    found = data.fold_shift(step)
    assert np.isinf(found[3])
    assert not found[:3].any()


def test_an_equation_by_hand_is_not_refitted_to_look_better() -> None:
    """What leaving out adds is added to the errors that it has, it does not replace them."""
    X = np.linspace(1, 2, 8)[:, None]
    y = 2 * X[:, 0]
    found = equation("5.0*x", "x")
    data = Dataset(X, y, folds=fold_numbers(8))
    np.testing.assert_allclose(data.fold_shift(found), 0.0, atol=1e-12)


# --- the choice ----------------------------------------------------------------------------------


def few(rows: int, *equations: tuple[str, float], variance: float = 1.0) -> ParetoFront:
    found = [replace(equation(text, "x"), loss=loss, holdout_loss=loss) for text, loss in equations]
    return ParetoFront.of(found, variance, left_out=rows)


PLANETS = (
    ("0.4", 1.4),
    ("x*sqrt(x)", 1e-7),
    ("1.3*x*(x + 752.9*sqrt(x + 0.012)) - 0.003", 2e-10),
    ("0.006*x**2 + 0.96*x*(sqrt(x - 0.2) + 0.1) + 0.05", 1e-14),
)


@pytest.mark.parametrize("stored", [[6, 1.5], {"rows": 6, "price": 1.5}])
def test_few_rows_of_before_choose_as_they_did(stored: object) -> None:
    """Losses as six planets give them: five constants, each row left out, are 1e7 times closer."""
    front = ParetoFront.from_json({**few(6, *PLANETS).to_json(), "few": stored})
    assert front.left_out == 6
    assert front.best.form == sympy.Symbol("x") ** sympy.Rational(3, 2)
    assert front.most_accurate.complexity > 10
    constant = 0.5 * (5 * math.log(1.4 * 6 / 5) + math.log(6)) + 1.5
    law = 0.5 * 6 * math.log(1e-7) + 1.5 * front.best.complexity
    assert front.behind[0] == pytest.approx(constant - law)
    assert str(front).startswith("R2 by leave-one-out over 6 rows\n")
    assert ParetoFront.from_json(json.loads(json.dumps(front.to_json()))) == front


def test_few_rows_of_before_that_are_none() -> None:
    data = few(6, *PLANETS).to_json()
    for wrong in (
        [6],
        [6, "x"],
        [0, 1.5],
        [6, 0.0],
        3,
        [10**400, 1.5],
        [6, 10**400],
        [6, math.nan],
        {"rows": 6},
    ):
        with pytest.raises(ExpressionError):
            ParetoFront.from_json({**data, "few": wrong})


def test_few_rows_stay_with_a_front_that_grows_or_is_stored() -> None:
    front = few(6, ("0.4", 1.4), ("x*sqrt(x)", 1e-7))
    assert front.grown([]).left_out == 6
    assert ParetoFront.from_json(json.loads(json.dumps(front.to_json()))) == front


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["days", "years"])
@pytest.mark.parametrize("seed", [0, 1])
def test_six_planets_give_keplers_law(unit: str, seed: int) -> None:
    T = DAYS / (365.26 if unit == "years" else 1.0)
    front = distill(AXES, T, names=["a"], seed=seed, **QUICK)[0]
    fresh = np.array([[2.77], [19.19], [30.07]])  # Ceres, Uranus, Neptune
    periods = fresh[:, 0] ** 1.5 * (365.26 if unit == "days" else 1.0)
    np.testing.assert_allclose(front.best.predict(fresh), periods, rtol=2e-3)
    assert front.best.complexity <= 6
    assert front.left_out == 6


@pytest.mark.parametrize("rows", [4, 6, 20])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_line_through_few_rows_is_a_line(rows: int, noise: float) -> None:
    rng = np.random.default_rng(rows)
    x = np.linspace(1, 10, rows)
    y = 70 * x * (1 + noise * rng.normal(size=rows))
    best = distill(x, y, **QUICK)[0].best
    assert best.complexity <= 5
    np.testing.assert_allclose(best.predict(np.array([[14.0]])), 980.0, rtol=0.1)


def test_weights_count_where_rows_are_few() -> None:
    x = np.linspace(1, 3, 12)
    y = x**2
    y[[2, 7]] = 40.0
    weights = np.ones(12)
    weights[[2, 7]] = 0.0
    front = distill(x, y, weights=weights, **QUICK)[0]
    np.testing.assert_allclose(front.best.predict(x[:, None]), x**2, rtol=1e-6)
    kept = weights > 0
    assert front.variance == pytest.approx(y[kept].var())


@pytest.mark.parametrize("rows", [120, 300])
def test_nothing_need_be_held_out(rows: int) -> None:
    x = RNG.uniform(1, 3, rows)
    front = distill(x, x**2 + 1, holdout=0, **QUICK)[0]
    assert front.left_out == 0
    np.testing.assert_allclose(front.best.predict(x[:, None]), x**2 + 1, rtol=1e-6)
    assert front.variance == pytest.approx((x**2).var())


def test_three_rows_are_too_few() -> None:
    with pytest.raises(DataError, match="3 samples: at least 4 are needed"):
        distill(AXES[:3], DAYS[:3], **QUICK)
    for share in (-0.1, 1.0, "none"):
        with pytest.raises(DataError, match="expected a share from 0 to below 1"):
            distill(AXES, DAYS, holdout=share, **QUICK)


def test_enough_rows_are_held_out_as_ever() -> None:
    X = RNG.normal(size=(SMALL, 2))
    samples = split(X, X, None, 0.2, 0)
    assert (samples.holdout.sum(), samples.folds) == (SMALL // 5, None)
    assert (samples.judged == samples.holdout).all()
    fewer = split(X[1:], X[1:], None, 0.2, 0)
    assert not fewer.holdout.any()
    assert fewer.judged.all()
    assert fewer.folds is not None
    assert in_words(49) == "leave-one-out over 49 rows"
    assert in_words(100) == "10-fold cross-validation over 100 rows"


# --- a block -------------------------------------------------------------------------------------


class Period(nn.Module):
    def forward(self, a: torch.Tensor) -> torch.Tensor:
        return 365.26 * a * torch.sqrt(a)


class Orbit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.law, self.rest = Period(), nn.Linear(1, 1, dtype=torch.float64)

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.rest(self.law(a))
        return found


def test_a_block_of_six_rows_is_replaced_and_the_report_says_how_it_was_judged(
    tmp_path: Path,
) -> None:
    data = torch.from_numpy(AXES)[:, None]
    model = Orbit()
    recorded = record(model, "law", data)
    recorded.save(tmp_path / "six.safetensors")
    recorded = Recording.load(tmp_path / "six.safetensors")
    assert recorded.batches_are == "recorded batches"
    assert [batch.args[0].tolist() for batch in recorded.batches] == [data.tolist()]
    compiled = symcompile(model, "law", recorded, **QUICK)
    text = " ".join(str(compiled.report).split())
    assert "held out 0 | judged by leave-one-out over 6 rows" in text
    assert "That the form was chosen with all of them in sight" in text
    assert "on recorded batches" in text
    row = compiled.outcomes["law"].fidelity.outputs[0]  # type: ignore[union-attr]
    assert row.equation.relative_l2 < 1e-9
    X, Y = recorded["law"].X, recorded["law"].Y
    rows = [
        controls(np.delete(X, k, 0), np.delete(Y, k, 0)).linear.predict(X[[k]])[0] for k in range(6)
    ]
    assert row.linear.relative_l2 == pytest.approx(agreement(np.stack(rows), Y).relative_l2)
    compiled.choose("law", "500.0*x0")
    found = compiled.outcomes["law"].fidelity.outputs[0].equation  # type: ignore[union-attr]
    worst = np.linalg.norm(500 * X - Y) / np.linalg.norm(Y)
    assert found.relative_l2 > 0.9 * worst
    compiled.choose("law", rule="knee")
    compiled.save(tmp_path / "six.symc")
    loaded = load(tmp_path / "six.symc")
    assert loaded.fronts["law"][0] == compiled.fronts["law"][0]
    assert "leave-one-out over 6 rows" in str(loaded.report)


def test_all_of_few_batches_are_kept_for_the_whole_model() -> None:
    data = torch.from_numpy(AXES)[:, None]
    found = record(Orbit(), "law", list(data.split(2)))
    assert (len(found.batches), found.batches_are) == (3, "recorded batches")
    many = record(Orbit(), "law", torch.rand(200, 1).double(), holdout=0)
    assert (len(many.batches), many.batches_are) == (1, "recorded batches")
    assert not many["law"].holdout.any()
    assert len(record(Orbit(), "law", data, holdout=0, n_samples=4)["law"].X) == 4
