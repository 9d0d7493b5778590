"""What least squares give: the best linear maps of a rank, also in what a model loses."""

import numpy as np
import pytest

from symcompile.reduction.linear import Metric, Regression, principal


def case(n: int = 4000, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Six inputs; five outputs that are linear in two directions, beside one of large noise."""
    random = np.random.default_rng(0)
    X = random.normal(size=(n, 6)) @ random.normal(size=(6, 6)) + 3.0
    Y = X @ random.normal(size=(6, 2)) @ random.normal(size=(2, 5))
    return X, Y - 2.0 + noise * random.normal(size=(n, 5))


def left(Y: np.ndarray, found: np.ndarray, root: np.ndarray | None = None) -> float:
    error = (Y - found) if root is None else (Y - found) @ root
    return float(np.square(error).sum(axis=1).mean())


def test_a_map_of_the_true_rank_leaves_the_noise() -> None:
    X, Y = case()
    regression = Regression(X, Y, Metric.of(None, 5))
    assert left(Y, regression.of_rank(2).predict(X)) == pytest.approx(5 * 0.01, rel=0.05)
    assert left(Y, regression.of_rank(1).predict(X)) > 1.0
    assert regression.of_rank(2).rank == 2


def test_it_is_the_best_of_its_rank() -> None:
    """Eckart and Young: no perturbation of it is nearer."""
    X, Y = case(noise=2.0)
    found = Regression(X, Y, Metric.of(None, 5)).of_rank(1)
    best, random = left(Y, found.predict(X)), np.random.default_rng(1)
    for _ in range(20):
        down = found.down + 0.05 * random.normal(size=found.down.shape)
        up = found.up + 0.05 * random.normal(size=found.up.shape)
        moved = (X - X.mean(axis=0)) @ down.T @ up.T + Y.mean(axis=0)
        assert left(Y, moved) > best


def test_coordinates_carry_the_map() -> None:
    X, Y = case()
    regression = Regression(X, Y, Metric.of(None, 5))
    inputs, outputs = regression.inputs(2), regression.outputs(2)
    z = inputs.project(X)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-6)
    weight = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), Y, rcond=None)[0]
    again = np.column_stack([z, np.ones(len(z))]) @ weight
    assert left(Y, again) == pytest.approx(5 * 0.01, rel=0.05)
    assert left(Y, outputs.reconstruct(outputs.project(Y))) < 5 * 0.01
    # What is rebuilt has the coordinates that it was rebuilt from.
    np.testing.assert_allclose(inputs.project(inputs.reconstruct(z)), z, atol=1e-8)
    np.testing.assert_allclose(outputs.project(outputs.reconstruct(z)), z, atol=1e-8)


def test_a_metric_says_what_matters() -> None:
    """An output that varies most, and that the model does not look at, is no direction."""
    X, Y = case()
    Y[:, 0] = 100.0 * X[:, 0]
    losses = np.diag([0.0, 1.0, 1.0, 1.0, 1.0])
    plain, lossy = (Regression(X, Y, Metric.of(m, 5)).of_rank(2) for m in (None, losses))
    others = [left(Y[:, 1:], found.predict(X)[:, 1:]) for found in (plain, lossy)]
    assert others[1] < 0.05 < 0.5 < others[0]


def test_without_losses_all_outputs_count_alike() -> None:
    for losses in (None, np.zeros((3, 3))):
        metric = Metric.of(losses, 3)
        np.testing.assert_array_equal(metric.root, np.eye(3))
    random = np.random.default_rng(0).normal(size=(50, 3))
    metric = Metric.of(random.T @ random, 3)
    np.testing.assert_allclose(metric.root @ metric.inverse, np.eye(3), atol=1e-9)


def test_collinear_and_constant_inputs_do_no_harm() -> None:
    X, Y = case()
    X[:, 1], X[:, 2] = X[:, 0], 7.0
    found = Regression(X, Y, Metric.of(None, 5)).of_rank(5)
    assert np.isfinite(found.down).all()
    assert np.isfinite(found.up).all()
    axes = principal(X, 2)
    np.testing.assert_allclose(axes.components @ axes.components.T, np.eye(2), atol=1e-12)
