"""How well predictions agree with a neural block, and the controls every equation has to meet.

Everything is float64 and measured on samples that the caller has held out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.outcome import Agreement
from symcompile.fidelity.ridge import ROUNDING, LinearMap, mean_map, ridge

__all__ = ["ROUNDING", "Controls", "LinearMap", "agreement", "controls", "relative_l2"]


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
    mean = mean_map(X.shape[1], np.average(Y, axis=0, weights=weights))
    return Controls(mean, ridge(X, Y, weights))


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
