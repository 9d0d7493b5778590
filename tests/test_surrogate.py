"""The surrogate: polynomials that know their own error."""

from __future__ import annotations

import numpy as np
import pytest

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.surrogate import (
    Column,
    basis,
    error,
    fitting,
    left_out,
    orthonormal,
)

RNG = np.random.default_rng(0)
U, V = RNG.uniform(-1, 3, (2, 200))
W = RNG.uniform(0.5, 2, 200)


def columns(*values: Array) -> list[Column]:
    return [Column(v) for v in values]


def test_errors_are_those_of_fits_without_the_sample() -> None:
    """By as many fits, at the number of terms that errs least."""
    y = np.exp(0.4 * U) * V + 0.1 * RNG.normal(size=200)
    found = left_out(columns(U, V), y, W, 20)
    B = basis(columns(U, V), 20)
    sums = []
    for end in {round(share * 20) for share in (0.08, 0.16, 0.3, 0.45, 0.65, 0.82, 1.0)}:
        errors = np.empty(200)
        for k in range(200):
            rest = np.arange(200) != k
            A, b = (B[:, :end] * W[:, None])[rest], (y * W)[rest]
            errors[k] = W[k] * (y[k] - B[k, :end] @ np.linalg.lstsq(A, b, rcond=None)[0])
        sums.append((errors @ errors, errors))
    expected = min(sums, key=lambda pair: pair[0])[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_polynomials_are_met_exactly_and_noise_is_measured() -> None:
    y = 1.0 + U * V**2 - 3.0 * V
    assert error(left_out(columns(U, V), y, np.ones(200), 25)) < 1e-12
    noise = 0.3 * RNG.normal(size=200)
    assert error(left_out(columns(U, V), y + noise, np.ones(200), 25)) == pytest.approx(
        0.3, rel=0.2
    )


def test_no_columns_leave_the_deviation_from_the_mean() -> None:
    y = RNG.normal(size=200)
    found = left_out([], y, np.ones(200), 9)
    np.testing.assert_allclose(found, (y - y.mean()) / (1 - 1 / 200), rtol=1e-9)


def test_the_basis_is_of_lowest_degree() -> None:
    """The constant first, each product of polynomials once."""
    B = basis(columns(U, V), 10)
    u, v = (2 * (x - x.min()) / np.ptp(x) - 1 for x in (U, V))
    expected = np.column_stack([u**i * v**j for i in range(4) for j in range(4 - i)])
    assert np.linalg.matrix_rank(B) == np.linalg.matrix_rank(np.hstack([B, expected])) == 10
    np.testing.assert_array_equal(B[:, 0], 1.0)


def test_a_direction_may_have_more_degrees() -> None:
    y = np.sin(3 * U) + V
    plain, fine = Column(U), Column(U, resolution=4.0)
    coarse = error(left_out([plain, Column(V)], y, np.ones(200), 25))
    assert error(left_out([fine, Column(V)], y, np.ones(200), 25)) < 0.01 * coarse
    best = fitting([plain, Column(V)], y, np.ones(200), 25)
    assert best[0].resolution > best[1].resolution
    assert error(left_out(best, y, np.ones(200), 25)) < 0.01 * coarse


def test_decades_are_smooth_in_the_logarithm() -> None:
    x = 10 ** RNG.uniform(-2, 2, 200)
    best = fitting([Column(x)], np.log(x) ** 2, np.ones(200), 12)
    assert best[0].logarithmic
    assert error(left_out(best, np.log(x) ** 2, np.ones(200), 12)) < 1e-9
    assert not fitting([Column(U)], U**2, np.ones(200), 12)[0].logarithmic


def test_a_column_in_place_of_another_is_as_fine() -> None:
    wide = Column(10 ** RNG.uniform(0, 2, 200), 2.0, logarithmic=True)
    assert wide.like(wide.values**2, Column(U, 3.0)).resolution == 3.0
    assert wide.like(wide.values**2).logarithmic
    assert not wide.like(U).logarithmic  # not above zero
    assert not wide.like(W).logarithmic  # no decade


@pytest.mark.parametrize("dependent", [False, True])
def test_orthonormal_columns_span_the_same(dependent: bool) -> None:
    A = RNG.normal(size=(60, 5))
    if dependent:
        A[:, 4] = A[:, 0] + A[:, 1]
    Q = orthonormal(A)
    assert np.isfinite(Q).all()
    for k in range(1, 5):
        assert np.linalg.matrix_rank(np.hstack([A[:, :k], Q[:, :k]]), tol=1e-8) == k
    np.testing.assert_allclose(Q[:, :4].T @ Q[:, :4], np.eye(4), atol=1e-9)
    assert np.linalg.norm(Q[:, 4]) == pytest.approx(0.0 if dependent else 1.0, abs=1e-2)


def test_inputs_that_determine_one_another_cost_no_reflections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Powers of the distance and of its components are dependent: fits are as good, as fast."""
    a = [*columns(U, V), Column(np.hypot(U, V))]
    y = (1.0 - 0.3 / (0.5 + a[2].values)) * U
    expected = error(left_out(a[1:], y, np.ones(200), 25))
    monkeypatch.delattr("numpy.linalg.qr")
    assert error(left_out(a, y, np.ones(200), 25)) < expected
