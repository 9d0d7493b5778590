"""How well predictions agree with a neural block, and the controls every equation has to meet.

Everything is float64 and measured on samples that the caller has held out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from symcompile.errors import DataError
from symcompile.evaluation import Array
from symcompile.rewrite import Agreement

# A spread below this share of the values' size is rounding: the values do not vary.
ROUNDING = 1e-12
# Ridge strengths that generalised cross-validation tries, relative to the largest eigenvalue.
STRENGTHS = np.logspace(-12, 2, 29)
_NARROW = 256


def agreement(prediction: Array, truth: Array) -> Agreement:
    """Compare predictions with what the neural block gave.

    Args:
        prediction, truth: [n_samples] or [n_samples, n_outputs]; several outputs count together,
            each about its own mean.

    Returns:
        Over no samples, all NaN. Where a prediction is not finite: r2 is -inf, both errors are inf.
        Where truth does not vary, r2 is 1 if the prediction is right to rounding, else NaN. Where
        truth is zero throughout, relative_l2 is 0 if the prediction is zero too, else inf.

    Raises:
        DataError: the shapes differ, or truth is not finite.
    """
    prediction, truth = (np.asarray(a, dtype=np.float64) for a in (prediction, truth))
    if prediction.shape != truth.shape or truth.ndim not in (1, 2):
        raise DataError(
            f"prediction has shape {list(prediction.shape)}, truth {list(truth.shape)}:"
            " expected the same [n_samples] or [n_samples, n_outputs]"
        )
    if not np.isfinite(truth).all():
        raise DataError("the neural block's outputs hold NaN or infinity: nothing to compare with")
    if truth.size == 0:
        return Agreement()
    if not np.isfinite(prediction).all():
        return Agreement(-math.inf, math.inf, math.inf)
    return _finite_agreement(prediction, truth)


def _finite_agreement(prediction: Array, truth: Array) -> Agreement:
    error, size = _norm(prediction - truth), _norm(truth)
    spread = _norm(truth - truth.mean(axis=0))
    if spread > ROUNDING * size:
        # A product becomes infinite where a power raises OverflowError.
        r2 = 1.0 - (error / spread) * (error / spread)
    else:
        r2 = 1.0 if error <= ROUNDING * size else math.nan
    relative = error / size if size > 0 else (math.inf if error > 0 else 0.0)
    return Agreement(r2, relative, float(np.abs(prediction - truth).max()))


def relative_l2(prediction: Array, truth: Array) -> float:
    """|prediction - truth|_2 / |truth|_2 over all entries, by the rules of `agreement`."""
    return agreement(np.ravel(prediction), np.ravel(truth)).relative_l2


def _norm(values: Array) -> float:
    """Euclidean norm of all entries, safe from overflow of their squares."""
    largest = float(np.abs(values).max())
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.square(values / largest).sum()))


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
    X, Y, weights = _usable(X, Y, weights)
    centre = np.average(Y, axis=0, weights=weights)
    mean = LinearMap(np.zeros((Y.shape[1], X.shape[1])), centre)
    return Controls(mean, _ridge(X, Y, weights))


def _usable(X: Array, Y: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """float64, finite rows only, weights with a mean of one."""
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
    return X[keep], Y[keep], w[keep] / w[keep].mean()


def _ridge(X: Array, Y: Array, weights: Array) -> LinearMap:
    """Ridge regression on standardised inputs, in closed form.

    The strength of each output is chosen by generalised cross-validation (Golub, Heath and Wahba
    1979, https://doi.org/10.1080/00401706.1979.10489751), which needs no split and also works for
    fewer samples than inputs. Columns that do not vary get weight zero; collinear columns share.
    """
    root = np.sqrt(weights)[:, None]
    x_mean, y_mean = (np.average(A, axis=0, weights=weights) for A in (X, Y))
    size = np.abs(X).max(axis=0)
    unit = np.where(size > 0, size, 1.0)  # so that squares of huge inputs do not overflow
    Z = root * ((X - x_mean) / unit)
    scale = np.sqrt(np.mean(Z**2, axis=0))
    varies = scale > ROUNDING
    bias_only = LinearMap(np.zeros((Y.shape[1], X.shape[1])), y_mean)
    if not varies.any() or len(X) < 2:
        return bias_only
    U, s, Vt = _directions(Z[:, varies] / scale[varies])
    targets = root * (Y - y_mean)
    shrunk = _by_cross_validation(U, s, targets)
    weight = np.zeros((Y.shape[1], X.shape[1]))
    weight[:, varies] = (Vt.T @ shrunk).T / (scale * unit)[varies]
    return LinearMap(weight, y_mean - weight @ x_mean)


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


def _by_cross_validation(U: Array, s: Array, targets: Array) -> Array:
    """Coefficients [rank, n_outputs] in the basis of right singular vectors.

    The score of a strength is |residual|^2 / (degrees of freedom left)^2. Residual and degrees of
    freedom are both sums over directions of what the ridge takes away, strength / (s^2 + strength),
    plus the directions that no input reaches; one degree of freedom went into the mean.
    """
    projected = U.T @ targets
    beyond = np.square(targets - U @ projected).sum(axis=0)
    unreached = max(len(targets) - 1 - len(s), 0)
    strengths = STRENGTHS * s.max() ** 2
    left = strengths[:, None] / (s**2 + strengths[:, None])  # [n_strengths, rank]
    freedom = left.sum(axis=1) + unreached
    residual = left**2 @ projected**2 + beyond
    chosen = strengths[np.argmin(residual / freedom[:, None] ** 2, axis=0)]
    return np.asarray((s[:, None] / (s[:, None] ** 2 + chosen)) * projected)
