"""The neighbourhood of a row: its nearest rows of the data, new points around it, their weights.

The set-up is that of SLIME (Tan, Soubki and Cranmer 2026, arXiv 2602.21307): J neighbours, and
Gaussian points around x whose variance is half of the neighbours', weighed by
pi(z) = exp(-|x - z|^2 / bandwidth^2). In d dimensions the weights of a bandwidth that does not grow
with d all but vanish: of 500 points that say as much as 300 at d = 2, those that say as much as 1.5
at d = 30. So the bandwidth is chosen by what it leaves, the effective sample size
(sum pi)^2 / (sum pi^2) (Kish 1965): the share that it is at d = 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symcompile.errors import DataError, described
from symcompile.explanation.features import CATEGORY, NUMBER, WHOLE, Feature, Features
from symcompile.expressions.evaluation import Array

# Effective sample size as a share of the points, and points that the bandwidth is chosen on.
SHARE, _PILOT = 0.6, 2000
# Neighbours: a twentieth of the rows, in these bounds.
_FEWEST, _MOST, _NEIGHBOUR_SHARE = 10, 100, 0.05
# Variance of new points as a share of the neighbours'. Of a category it is the chance that a point
# does not have the level of x: half of these points take that of a neighbour, half that of any row.
# Neighbours mostly have the levels of x, and nothing could be said of what others would do.
_VARIANCE_SHARE = 0.5
# Below this share of the largest distance a point is as x.
_SAME = 1e-6
# Rows whose distance to their nearest row is looked at, where it is asked whether x is far out.
_LOOKED_AT = 500


@dataclass(frozen=True)
class Sample:
    """Rows X [n_rows, n_columns], and what each of them weighs [n_rows]."""

    X: Array
    weights: Array

    def joined(self, other: Sample) -> Sample:
        return Sample(np.vstack([self.X, other.X]), np.r_[self.weights, other.weights])


@dataclass(frozen=True)
class Neighbourhood:
    """Where an explanation holds.

    Attributes:
        features: of the columns.
        x: the row that is explained [n_columns].
        neighbours: its nearest rows of the data, the nearest first [n_neighbors, n_columns].
        deviation: standard deviation of new points around x [n_columns].
        drawn: whether points are drawn from the rows there are instead: categories, and whole
            numbers that hardly vary [n_columns].
        frequency: of each level of a category among all rows [n_columns].
        low, high: what new points do not leave [n_columns].
        scale: what distances are measured in [n_columns]: the standard deviation of the data, for
            all levels of a category together.
        metric: of distances, a name that scikit-learn knows or a function of two rows.
        bandwidth: of the kernel, in the units of `scale`.
    """

    features: Features
    x: Array
    neighbours: Array
    deviation: Array
    drawn: Array
    frequency: Array
    low: Array
    high: Array
    scale: Array
    metric: Any = "euclidean"
    bandwidth: float = np.inf

    def draw(self, count: int, rng: np.random.Generator) -> Sample:
        """New points around x, weighed by the kernel. Their weights add up to their effective
        sample size: in many dimensions all of them are far from x, and would weigh nothing beside
        rows of the data."""
        X = self.x + rng.standard_normal((count, len(self.x))) * self.deviation
        X = np.clip(X, self.low, self.high)
        for feature in self.features.features:
            columns = list(feature.columns)
            if feature.kind == WHOLE:
                X[:, columns] = np.round(X[:, columns])
            if self.drawn[columns].any():
                X[:, columns] = self._drawn(feature, count, rng)
        weights = self.kernel(X)
        return Sample(X, weights * (weights.sum() / max(float(weights @ weights), 1e-300)))

    def _drawn(self, feature: Feature, count: int, rng: np.random.Generator) -> Array:
        """Columns of a feature [count, n_columns] as at x, as often as not; else as at one of the
        neighbours, or of a category as at any row."""
        columns = list(feature.columns)
        chance = rng.random(count)
        values = self.neighbours[rng.integers(len(self.neighbours), size=count)][:, columns]
        if feature.kind == CATEGORY:
            levels = _levels(self.frequency[columns], count, rng)
            values = np.where((chance < _VARIANCE_SHARE / 2.0)[:, None], levels, values)
        return np.where((chance < _VARIANCE_SHARE)[:, None], values, self.x[columns])

    def kernel(self, X: Array) -> Array:
        """pi [n_rows] of rows X [n_rows, n_columns]."""
        return np.asarray(np.exp(-np.square(self.distances(X) / self.bandwidth)))

    def distances(self, X: Array) -> Array:
        """Of each row to x [n_rows], in the units of `scale`."""
        return _distances(self.x / self.scale, X / self.scale, self.metric)

    @property
    def mean(self) -> Array:
        """Of the neighbours [n_columns]: what contributions are told from. Where all have the same,
        that itself: a mean would differ by rounding."""
        same = np.ptp(self.neighbours, axis=0) == 0.0
        return np.where(same, self.neighbours[0], self.neighbours.mean(axis=0))


def _levels(frequency: Array, count: int, rng: np.random.Generator) -> Array:
    """Levels of a category by their frequency [n_levels], as columns of 0 and 1."""
    if len(frequency) == 1:
        return (rng.random((count, 1)) < frequency).astype(float)
    return np.eye(len(frequency))[rng.choice(len(frequency), count, p=frequency / frequency.sum())]


def effective_sample_size(weights: Array) -> float:
    """How many samples of equal weight say as much as these [n_samples] (Kish 1965)."""
    return float(weights.sum() ** 2 / max(float(weights @ weights), 1e-300))


def default_neighbours(rows: int) -> int:
    """A twentieth of the rows, at least 10 and at most 100, and no more than there are."""
    return min(rows, _MOST, max(_FEWEST, int(_NEIGHBOUR_SHARE * rows)))


def neighbourhood(
    features: Features,
    x: Array,
    data: Array,
    *,
    n_neighbors: int,
    metric: str | Callable[[Array, Array], float] = "euclidean",
    variance: Array | None = None,
    bandwidth: float | None = None,
    fixed: Sequence[int] = (),
    seed: int = 0,
) -> Neighbourhood:
    """The neighbourhood of x [n_columns] in the data [n_rows, n_columns].

    Args:
        variance: of new points [n_columns], NaN for half of the neighbours'.
        bandwidth: of the kernel; None for one that leaves 60 % of the sample size.
        fixed: columns that stay as they are at x.

    Raises DataError where scikit-learn does not know the metric, or nothing varies around x.
    """
    scale = _scale(features, data)
    nearest = _nearest(x / scale, data / scale, n_neighbors, metric)
    neighbours = data[nearest]
    neighbours[:, list(fixed)] = x[list(fixed)]
    deviation = np.sqrt(_VARIANCE_SHARE * neighbours.var(axis=0))
    if variance is not None:
        deviation = np.where(np.isnan(variance), deviation, np.sqrt(np.nan_to_num(variance)))
    drawn = np.zeros(len(x), dtype=bool)
    for feature in features.features:
        columns = list(feature.columns)
        # To be rounded, a step has to be of one or more.
        too_small = feature.kind == WHOLE and deviation[columns[0]] < 1.0
        drawn[columns] = feature.kind == CATEGORY or (too_small and deviation[columns].any())
    frequency = data.mean(axis=0)
    drawn[list(fixed)] = False
    deviation[[*fixed, *np.flatnonzero(drawn)]] = 0.0
    low, high = np.minimum(data.min(axis=0), x), np.maximum(data.max(axis=0), x)
    place = Neighbourhood(
        features, x, neighbours, deviation, drawn, frequency, low, high, scale, metric
    )
    pilot = place.draw(_PILOT, np.random.default_rng(seed)).X
    if not np.ptp(pilot, axis=0).any():
        raise DataError(
            f"nothing varies around x: its {n_neighbors} nearest rows of data are like it; give"
            " more n_neighbors, or a variance"
        )
    if bandwidth is None:
        bandwidth = _bandwidth(place.distances(pilot))
    return replace(place, bandwidth=bandwidth)


def check_inside(features: Features, x: Array, data: Array, metric: Any) -> None:
    """DataError where x is farther from its nearest row of the data than any row that is looked at
    is from its own.

    That is a rank test: of a row that comes from where the data comes from it is true once in as
    many times as rows are looked at.
    """
    scale = _scale(features, data)
    rng = np.random.default_rng(0)
    rows = _distinct(data / scale, rng)
    some = rows[rng.permutation(len(rows))[:_LOOKED_AT]]
    apart = _nearest_distances(some, rows, metric)
    own = float(_distances(x / scale, rows, metric).min())
    if len(rows) > 2 and own > float(apart.max()):
        raise DataError(
            f"x is outside of the data: {own:.3g} standard deviations from the nearest row, and no"
            f" row of data is farther than {apart.max():.3g} from its own nearest"
            f"{_farthest(features, x)}; what fn says there rests on no data: give extrapolate=True"
            " to explain it all the same"
        )


def _distinct(rows: Array, rng: np.random.Generator) -> Array:
    """Each row once. Rows that differ have different sums with random weights, and to sort numbers
    takes a fraction of what it takes to sort rows."""
    sums = (rows * rng.standard_normal(rows.shape[1])).sum(axis=1)
    return rows[np.unique(sums, return_index=True)[1]]


def _farthest(features: Features, x: Array) -> str:
    """The number that is farthest out of its range, in words; "" where none is out."""
    numbers = [f for f in features.features if f.kind in (NUMBER, WHOLE) and f.high > f.low]

    def beyond(feature: Feature) -> float:
        value = float(x[feature.columns[0]])
        return max(value - feature.high, feature.low - value) / (feature.high - feature.low)

    worst = max(numbers, key=beyond, default=None)
    if worst is None or beyond(worst) <= 0.0:
        return ""
    value = float(x[worst.columns[0]])
    return f" ({worst.name} is {value:.4g}, in data {worst.low:.4g} to {worst.high:.4g})"


def _scale(features: Features, data: Array) -> Array:
    scale = np.ones(data.shape[1])
    for feature in features.features:
        columns = list(feature.columns)
        variance = float(data[:, columns].var(axis=0).sum())
        scale[columns] = np.sqrt(variance) if variance > 0.0 else 1.0
    return scale


def _nearest(x: Array, rows: Array, count: int, metric: Any) -> Array:
    """Numbers of the nearest rows, the nearest first."""
    return np.asarray(_neighbours(x[None], rows, count, metric)[1][0])


def _nearest_distances(some: Array, rows: Array, metric: Any) -> Array:
    """Of some of the rows to the nearest other one [n_some]."""
    return np.asarray(_neighbours(some, rows, min(2, len(rows)), metric)[0][:, -1])


def _neighbours(some: Array, rows: Array, count: int, metric: Any) -> tuple[Array, Array]:
    """Distances and numbers of the rows that are nearest to some [n_some, count]."""
    from sklearn.neighbors import NearestNeighbors

    try:
        # One question: a tree would take longer to build.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that rows become truth values, of some metrics
            found = NearestNeighbors(n_neighbors=count, metric=metric, algorithm="brute").fit(rows)
            distances, numbers = found.kneighbors(some)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"metric={metric!r} is none that scikit-learn can measure these rows by:"
            f" {described(error)}"
        ) from None
    return distances, numbers


def _distances(x: Array, rows: Array, metric: Any) -> Array:
    """Of each row to x [n_rows]."""
    from sklearn.metrics import pairwise_distances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rows become truth values, where a metric is of those
        return np.asarray(pairwise_distances(rows, x[None], metric=metric)[:, 0])


def _bandwidth(distances: Array) -> float:
    """Of the kernel that leaves this share of the sample size, by bisection: the share rises with
    the bandwidth. It is told of points that differ from x; where some do not, it is no smaller than
    the distance of the nearest others, which would weigh nothing beside them."""
    other = distances[distances > _SAME * distances.max()]
    low, high = (factor * float(other.max()) for factor in (1e-4, 1e4))
    if len(other) < len(distances):
        low = float(other.min())
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        weights = np.exp(-np.square(other / middle))
        if effective_sample_size(weights) < SHARE * len(other):
            low = middle
        else:
            high = middle
    return high
