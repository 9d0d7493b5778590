"""How well predictions agree with what a neural block gave: R2, relative L2, largest error.

Everything is float64 and measured on samples that the caller has held out.
"""

from __future__ import annotations

import math

import numpy as np

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.outcome import Agreement

# A spread below this share of the values' size is rounding: the values do not vary.
ROUNDING = 1e-12


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
