"""Local fidelity: how near predictions are to the black box around x, by the measures of SLIME."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from symcompile.explanation.link import EPSILON, Link
from symcompile.expressions.evaluation import Array

# Each measure in words, with whether more of it is better.
MEASURES = {
    "kl_at_x": ("KL at x", False),
    "cross_entropy": ("cross-entropy", False),
    "mse": ("MSE", False),
    "agreement": ("agreement", True),
    "r2": ("R2", True),
    "mae": ("MAE", False),
}


def measured(
    link: Link, truth: Array, prediction: Array, weights: Array, at_x: tuple[Array, Array]
) -> dict[str, float]:
    """Measures of a surrogate, weighed by the kernel.

    Args:
        truth, prediction: outputs, or probabilities of classes [n_points, n_outputs].
        weights: of the points [n_points].
        at_x: both at x, [n_outputs] each.

    Returns:
        Of probabilities, made such where they are not: "kl_at_x", the Kullback-Leibler divergence
        from fn's at x, in nats; "cross_entropy", in nats; "mse", the mean over classes; and
        "agreement", the share of points with the same most probable class. Of values "r2", "mae"
        and "mse", in the units of the output, means over outputs; R2 about the weighted mean.
    """
    if not np.isfinite(prediction).all():
        names = (
            ("kl_at_x", "cross_entropy", "mse", "agreement")
            if link.is_odds
            else ("r2", "mae", "mse")
        )
        return {name: float("nan") for name in names}
    if link.is_odds:
        P, Q = _probabilities(truth), _probabilities(prediction)
        p, q = (_probabilities(values[None])[0] for values in at_x)
        same = P.argmax(axis=1) == Q.argmax(axis=1)
        return {
            "kl_at_x": float((xlogy(p, p) - p * np.log(q)).sum()),
            "cross_entropy": float(np.average(-(P * np.log(Q)).sum(axis=1), weights=weights)),
            "mse": float(np.average(np.square(P - Q).mean(axis=1), weights=weights)),
            "agreement": float(np.average(same, weights=weights)),
        }
    error = prediction - truth
    mse = np.average(np.square(error), axis=0, weights=weights)
    spread = np.average(
        np.square(truth - np.average(truth, axis=0, weights=weights)), axis=0, weights=weights
    )
    with np.errstate(all="ignore"):
        r2 = np.where(spread > 0.0, 1.0 - mse / spread, np.where(mse > 0.0, -np.inf, 1.0))
    return {
        "r2": float(r2.mean()),
        "mae": float(np.average(np.abs(error), axis=0, weights=weights).mean()),
        "mse": float(mse.mean()),
    }


def _probabilities(values: Array) -> Array:
    """Values [n_points, n_classes] as probabilities: none is 0, and they add up to one."""
    P = np.clip(values, EPSILON, None)
    return np.asarray(P / P.sum(axis=1, keepdims=True))
