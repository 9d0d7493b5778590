"""Trajectories that models predict from where the true one was, and how long they stay near it.

The models give rates of change of the observed x; a rollout steps x by forward Euler with the time
step of the data, in float64, so that a model without an error would repeat the data to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lorenz_data import DT, Array

# The error is averaged over so many steps: about four and a half Lyapunov times.
HORIZON = 500
# A prediction is valid until its error exceeds this share of the data's standard deviation.
VALID = 0.4
# Largest Lyapunov exponent of the Lorenz system, of the time's inverse.
LYAPUNOV = 0.906
# Beyond so many standard deviations a trajectory has left for good.
LOST = 10.0

Field = Callable[[Array], Array]


@dataclass(frozen=True)
class Rollout:
    """How rollouts of a model compare with the truth.

    Attributes:
        error: median over trajectories of the RMS error over HORIZON, in standard deviations of x.
        valid: median Lyapunov times until the error first exceeds VALID.
        diverged: trajectories that are not finite, or LOST, within STEPS.
        over_time: median error after each step [n_steps].
        path: the first trajectory [n_steps, n_observed].
    """

    error: float
    valid: float
    diverged: int
    over_time: Array
    path: Array


def starts(z: Array, seed: int, n: int) -> Array:
    """States [n, 3] drawn at random from a trajectory: points on the attractor."""
    rows = np.random.default_rng(seed).choice(len(z), n, replace=False)
    return z[np.sort(rows)]


def integrate(field: Field, start: Array, steps: int) -> Array:
    """Forward Euler from start [n, n_dimensions]: [steps, n, n_dimensions], the start first."""
    path = np.empty((steps, *start.shape))
    path[0] = start
    with np.errstate(all="ignore"):
        for step in range(1, steps):
            path[step] = path[step - 1] + DT * field(path[step - 1])
    return path


def roll_out(field: Field, true: Array, size: float) -> Rollout:
    """Compare the field's rollouts with the true ones [n_steps, n, n_observed].

    Args:
        size: standard deviation of x, as the root of its variance summed over the columns.
    """
    path = integrate(field, true[0], len(true))
    with np.errstate(all="ignore"):
        error = np.linalg.norm(path - true, axis=-1) / size
        lost = ~np.isfinite(error) | (error > LOST)
    error = np.where(np.logical_or.accumulate(lost, axis=0), LOST, error)
    beyond = error > VALID
    first = np.where(beyond.any(axis=0), beyond.argmax(axis=0), len(true))
    mean = np.sqrt(np.mean(error[: min(HORIZON, len(true))] ** 2, axis=0))
    return Rollout(
        float(np.median(mean)),
        float(np.median(first)) * DT * LYAPUNOV,
        int(lost.any(axis=0).sum()),
        np.median(error, axis=1),
        path[:, 0],
    )
