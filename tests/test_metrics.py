"""Metrics against their definitions, and the controls against exact solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symcompile.errors import DataError
from symcompile.fidelity.controls import controls
from symcompile.fidelity.metrics import agreement, relative_l2

RNG = np.random.default_rng(0)


def test_agreement_follows_its_definitions() -> None:
    truth, prediction = RNG.normal(3.0, 2.0, 500), RNG.normal(3.0, 2.0, 500)
    found = agreement(prediction, truth)
    error = prediction - truth
    r2 = 1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert found.r2 == pytest.approx(r2, rel=1e-12)
    assert found.relative_l2 == pytest.approx(np.linalg.norm(error) / np.linalg.norm(truth))
    assert found.max_error == np.abs(error).max()


def test_several_outputs_count_about_their_own_means() -> None:
    truth = RNG.normal(size=(300, 2)) * [1.0, 3.0] + [50.0, -7.0]
    means = np.broadcast_to(truth.mean(axis=0), truth.shape)
    assert agreement(means, truth).r2 == pytest.approx(0.0, abs=1e-12)
    assert agreement(truth, truth) == agreement(truth.copy(), truth)
    assert agreement(truth, truth).r2 == 1.0


@pytest.mark.parametrize(
    ("prediction", "truth", "r2", "relative"),
    [
        ([2.0, 2.0], [2.0, 2.0], 1.0, 0.0),  # does not vary, and is met
        ([2.0, 2.2], [2.0, 2.0], math.nan, math.sqrt(0.005)),  # does not vary, and is missed
        ([0.0, 0.0], [0.0, 0.0], 1.0, 0.0),
        ([0.0, 1.0], [0.0, 0.0], math.nan, math.inf),
        ([np.nan, 1.0], [0.0, 1.0], -math.inf, math.inf),
        ([np.inf, 1.0], [0.0, 1.0], -math.inf, math.inf),
        ([], [], math.nan, math.nan),
    ],
)
def test_degenerate_outputs_follow_the_documented_rules(
    prediction: list[float], truth: list[float], r2: float, relative: float
) -> None:
    found = agreement(np.array(prediction), np.array(truth))
    assert found.r2 == pytest.approx(r2, nan_ok=True)
    assert found.relative_l2 == pytest.approx(relative, nan_ok=True)


def test_huge_and_tiny_values_do_not_overflow() -> None:
    truth = np.array([1e300, -2e300, 5e299])
    assert agreement(truth * 1.01, truth).relative_l2 == pytest.approx(0.01, rel=1e-9)
    tiny = truth * 1e-300 * 1e-20
    assert agreement(tiny, tiny).r2 == 1.0
    assert relative_l2(1.01 * tiny[:, None], tiny[:, None]) == pytest.approx(0.01, rel=1e-6)


def test_a_finite_prediction_may_be_infinitely_bad() -> None:
    """An equation may leave its range by orders of magnitude beyond the recorded box."""
    found = agreement(np.array([1e200, 0.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    assert found.r2 == -math.inf
    assert found.relative_l2 == pytest.approx(1e200 / math.sqrt(14.0))


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(DataError, match=r"\[3\].*\[4\]"):
        agreement(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="NaN"):
        agreement(np.zeros(2), np.array([1.0, np.nan]))
    with pytest.raises(DataError, match=r"\[5, 2\].*\[4, 1\]"):
        controls(np.zeros((5, 2)), np.zeros((4, 1)))
    with pytest.raises(DataError, match="none of 3"):
        controls(np.full((3, 2), np.nan), np.zeros((3, 1)))
    with pytest.raises(DataError, match="weights"):
        controls(np.zeros((3, 2)), np.zeros((3, 1)), np.ones(2))


def test_an_exact_linear_map_is_found() -> None:
    X = RNG.normal(size=(400, 5)) * [1e-3, 1.0, 1e4, 2.0, 1.0] + [0, 5, -3e4, 0, 1]
    weight, bias = RNG.normal(size=(3, 5)), RNG.normal(size=3)
    linear = controls(X, X @ weight.T + bias).linear
    np.testing.assert_allclose(linear.weight, weight, rtol=1e-5)
    np.testing.assert_allclose(linear.predict(X), X @ weight.T + bias, rtol=1e-7, atol=1e-6)


def test_constant_and_collinear_columns_do_no_harm() -> None:
    x = RNG.normal(size=(300, 1))
    X = np.hstack([x, np.full_like(x, 1e6), 2 * x, np.zeros_like(x), x + 1e-14])
    linear = controls(X, 3 * x - 1).linear
    np.testing.assert_array_equal(linear.weight[0, [1, 3]], 0.0)
    assert np.abs(linear.weight).max() < 10
    fresh = RNG.normal(size=(50, 1))
    same = np.hstack([fresh, np.full_like(fresh, 1e6), 2 * fresh, np.zeros_like(fresh), fresh])
    np.testing.assert_allclose(linear.predict(same), 3 * fresh - 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(700, 300), (300, 700)])
def test_wide_inputs_give_the_map_of_the_normal_equations(shape: tuple[int, int]) -> None:
    """They go by another decomposition; the strength chosen is read back from the map itself."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=shape) * np.logspace(-2, 2, shape[1])
    y = X[:, :5] @ rng.normal(size=(5, 1)) / np.logspace(-2, 2, shape[1])[0] + rng.normal(
        size=(shape[0], 1)
    )
    linear = controls(X, y).linear
    centred = X - X.mean(axis=0)
    gaps = []
    for scale in (X.std(axis=0), np.abs(centred).max(axis=0), np.full(shape[1], X.std(0).max())):
        Z, beta = centred / scale, linear.weight[0] * scale
        pull = Z.T @ (y[:, 0] - y.mean() - Z @ beta)  # = strength * beta
        strength = pull @ beta / (beta @ beta)
        assert strength > 0
        gaps.append(np.abs(pull - strength * beta).max() / np.abs(pull).max())
    assert min(gaps) < 1e-5


def test_ridge_beats_interpolation_for_fewer_samples_than_inputs() -> None:
    """30 noisy samples of 60 inputs: least squares interpolates the noise, ridge must not."""
    rng = np.random.default_rng(5)
    X, fresh = rng.normal(size=(30, 60)), rng.normal(size=(2000, 60))
    noise = 10.0 * rng.normal(size=30)
    fitted = controls(X, (X[:, 0] + noise)[:, None])
    interpolating = np.linalg.lstsq(X, X[:, 0] + noise - noise.mean(), rcond=None)[0]
    truth = fresh[:, 0]
    ridge_error = np.linalg.norm(fitted.linear.predict(fresh)[:, 0] - truth)
    assert np.isfinite(fitted.linear.weight).all()
    assert ridge_error < 0.7 * np.linalg.norm(fresh @ interpolating - truth)


def test_strength_is_chosen_for_each_output() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 20))
    Y = np.stack([X[:, 0], rng.normal(size=40)], axis=1)
    linear = controls(X, Y).linear
    assert linear.weight[0, 0] == pytest.approx(1.0, abs=1e-6)  # no noise: hardly any ridge
    assert np.linalg.norm(linear.weight[1]) < 0.5  # noise only: mostly ridge


def test_mean_control_is_a_map_of_weight_zero() -> None:
    X, Y = RNG.normal(size=(100, 3)), RNG.normal(size=(100, 2)) + 4
    mean = controls(X, Y).mean
    np.testing.assert_allclose(mean.predict(X), np.broadcast_to(Y.mean(axis=0), Y.shape))
    assert agreement(mean.predict(X), Y).r2 == pytest.approx(0.0, abs=1e-12)


def test_weights_count_as_repeated_samples() -> None:
    X, Y = RNG.normal(size=(60, 2)), RNG.normal(size=(60, 1))
    weights = RNG.integers(1, 4, 60).astype(float)
    rows = np.repeat(np.arange(60), weights.astype(int))
    weighted, repeated = controls(X, Y, weights), controls(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.mean.bias, repeated.mean.bias)
    np.testing.assert_allclose(
        weighted.linear.predict(X), repeated.linear.predict(X), atol=0.1 * Y.std()
    )
    kept = controls(X, Y, (np.arange(60) < 30).astype(float))
    np.testing.assert_allclose(kept.linear.weight, controls(X[:30], Y[:30]).linear.weight)


def test_rows_that_are_not_finite_are_left_out_of_controls() -> None:
    X, Y = RNG.normal(size=(50, 2)), RNG.normal(size=(50, 1))
    spoiled = X.copy()
    spoiled[40:] = np.inf
    expected = controls(X[:40], Y[:40]).linear.weight
    np.testing.assert_allclose(controls(spoiled, Y).linear.weight, expected)


@pytest.mark.parametrize("rows", [1, 2])
def test_one_or_two_samples_give_a_finite_map(rows: int) -> None:
    X, Y = RNG.normal(size=(rows, 3)), RNG.normal(size=(rows, 1))
    fitted = controls(X, Y)
    assert np.isfinite(fitted.linear.predict(X)).all()
    assert np.isfinite(fitted.linear.weight).all()
