"""Surrogate: a smooth stand-in for a function that is known by its samples only.

Polynomials (Chebyshev's, orthogonal enough for least squares) in the inputs. Their error on a
sample is known without a second fit: residual over one minus leverage is what a fit to all others
would have left there (leave-one-out, Allen 1974). So two ways to write one function, say over
`(m, v, c)` and over `(m, v/c)`, can be compared by samples alone: with as many terms the one that
the function really is of leaves less.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy.linalg import solve_triangular

from symcompile.expressions.evaluation import Array

# A direction has at most so many degrees.
_DEGREES = 16
# A sample that determines the fit alone says nothing: 1 - leverage is at least this.
_ALONE = 1e-3
# What rounding leaves of a sum of squares that should be none, as a share, at most.
_ROUNDING = 1e-10
# Directions in turn get so many times the degrees, as long as that lowers the error by a share.
_FINER, _GAIN, _FINEST = 1.6, 0.2, 8.0
# Shares of the terms at which the fit may end: noise is traced by what is more than it takes.
_ENDS = (0.08, 0.16, 0.3, 0.45, 0.65, 0.82, 1.0)


@dataclass(frozen=True, eq=False)
class Column:
    """One input of a surrogate.

    Attributes:
        values: on each sample [n_samples].
        resolution: how many degrees it gets, beside others.
        logarithmic: whether polynomials are those of its logarithm.
    """

    values: Array
    resolution: float = 1.0
    logarithmic: bool = False

    @cached_property
    def is_positive(self) -> bool:
        return bool(self.values.min() > 0)

    @cached_property
    def has_sign(self) -> bool:
        """Whether it is above zero on all samples, or below."""
        return self.is_positive or bool(self.values.max() < 0)

    @cached_property
    def span(self) -> float:
        """How many times its least size the largest is."""
        sizes = np.abs(self.values)
        return float(sizes.max() / max(sizes.min(), 1e-300))

    @cached_property
    def chebyshev(self) -> Array:
        """Polynomials of degree 0, 1, ... [n_samples, 1 + degrees] over the range of values."""
        x = np.log(self.values) if self.logarithmic else self.values
        low, high = float(x.min()), float(x.max())
        u = (2.0 * x - low - high) / (high - low) if high > low else np.zeros_like(x)
        rows = [np.ones_like(u), u]
        while len(rows) <= _DEGREES:
            rows.append(2.0 * u * rows[-1] - rows[-2])
        return np.stack(rows, axis=1)

    @cached_property
    def elasticities(self) -> Array:
        """x times the derivatives of these by x [n_samples, 1 + degrees]."""
        x = np.log(self.values) if self.logarithmic else self.values
        low, high = float(x.min()), float(x.max())
        scale = 2.0 / (high - low) if high > low else 0.0
        u = scale * (x - low) - 1.0
        T, rows = self.chebyshev, [np.zeros_like(x), np.ones_like(x)]
        for k in range(2, T.shape[1]):
            rows.append(2.0 * T[:, k - 1] + 2.0 * u * rows[-1] - rows[-2])
        slopes = np.stack(rows, axis=1) * scale
        return slopes if self.logarithmic else slopes * self.values[:, None]

    def like(self, values: Array, *others: Column) -> Column:
        """A column that takes the place of this and others: as fine as the finest of them."""
        resolution = max(column.resolution for column in (self, *others))
        wide = bool(values.min() > 0) and values.max() > 4.0 * values.min()
        return Column(values, resolution, wide and self.logarithmic)


@lru_cache(maxsize=1024)
def _indices(resolutions: tuple[float, ...], terms: int) -> Array:
    """Exponents [terms, n_columns] of the products with the lowest degrees, each degree weighed by
    the resolution of its column; in ascending order."""
    first = (0,) * len(resolutions)
    heap, seen = [(0.0, first)], {first}
    chosen: list[tuple[int, ...]] = []
    while heap and len(chosen) < terms:
        degree, index = heapq.heappop(heap)
        chosen.append(index)
        for k, resolution in enumerate(resolutions):
            following = (*index[:k], index[k] + 1, *index[k + 1 :])
            if index[k] < _DEGREES and following not in seen:
                seen.add(following)
                heapq.heappush(heap, (degree + 1.0 / resolution, following))
    return np.array(chosen)


def basis(columns: Sequence[Column], terms: int) -> Array:
    """Products of polynomials [n_samples, terms] of lowest degree, the constant first."""
    return _products(columns, [column.chebyshev for column in columns], terms)


def _products(columns: Sequence[Column], factors: Sequence[Array], terms: int) -> Array:
    indices = _indices(tuple(column.resolution for column in columns), terms)
    result = factors[0][:, indices[:, 0]]
    for k, factor in enumerate(factors[1:], 1):
        result *= factor[:, indices[:, k]]
    return result


def elasticities(columns: Sequence[Column], y: Array, weight: Array, terms: int) -> Array:
    """What the surrogate changes by where a column grows by a share: x * dy/dx for each column
    [n_samples, n_columns]."""
    A = basis(columns, terms) * weight[:, None]
    coefficients = np.linalg.lstsq(A, y * weight, rcond=None)[0]
    changes = []
    for k, column in enumerate(columns):
        factors = [c.chebyshev for c in columns]
        factors[k] = column.elasticities
        changes.append(_products(columns, factors, terms) @ coefficients)
    return np.stack(changes, axis=1)


def orthonormal(A: Array) -> Array:
    """Orthonormal columns of which the first k span what the first k of A [n_samples, n] do.

    By Cholesky's factor of A^T A, in a third of the time of Householder's reflections. Half of the
    digits are lost, of which a surrogate has few. Where columns consist of others, as the powers of
    dx, dy and r = sqrt(dx**2 + dy**2) do, nothing is left of them but their rounding: the diagonal
    is raised by more than that, and they come out as next to nothing.
    """
    squares = A.T @ A
    for raised in (0.0, _ROUNDING):
        squares[np.diag_indices_from(squares)] *= 1.0 + raised
        try:
            low = np.linalg.cholesky(squares)
        except np.linalg.LinAlgError:
            continue
        return np.asarray(solve_triangular(low, A.T, lower=True, check_finite=False).T)
    return np.asarray(np.linalg.qr(A)[0])


def left_out(columns: Sequence[Column], y: Array, weight: Array, terms: int) -> Array:
    """Error of each sample [n_samples], times its weight, by a fit to all others.

    Of fits with fewer and more of the terms it is that with the least error.
    """
    B = basis(columns, terms) if columns else np.ones((len(y), 1))
    Q = orthonormal(B * weight[:, None])
    residual, share, best, low = y * weight, np.zeros(len(y)), None, np.inf
    start = 0
    for end in sorted({max(1, round(part * B.shape[1])) for part in _ENDS}):
        new = Q[:, start:end]
        residual = residual - new @ (new.T @ residual)
        share, start = share + np.square(new).sum(axis=1), end
        errors = residual / np.maximum(1.0 - share, _ALONE)
        if best is None or errors @ errors < low:
            best, low = errors, float(errors @ errors)
    assert best is not None
    return best


def error(errors: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(errors * errors)))


def fitting(
    columns: Sequence[Column],
    y: Array,
    weight: Array,
    terms: int,
    deadline: float = math.inf,
) -> list[Column]:
    """The columns with the resolutions, and in the coordinates, in which the surrogate errs least,
    of those that are tried by the deadline: a wave needs more degrees than a slope, a decay over
    decades is smooth in the logarithm."""
    best = list(columns)
    low = error(left_out(best, y, weight, terms))
    improves = True
    while improves:
        improves = False
        for k in range(len(best)):
            for other in _others(best[k]):
                if time.monotonic() >= deadline:
                    return best
                trial = [*best[:k], other, *best[k + 1 :]]
                found = error(left_out(trial, y, weight, terms))
                if found < low * (1.0 - _GAIN):
                    best, low, improves = trial, found, True
    return best


def _others(column: Column) -> list[Column]:
    finer = replace(column, resolution=column.resolution * _FINER)
    trials = [finer] if finer.resolution <= _FINEST else []
    if column.is_positive:
        trials.append(replace(column, logarithmic=not column.logarithmic))
    return trials
