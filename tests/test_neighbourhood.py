"""The neighbourhood: nearest rows, new points around them, and how much of these counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from symcompile.errors import DataError
from symcompile.explanation.features import Features
from symcompile.explanation.neighbourhood import (
    Neighbourhood,
    Sample,
    check_inside,
    default_neighbours,
    effective_sample_size,
    neighbourhood,
)
from symcompile.expressions.evaluation import Array

RNG = np.random.default_rng(0)
# Columns of very different units.
NUMBERS = RNG.normal(size=(400, 4)) * [1.0, 100.0, 0.01, 5.0] + [0.0, 50.0, 0.0, -3.0]


# The row that is in the middle of them.
MIDDLE = int(np.abs(StandardScaler().fit_transform(NUMBERS)).max(axis=1).argmin())


def around(data: Array, row: int = 0, **options: Any) -> Neighbourhood:
    features, numbers = Features.of(data)
    given = {"n_neighbors": 40} | options
    return neighbourhood(features, numbers[row], numbers, **given)


def drawn(place: Neighbourhood, count: int = 20_000, seed: int = 1) -> Sample:
    return place.draw(count, np.random.default_rng(seed))


def mixed(rows: int = 400) -> Array:
    """A number, a whole number of large steps, one of small ones, a flag and a category of three
    levels."""
    rng = np.random.default_rng(5)
    return np.column_stack(
        [
            rng.normal(size=rows),
            rng.integers(0, 200, rows),
            rng.integers(0, 4, rows),
            rng.integers(0, 2, rows),
            np.eye(3)[rng.integers(0, 3, rows)],
        ]
    )


# --- nearest rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 40, 400])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_nearest_rows_are_those_of_standardised_data(count: int, metric: str) -> None:
    place = around(NUMBERS, 3, n_neighbors=count, metric=metric, variance=np.ones(4))
    scaled = StandardScaler().fit_transform(NUMBERS)
    nearest = NearestNeighbors(n_neighbors=count, metric=metric).fit(scaled)
    expected = nearest.kneighbors(scaled[3:4], return_distance=False)[0]
    np.testing.assert_array_equal(place.neighbours, NUMBERS[expected])


def test_a_metric_may_be_a_function_of_two_rows() -> None:
    def first_column(a: Array, b: Array) -> float:
        return float(abs(a[0] - b[0]))

    place = around(NUMBERS, n_neighbors=10, metric=first_column)
    order = np.argsort(np.abs(NUMBERS[:, 0] - NUMBERS[0, 0]))[:10]
    np.testing.assert_array_equal(place.neighbours, NUMBERS[order])
    sample = drawn(place, 50)
    apart = (sample.X[:, 0] - place.x[0]) / NUMBERS[:, 0].std()
    kernel = np.exp(-((apart / place.bandwidth) ** 2))
    np.testing.assert_allclose(sample.weights / sample.weights.max(), kernel / kernel.max())
    assert sample.weights.sum() == pytest.approx(effective_sample_size(kernel))


@pytest.mark.parametrize("metric", ["nearness", 3])
def test_a_metric_that_nobody_knows_is_named(metric: Any) -> None:
    with pytest.raises(DataError, match=f"metric={metric!r} is none that scikit-learn"):
        around(NUMBERS, metric=metric)
    features, numbers = Features.of(NUMBERS)
    with pytest.raises(DataError, match=f"metric={metric!r} is none that scikit-learn"):
        check_inside(features, numbers[0], numbers, metric)


def test_all_levels_of_a_category_are_measured_in_one_unit() -> None:
    """Scaled each on its own, a rare level would be farther than all numbers together."""
    place = around(mixed())
    levels = mixed()[:, 4:]
    spread = np.sqrt(levels.var(axis=0).sum())
    np.testing.assert_allclose(place.scale[4:], spread)
    np.testing.assert_allclose(place.scale[:4], mixed()[:, :4].std(axis=0))


def test_a_twentieth_of_the_rows_is_near_within_bounds() -> None:
    counts = {5: 5, 10: 10, 150: 10, 400: 20, 1999: 99, 2000: 100, 10**6: 100}
    assert {rows: default_neighbours(rows) for rows in counts} == counts


def test_the_mean_is_that_of_the_neighbours() -> None:
    place = around(NUMBERS)
    np.testing.assert_allclose(place.mean, place.neighbours.mean(axis=0))


def test_what_all_neighbours_have_is_their_mean() -> None:
    """To the last digit, so that it contributes nothing."""
    data = np.column_stack([NUMBERS, np.where(np.arange(400) % 7, 0.1, 5.0)])
    place = around(data, 1)
    assert (place.neighbours[:, 4] == 0.1).all()
    assert place.neighbours.mean(axis=0)[4] != 0.1 == place.mean[4]


# --- new points ----------------------------------------------------------------------------------


def test_new_points_vary_half_as_much_as_the_neighbours() -> None:
    place = around(NUMBERS, MIDDLE)
    X = drawn(place).X
    # Of 20,000 points a variance is known to 1 %.
    np.testing.assert_allclose(X.var(axis=0), place.neighbours.var(axis=0) / 2, rtol=0.04)
    np.testing.assert_allclose((X.mean(axis=0) - place.x) / X.std(axis=0), 0.0, atol=0.03)


def test_a_variance_that_is_given_takes_its_place() -> None:
    variance = np.array([0.04, np.nan, 1e-6, np.nan])
    place = around(NUMBERS, MIDDLE, variance=variance)
    expected = np.where(np.isnan(variance), place.neighbours.var(axis=0) / 2, variance)
    np.testing.assert_allclose(drawn(place).X.var(axis=0), expected, rtol=0.04)


def test_what_is_given_a_variance_of_zero_stays() -> None:
    place = around(NUMBERS, variance=np.array([0.0, np.nan, np.nan, np.nan]))
    np.testing.assert_array_equal(drawn(place).X[:, 0], place.x[0])


def test_nothing_leaves_the_range_of_the_data() -> None:
    place = around(NUMBERS, int(NUMBERS[:, 0].argmax()), variance=np.full(4, 1e6))
    X = drawn(place).X
    np.testing.assert_array_equal(X.min(axis=0), NUMBERS.min(axis=0))
    np.testing.assert_array_equal(X.max(axis=0), NUMBERS.max(axis=0))


def test_the_range_reaches_to_an_x_that_is_outside() -> None:
    features, numbers = Features.of(NUMBERS)
    x = numbers.max(axis=0)
    x[0] += 5.0
    place = neighbourhood(features, x, numbers, n_neighbors=40)
    X = drawn(place).X
    assert X[:, 0].max() == x[0]
    assert X[:, 0].min() > NUMBERS[:, 0].max()


def test_whole_numbers_stay_whole_and_vary() -> None:
    X = drawn(around(mixed())).X
    for column in (1, 2):
        np.testing.assert_array_equal(X[:, column], np.round(X[:, column]))
        assert len(np.unique(X[:, column])) > 2
    assert X[:, 2].min() >= 0
    assert X[:, 2].max() <= 3


def test_categories_take_other_levels_as_often_as_not() -> None:
    """Half of these are levels of the neighbours, half those of any row."""
    place = around(mixed(), n_neighbors=200)
    X, near = drawn(place).X, place.neighbours
    assert (np.abs(near[:, 4:].mean(axis=0) - mixed()[:, 4:].mean(axis=0)) > 0.08).any()
    np.testing.assert_array_equal(np.unique(X[:, 3:]), [0.0, 1.0])
    np.testing.assert_array_equal(X[:, 4:].sum(axis=1), 1.0)
    for column in (3, 4, 5, 6):
        others = (near[:, column].mean() + mixed()[:, column].mean()) / 2
        expected = place.x[column] / 2 + others / 2
        # Of 20,000 points a share is known to 0.0035.
        assert X[:, column].mean() == pytest.approx(expected, abs=0.015)
    # Levels of two categories are drawn from different neighbours.
    both = (X[:, 3] != place.x[3]) & (X[:, 4:] != place.x[4:]).any(axis=1)
    alone = (X[:, 3] != place.x[3]).mean() * (X[:, 4:] != place.x[4:]).any(axis=1).mean()
    assert both.mean() == pytest.approx(alone, abs=0.015)


def test_small_whole_numbers_are_drawn_from_the_neighbours() -> None:
    place = around(mixed(), n_neighbors=200)
    X = drawn(place).X
    for value in range(4):
        near = (place.neighbours[:, 2] == value).mean()
        expected = (place.x[2] == value) / 2 + near / 2
        assert (X[:, 2] == value).mean() == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("fixed", [[0], [1, 3], [2, 4, 5, 6]])
def test_what_is_fixed_stays_as_it_is_at_x(fixed: list[int]) -> None:
    place = around(mixed(), n_neighbors=400, fixed=fixed)
    for rows in (drawn(place).X, place.neighbours):
        np.testing.assert_array_equal(rows[:, fixed], np.tile(place.x[fixed], (len(rows), 1)))
    others = [column for column in range(7) if column not in fixed]
    assert (np.ptp(drawn(place).X[:, others], axis=0) > 0).all()


def test_the_data_are_left_as_they_are() -> None:
    features, numbers = Features.of(NUMBERS)
    before = numbers.copy()
    neighbourhood(features, numbers[0], numbers, n_neighbors=9, fixed=[0, 1])
    np.testing.assert_array_equal(numbers, before)


def test_where_nothing_varies_there_is_nothing_to_explain() -> None:
    table = np.vstack([np.zeros((20, 2)), np.ones((5, 2)) * [[2.5, 0.5]]])
    with pytest.raises(DataError, match=r"nothing varies around x: its 20 nearest rows"):
        around(table, n_neighbors=20)
    assert np.isfinite(around(table, n_neighbors=25).bandwidth)
    with pytest.raises(DataError, match="nothing varies around x"):
        around(NUMBERS, fixed=[0, 1, 2, 3])


def test_the_same_seed_draws_the_same_points() -> None:
    place, again = around(mixed(), seed=3), around(mixed(), seed=3)
    first, second = drawn(place, 200, seed=7), drawn(again, 200, seed=7)
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.weights, second.weights)
    assert (drawn(place, 200, seed=8).X != first.X).any()


def test_samples_are_joined_in_order() -> None:
    a, b = Sample(np.ones((2, 3)), np.array([1.0, 2.0])), Sample(np.zeros((1, 3)), np.array([3.0]))
    both = a.joined(b)
    np.testing.assert_array_equal(both.X, [[1.0] * 3, [1.0] * 3, [0.0] * 3])
    np.testing.assert_array_equal(both.weights, [1.0, 2.0, 3.0])


# --- the kernel ----------------------------------------------------------------------------------


def test_the_effective_sample_size_is_that_of_kish() -> None:
    assert effective_sample_size(np.full(50, 0.3)) == pytest.approx(50.0)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1.0)
    # (2 + 1)^2 / (4 + 1)
    assert effective_sample_size(np.array([2.0, 1.0])) == pytest.approx(1.8)
    assert effective_sample_size(np.zeros(4)) == 0.0


@pytest.mark.parametrize("dimensions", [2, 13, 30, 100])
def test_the_bandwidth_leaves_the_same_share_of_points_in_all_dimensions(dimensions: int) -> None:
    data = np.random.default_rng(2).normal(size=(500, dimensions))
    place = around(data)
    # By Kish's formula 60 %, on points that the bandwidth was not chosen on.
    share = effective_sample_size(drawn(place, 5000).weights) / 5000
    assert share == pytest.approx(0.6, abs=0.03)


def test_the_bandwidth_leaves_that_share_of_mixed_points() -> None:
    share = effective_sample_size(drawn(around(mixed()), 5000).weights) / 5000
    assert share == pytest.approx(0.6, abs=0.03)


def test_points_that_differ_count_where_most_points_are_as_x() -> None:
    table = (np.arange(100) % 10 == 3).astype(float)[:, None]
    sample = drawn(around(table, n_neighbors=100), 1000)
    other = sample.X[:, 0] != 0.0
    assert other.sum() > 20
    assert sample.weights[other].min() > 0.01


def test_a_bandwidth_that_is_given_is_that_of_the_kernel() -> None:
    place = around(NUMBERS, bandwidth=0.7)
    assert place.bandwidth == 0.7
    sample = drawn(place, 100)
    apart = (sample.X - place.x) / NUMBERS.std(axis=0)
    expected = np.exp(-(apart**2).sum(axis=1) / 0.7**2)
    np.testing.assert_allclose(place.kernel(sample.X), expected)
    np.testing.assert_allclose(place.distances(sample.X), np.linalg.norm(apart, axis=1))
    assert place.kernel(place.x[None])[0] == 1.0


# --- inside and outside --------------------------------------------------------------------------


def inside(x: Array, data: Array, metric: str = "euclidean", names: Any = None) -> None:
    features, numbers = Features.of(data, names)
    check_inside(features, np.asarray(x, dtype=float), numbers, metric)


def test_rows_of_the_data_and_rows_between_them_are_inside() -> None:
    for row in range(20):
        inside(NUMBERS[row], NUMBERS)
    inside(NUMBERS.mean(axis=0), NUMBERS)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_a_row_that_is_far_out_is_refused_by_its_feature_and_its_range(metric: str) -> None:
    x = NUMBERS.mean(axis=0)
    x[1] = 2000.0
    low, high = NUMBERS[:, 1].min(), NUMBERS[:, 1].max()
    message = (
        r"x is outside of the data: .* standard deviations from the nearest row.*"
        rf"\(speed is 2000, in data {low:.4g} to {high:.4g}\).*give extrapolate=True"
    )
    with pytest.raises(DataError, match=message):
        inside(x, NUMBERS, metric, ["mass", "speed", "charge", "spin"])


def test_of_several_features_the_one_that_is_farthest_out_is_named() -> None:
    x = NUMBERS.max(axis=0) + NUMBERS.std(axis=0) * [1.0, 2.0, 9.0, 3.0]
    with pytest.raises(DataError, match=r"\(x2 is "):
        inside(x, NUMBERS)


def test_a_row_between_rows_that_are_far_apart_is_outside_of_no_range() -> None:
    """Two clusters: between them there is nothing."""
    centres = np.repeat([[0.0, 0.0], [50.0, 50.0]], 100, axis=0)
    data = centres + np.random.default_rng(1).normal(size=(200, 2))
    with pytest.raises(DataError, match="from its own nearest; what fn says there rests on no"):
        inside(np.array([25.0, 25.0]), data)


def test_rows_that_are_there_twice_are_not_their_own_nearest() -> None:
    """All distances would be 0, and every x that is not a row outside."""
    twice = np.repeat(NUMBERS[:100], 2, axis=0)
    inside(NUMBERS.mean(axis=0), twice)
    inside(twice[7], twice)


def test_of_two_rows_it_is_not_known_what_is_outside() -> None:
    inside(np.array([100.0]), np.array([[0.0], [1.0]]))
