"""The controls that every equation has to meet: the mean output, and the best honest linear map.

That map is a ridge regression, chosen by leaving rows out. What a ridge takes for a small
coefficient depends on how the inputs are scaled, and no scaling is right for all: inputs of
different units have to be standardised, but an input that is active in a few rows only is blown up
by that, and its coefficient then rests on those rows. So several scalings compete with all
strengths, for each output on its own, and so does the mean output.

They are compared by the error that each row has when it is left out of the fit, which follows from
the row's leverage without a second fit (Allen 1974, https://doi.org/10.1080/00401706.1974.10489157).
Generalised cross-validation, which puts the mean leverage in its place, is blind to rows that alone
decide on a coefficient: with rarely active inputs it chooses maps that are worse than the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.metrics import ROUNDING

# Strengths that are tried, relative to the largest eigenvalue; the first gives the mean output.
STRENGTHS = np.concatenate([[np.inf], np.logspace(2, -12, 15)])
# A row with less than this share of itself left by all others decides alone: without it nothing
# but the mean is known.
_ALONE = 1e-9
# Gains below this share of an error are rounding.
_TIE = 1e-6
# An input is rarely active if its variation comes from fewer than this share of the rows. It is
# 0.33 for normal values, 0.56 for uniform ones.
_RARE = 0.05
# From so many rows on they tell how large a rarely active input is.
_ROWS_OF_A_SIZE = 5
_NARROW = 256
# Work (rows * inputs * rank) up to which all scalings are tried on all rows, and else on so many;
# work (rows * rank * outputs) up to which all rows are left out in turn, and else so many at least.
_AFFORDABLE, _SCALING_ROWS, _JUDGING, _JUDGED = 2e9, 1000, 5e8, 200


@dataclass(frozen=True, eq=False)
class LinearMap:
    """`X @ weight.T + bias`: weight [n_outputs, n_inputs], bias [n_outputs]."""

    weight: Array
    bias: Array

    def predict(self, X: Array) -> Array:
        """Outputs [n_samples, n_outputs] for raw inputs X [n_samples, n_inputs]."""
        return np.asarray(np.asarray(X, dtype=np.float64) @ self.weight.T + self.bias)


class Controls(NamedTuple):
    """What an equation has to beat: the mean output (a map of weight zero), and a linear map."""

    mean: LinearMap
    linear: LinearMap


def controls(X: Array, Y: Array, weights: Array | None = None) -> Controls:
    """Both controls of a block, fitted to the samples that equations are fitted to.

    Args:
        X, Y: raw inputs [n_samples, n_inputs] and outputs [n_samples, n_outputs].
        weights: weight of each sample's squared error [n_samples], or None.

    Raises:
        DataError: X and Y do not fit together, or no sample is finite.
    """
    X, Y = (np.asarray(a, dtype=np.float64) for a in (X, Y))
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise DataError(
            f"X has shape {list(X.shape)}, Y {list(Y.shape)}:"
            " expected [n_samples, n_inputs] and [n_samples, n_outputs]"
        )
    w = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(X),):
        raise DataError(f"weights has shape {list(w.shape)}: expected [{len(X)}]")
    keep = np.isfinite(X).all(axis=1) & np.isfinite(Y).all(axis=1) & (w > 0)
    if not keep.any():
        raise DataError(f"none of {len(X)} samples is finite and has a weight above 0")
    X, Y, w = X[keep], Y[keep], w[keep] / w[keep].mean()
    mean = LinearMap(np.zeros((Y.shape[1], X.shape[1])), np.average(Y, axis=0, weights=w))
    return Controls(mean, _ridge(X, Y, w))


def _ridge(X: Array, Y: Array, weights: Array) -> LinearMap:
    """The map for finite rows; inputs that do not vary get weight zero, collinear inputs share."""
    root = np.sqrt(weights)[:, None]
    x_mean, y_mean = (np.average(A, axis=0, weights=weights) for A in (X, Y))
    # In units of the largest values, so that squares do not overflow or vanish.
    unit, y_unit = (np.where(A.any(axis=0), np.abs(A).max(axis=0), 1.0) for A in (X, Y - y_mean))
    Z, targets = root * ((X - x_mean) / unit), root * ((Y - y_mean) / y_unit)
    if len(X) < 2 or not (np.sqrt(np.mean(Z**2, axis=0)) > ROUNDING).any():
        return LinearMap(np.zeros((Y.shape[1], X.shape[1])), y_mean)
    coefficients = _best(Z, targets, root[:, 0], _affordable(Z, targets, root[:, 0], unit))
    weight = coefficients * y_unit[:, None] / unit
    return LinearMap(weight, y_mean - weight @ x_mean)


def _scalings(Z: Array, unit: Array) -> Iterator[Array]:
    """What each input is divided by, infinite for one that is left out [n_inputs]: its deviation,
    if it is not rarely active; the same for all; its largest deviation; its standard deviation.
    Those come first that let a rarely active input say less.

    Z are the inputs about their means, over `unit`.
    """
    squares = np.mean(Z**2, axis=0)
    deviation = np.sqrt(squares)
    varies = deviation > ROUNDING
    with np.errstate(invalid="ignore", divide="ignore"):
        active = squares**2 / np.mean(Z**4, axis=0)
    often = varies & (active >= _RARE)
    if often.any() and not often[varies].all():
        yield np.where(often, deviation, np.inf)
    yield np.where(varies, (deviation * unit).max() / unit, np.inf)
    # What an input is on one or two rows says nothing of its size on others.
    sized = often | (varies & (active * len(Z) >= _ROWS_OF_A_SIZE))
    if sized.any():
        yield np.where(sized, np.abs(Z).max(axis=0), np.inf)
        yield np.where(sized, deviation, np.inf)


def _affordable(Z: Array, targets: Array, root: Array, unit: Array) -> list[Array]:
    """All scalings, or where a decomposition takes seconds the one that is best for some rows.

    With 4000 samples on one core, all of it takes 2.6 s for 768 inputs and outputs, and 12 s for
    3072 inputs and 768 outputs.
    """
    scalings = list(_scalings(Z, unit))
    if Z.shape[0] * Z.shape[1] * min(Z.shape) <= _AFFORDABLE:
        return scalings
    rows = _thinned(len(Z), _SCALING_ROWS)
    ridges = [_Ridge.of(Z[rows] / scale, targets[rows], root[rows]) for scale in scalings]
    spread = np.square(targets[rows]).sum(axis=0)
    spread[spread == 0] = 1.0
    losses = [float((ridge.losses().min(axis=0) / spread).sum()) for ridge in ridges]
    return [scalings[int(np.argmin(losses))]]


def _best(Z: Array, targets: Array, root: Array, scalings: list[Array]) -> Array:
    """Coefficients [n_outputs, n_inputs] of Z, of each output those that leave the smallest errors
    out of the fit: beginning with the mean, one that is better by more than its standard error."""
    result = np.zeros((targets.shape[1], Z.shape[1]))
    lowest: Array | None = None
    for scaling in scalings:
        ridge = _Ridge.of(Z / scaling, targets, root)
        chosen = ridge.losses().argmin(axis=0)
        if lowest is None:
            lowest = np.square(ridge.errors(np.zeros_like(chosen)))
        squares = np.square(ridge.errors(chosen))
        gain = lowest - squares
        noise = gain.std(axis=0) / np.sqrt(len(gain)) + _TIE * lowest.mean(axis=0)
        better = gain.mean(axis=0) > noise
        result[better] = ridge.coefficients(chosen)[better] / scaling
        lowest[:, better] = squares[:, better]
    return result


@dataclass(frozen=True, eq=False)
class _Ridge:
    """All strengths at once, in the basis of singular vectors: U [n, rank], s [rank], Vt.

    Attributes:
        projected: targets in that basis [rank, n_outputs].
        rest: what no strength reaches of the targets of the rows that are judged.
        judged: U of the rows that are left out in turn; all of them where that is affordable.
        alone: share of each of them that neither the mean nor any direction takes from it.
        truth: their targets, about the mean.
    """

    s: Array
    Vt: Array
    projected: Array
    judged: Array
    rest: Array
    alone: Array
    truth: Array

    @classmethod
    def of(cls, Z: Array, targets: Array, root: Array) -> _Ridge:
        """Rows of Z and targets are weighed by `root` [n_samples] already, and about the mean."""
        U, s, Vt = _directions(Z)
        projected = U.T @ targets
        most = max(int(_JUDGING / max(min(Z.shape) * targets.shape[1], 1)), _JUDGED)
        rows = _thinned(len(Z), most)
        judged, truth = U[rows], targets[rows]
        mean_takes = np.square(root[rows] / np.linalg.norm(root))
        alone = np.maximum(1.0 - np.square(judged).sum(axis=1) - mean_takes, 0.0)
        return cls(s, Vt, projected, judged, truth - judged @ projected, alone, truth)

    def losses(self) -> Array:
        """Sum of squared errors of rows that are left out [n_strengths, n_outputs]."""
        squares = (np.square(self._errors(strength)) for strength in STRENGTHS)
        return np.array([errors.sum(axis=0) for errors in squares])

    def errors(self, chosen: Array) -> Array:
        """Error of each judged row when it is left out [n_rows, n_outputs], by the number of each
        output's strength."""
        result = np.empty_like(self.truth)
        for index in np.unique(chosen):
            mine = chosen == index
            result[:, mine] = self._errors(STRENGTHS[index], mine)
        return result

    def _errors(self, strength: float, outputs: Any = slice(None)) -> Array:
        """residual / (1 - leverage). Both are sums over directions of what the ridge leaves, so
        that nothing cancels where a leverage is close to one."""
        left, squares = self.left(strength), np.square(self.judged)
        share = self.alone + squares @ left
        residual = self.rest[:, outputs] + self.judged @ (
            left[:, None] * self.projected[:, outputs]
        )
        supported = share > _ALONE
        residual = np.where(supported[:, None], residual, self.truth[:, outputs])
        share = np.where(supported, share, self.alone + squares.sum(axis=1))
        return np.asarray(residual / np.maximum(share, _ALONE)[:, None])

    def left(self, strength: float) -> Array:
        """Share of each direction that the ridge takes away [rank]."""
        if np.isinf(strength):
            return np.ones(len(self.s))
        pull = strength * self.s.max() ** 2
        return np.asarray(pull / (self.s**2 + pull))

    def coefficients(self, chosen: Array) -> Array:
        """Of the scaled inputs [n_outputs, n_inputs], by the number of each output's strength."""
        kept = np.stack([1.0 - self.left(STRENGTHS[index]) for index in chosen], axis=1)
        return np.asarray((self.Vt.T @ (kept / self.s[:, None] * self.projected)).T)


def _thinned(count: int, most: int) -> Array:
    """At most so many of the rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _directions(Z: Array) -> tuple[Array, Array, Array]:
    """Thin singular value decomposition U, s, Vt, without directions that are but rounding.

    Wide inputs go by eigenvectors of the smaller Gram matrix: half of the digits, but less than
    half of the time (4000 samples on one core: 768 inputs 0.3 s, not 0.7 s; 3072 inputs 9 s, not
    25 s).
    """
    if min(Z.shape) <= _NARROW:
        U, s, Vt = np.linalg.svd(Z, full_matrices=False)
        keep = s > ROUNDING * s[0]
        return U[:, keep], s[keep], Vt[keep]
    wide = Z.shape[1] > Z.shape[0]
    squares, vectors = np.linalg.eigh(Z @ Z.T if wide else Z.T @ Z)
    keep = squares > ROUNDING * squares[-1]
    s, vectors = np.sqrt(squares[keep]), vectors[:, keep]
    if wide:
        return vectors, s, (vectors.T @ Z) / s[:, None]
    return (Z @ vectors) / s, s, vectors.T
