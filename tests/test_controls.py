"""The linear map against explicit refits, and where a naive choice of its strength fails."""

from __future__ import annotations

import numpy as np
import pytest

from symcompile.expressions.evaluation import Array
from symcompile.fidelity import controls as module
from symcompile.fidelity.controls import STRENGTHS, _Ridge, controls
from symcompile.fidelity.metrics import relative_l2


def split(X: Array, Y: Array, weights: Array | None = None) -> tuple[float, float]:
    """Held-out relative L2 of the mean and of the linear map, the last fifth held out."""
    n = len(X) * 4 // 5
    found = controls(X[:n], Y[:n], None if weights is None else weights[:n])
    mean, linear = (relative_l2(one.predict(X[n:]), Y[n:]) for one in found)
    return mean, linear


def rarely_active(rng: np.random.Generator, rows: int = 1000, columns: int = 384) -> Array:
    """Inputs of which all but six are zero in nearly all rows, and of very different size else."""
    active = rng.random((rows, columns)) < 0.004
    X = rng.normal(size=(rows, columns)) * active * np.exp(2 * rng.normal(size=(rows, columns)))
    X[:, :6] = rng.normal(size=(rows, 6))
    return X


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_rarely_active_inputs_do_not_blow_up(seed: int) -> None:
    """Generalised cross-validation gave maps 18 to 39 times as bad as the mean here."""
    rng = np.random.default_rng(seed)
    X = rarely_active(rng)
    rest = 0.1 * np.tanh(X[:, 6:] @ rng.normal(size=(378, 2)))
    Y = np.sin(X[:, :2]) + 0.3 * X[:, 2:4] + 0.5 + rest
    mean, linear = split(X, Y)
    assert linear < 0.5 < 0.75 < mean


@pytest.mark.parametrize("seed", range(4, 8))
def test_a_tiny_value_on_one_row_says_nothing_of_an_inputs_size(seed: int) -> None:
    """One map took an input for small that was 1e-6 on one of 60 rows, and was 1e6 times off."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 384)) ** 5 * (rng.random((300, 384)) < 0.05)
    Y = 0.1 * X @ rng.normal(size=(384, 4)) + np.tanh(X @ rng.normal(size=(384, 4)))
    found = controls(X[:60], Y[:60])
    mean, linear = (relative_l2(one.predict(X[60:]), Y[60:]) for one in found)
    assert linear < 1.05 * mean


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_layer_on_sparse_inputs_is_seen_as_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.maximum(rng.normal(size=(2000, 384)) - 2.0, 0.0) * np.logspace(-1, 2, 384)
    Y = (X.astype(np.float32) @ rng.normal(size=(384, 5)).astype(np.float32)).astype(float) + 1
    assert split(X, Y)[1] < 0.001


def test_errors_are_those_of_explicit_refits() -> None:
    rng = np.random.default_rng(1)
    X, Y, weights = rng.normal(size=(12, 3)), rng.normal(size=(12, 2)), rng.uniform(0.5, 2, 12)
    root = np.sqrt(weights)
    x_mean, y_mean = (np.average(A, axis=0, weights=weights) for A in (X, Y))
    found = _Ridge.of(root[:, None] * (X - x_mean), root[:, None] * (Y - y_mean), root)
    pull = STRENGTHS[5] * found.s.max() ** 2
    for row in range(12):
        rest = np.arange(12) != row
        centre, mean = (np.average(A[rest], axis=0, weights=weights[rest]) for A in (X, Y))
        Z, W = X[rest] - centre, np.diag(weights[rest])
        beta = np.linalg.solve(Z.T @ W @ Z + pull * np.eye(3), Z.T @ W @ (Y[rest] - mean))
        refit = mean + (X[row] - centre) @ beta
        errors = found.errors(np.array([5, 0]))[row] / root[row]
        np.testing.assert_allclose(errors, [Y[row, 0] - refit[0], Y[row, 1] - mean[1]], rtol=1e-9)


def test_outputs_that_no_input_explains_get_the_mean() -> None:
    rng = np.random.default_rng(4)
    for shape in ((500, 600), (200, 10), (9, 4)):
        X, Y = rng.normal(size=shape), np.repeat([[3.0, -1.0]], shape[0], axis=0)
        Y[:, 1] += 1e-3 * rng.normal(size=shape[0])
        found = controls(X, Y)
        np.testing.assert_array_equal(found.linear.weight[0], 0.0)
        fresh = rng.normal(size=(50, shape[1]))
        assert np.abs(found.linear.predict(fresh)[:, 1] + 1.0).max() < 5e-3


@pytest.mark.parametrize("rows", [3, 4, 6])
def test_a_few_rows_are_enough_for_a_line(rows: int) -> None:
    X = np.arange(rows, dtype=float)[:, None] ** 1.5
    found = controls(X, 2.0 * X + 1.0).linear
    np.testing.assert_allclose(found.predict(np.array([[40.0]])), 81.0, rtol=1e-6)


def test_one_and_two_rows_give_their_mean() -> None:
    for rows in (1, 2):
        X = np.arange(rows, dtype=float)[:, None]
        np.testing.assert_allclose(controls(X, X).linear.predict(np.array([[7.0]])), X.mean())


def test_inputs_of_one_unit_and_of_many_both_find_their_scaling() -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(150, 60)) * np.exp(3 * rng.normal(size=60))
    Y = (X / X.std(axis=0))[:, :3].sum(axis=1, keepdims=True) + 0.5 * rng.normal(size=(150, 1))
    assert split(X, Y)[1] < 0.5
    same = np.concatenate([rng.normal(size=(150, 3)), 1e-3 * rng.normal(size=(150, 100))], axis=1)
    Y = same[:, :3].sum(axis=1, keepdims=True) + 0.5 * rng.normal(size=(150, 1))
    assert split(same, Y)[1] < 0.45


def test_where_a_decomposition_takes_long_the_scaling_is_chosen_on_some_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    X = rarely_active(rng)
    Y = np.sin(X[:, :2]) + 0.3 * X[:, 2:4] + 0.1 * np.tanh(X[:, 6:] @ rng.normal(size=(378, 2)))
    calls: list[tuple[int, ...]] = []
    of = _Ridge.of

    def counted(Z: Array, targets: Array, root: Array) -> _Ridge:
        calls.append(Z.shape)
        return of(Z, targets, root)

    monkeypatch.setattr(module, "_AFFORDABLE", 0)
    monkeypatch.setattr(module, "_SCALING_ROWS", 300)
    monkeypatch.setattr(_Ridge, "of", staticmethod(counted))
    mean, linear = split(X, Y)
    assert [shape[0] for shape in calls] == [300, 300, 300, 300, 800]
    assert linear < 0.6 * mean


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_units_of_the_outputs_do_not_matter(size: float) -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(60, 3))
    Y = np.stack([X[:, 0] + 2, 0 * X[:, 0], rng.normal(size=60)], axis=1)
    found, expected = controls(X, size * Y).linear.weight, controls(X, Y).linear.weight
    np.testing.assert_allclose(found / size, expected, rtol=1e-9, atol=1e-9)
