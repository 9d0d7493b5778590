"""Inputs just beyond those that were recorded."""

from __future__ import annotations

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import ROUNDING

# How far beyond the recorded range inputs are drawn, as a share of each input's span.
BEYOND = 0.2


def shell(X: Array, n_samples: int, seed: int = 0) -> Array:
    """Inputs just beyond the recorded range [up to n_samples, n_inputs].

    Recorded rows are moved straight away from their mean until at least one input is beyond its
    recorded range, and none by more than 20 % of its span. So inputs keep the relations that are
    linear in the data, and those that never vary keep their value: with correlated inputs, a plain
    sample of the widened box would mostly ask about inputs that can't occur.
    """
    rng = np.random.default_rng(seed)
    low, high, centre = X.min(axis=0), X.max(axis=0), X.mean(axis=0)
    span = high - low
    moves = np.resize(rng.permutation(X), (n_samples, X.shape[1])) - centre
    moves[:, span <= ROUNDING * np.abs(X).max(axis=0)] = 0.0
    moves = moves[np.abs(moves).max(axis=1, initial=0.0) > 0]
    near = _steps_to(moves, low - centre, high - centre)
    far = _steps_to(moves, low - BEYOND * span - centre, high + BEYOND * span - centre)
    depth = 1.0 - 0.999 * rng.random(len(moves))  # never quite at the border
    return np.asarray(centre + (near + depth * (far - near))[:, None] * moves)


def _steps_to(moves: Array, low: Array, high: Array) -> Array:
    """How many times each move can be made before it leaves the box, [n_samples]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(moves > 0, high / moves, low / moves)
    return np.where(moves == 0, np.inf, steps).min(axis=1, initial=np.inf)
