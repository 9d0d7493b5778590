"""Weighted least squares, under the squared or a robust loss: linear ones, and of an equation.

How it is done for all that is fitted here:

- Rank: linear systems are solved by singular values (LAPACK's gelsd). Of coefficients that samples
  can't tell apart the smallest are taken; directions below float64's rounding count for nothing.
  The steps of a descent are damped instead (Marquardt 1963).
- Scaling: `equilibrate` brings columns to unit norm first, for those of unlike units.
- Loss: a robust one is met by weights on squared residuals that follow the residuals (Holland and
  Welsch 1977). It has minima near whatever it starts from, so the start is the caller's to give.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, evaluate, jacobian
from symcompile.expressions.program import Program
from symcompile.regression.dataset import Dataset
from symcompile.regression.losses import Loss


def linear(A: Array, y: Array, weights: Array | None = None, equilibrate: bool = False) -> Array:
    """Coefficients [n_columns] of A [n_samples, n_columns] that come nearest to y [n_samples] in
    weighted squares; zeros where A is not finite."""
    if not np.isfinite(A).all():
        return np.zeros(A.shape[1])
    if weights is not None:
        root = np.sqrt(weights)
        A, y = A * root[:, None], y * root
    scale = np.maximum(np.linalg.norm(A, axis=0), 1e-300) if equilibrate else 1.0
    return np.asarray(np.linalg.lstsq(A / scale, y, rcond=None)[0] / scale)


def robust(
    A: Array,
    y: Array,
    weights: Array,
    losses: Iterable[Loss],
    residual: Array,
    equilibrate: bool = False,
) -> Array:
    """The same under a loss, by one reweighted fit for each of `losses`, of which there is at least
    one. They begin with the weights of a `residual` [n_samples], infinite for samples to leave out.
    """
    for loss in losses:
        coefficients = linear(A, y, weights * loss.weights(residual), equilibrate)
        residual = A @ coefficients - y
    return coefficients


@dataclass(frozen=True)
class ConstantFit:
    """What a fit of the constants of an equation found.

    Attributes:
        constants: best values, float64.
        loss: weighted mean loss; infinite if the start was not finite.
        errors: standard error of each constant under independent residuals; infinite where the
            data does not determine it.
    """

    constants: tuple[float, ...]
    loss: float
    errors: tuple[float, ...]


def fit_constants(
    equation: Equation,
    data: Dataset,
    max_iterations: int = 30,
    rtol: float = 1e-9,
    deadline: float = math.inf,
) -> ConstantFit:
    """Fit every constant of an equation jointly, from those that it has: Levenberg-Marquardt with
    the analytic Jacobian. scipy's solvers do the same but cost milliseconds of set-up a call, and
    refining a front takes a hundred fits.

    Ends after `max_iterations`, when a step lowers the loss by less than `rtol` of it, or at the
    `deadline`, a value of `time.monotonic()`. A robust loss reweights at every step.
    """
    with np.errstate(all="ignore"):
        return _Descent(equation.program, data, deadline).run(
            equation.constants, max_iterations, rtol
        )


@dataclass(frozen=True)
class _Descent:
    program: Program
    data: Dataset
    deadline: float

    def run(self, start: Sequence[float], max_iterations: int, rtol: float) -> ConstantFit:
        constants = np.asarray(start, dtype=float)
        loss = self.loss_at(constants)
        if not len(constants) or not math.isfinite(loss):
            return ConstantFit(tuple(constants.tolist()), loss, (math.inf,) * len(constants))
        damping = 1e-3
        A = np.eye(len(constants))
        for _ in range(max_iterations):
            if time.monotonic() >= self.deadline:
                break
            A, gradient = self.normal_equations(constants)
            if not (np.isfinite(A).all() and np.isfinite(gradient).all()):
                break
            previous = loss
            constants, loss, damping = self.step(constants, loss, A, gradient, damping)
            if previous - loss <= rtol * previous or loss <= 1e-300:
                break
        return ConstantFit(tuple(constants.tolist()), loss, _errors(A, loss, len(self.data.y)))

    def loss_at(self, constants: Array) -> float:
        residual = evaluate(self.program, self.data.X, constants)[:, 0] - self.data.y
        return self.data.loss.mean(residual, self.data.weights)

    def normal_equations(self, constants: Array) -> tuple[Array, Array]:
        """J^T W J and J^T W r; the weights of samples sum to one."""
        y, weights, loss = self.data.y, self.data.weights, self.data.loss
        value, J = jacobian(self.program, self.data.X, constants)
        residual = value - y
        scaled = J / len(y) if weights is None else J * (weights / weights.sum())[:, None]
        if not loss.is_squared:
            scaled = scaled * loss.weights(residual)[:, None]
        return scaled.T @ J, scaled.T @ residual

    def step(
        self, constants: Array, loss: float, A: Array, gradient: Array, damping: float
    ) -> tuple[Array, float, float]:
        """One accepted step, or the old constants if even a small one does not lower the loss."""
        # Units may put forty digits between two constants: by shares of them they are compared.
        size = np.where(constants == 0.0, 1.0, np.abs(constants))
        shares = np.sqrt(np.diag(A)) * size
        scale = np.maximum(shares, 1e-15 * max(float(shares.max()), 1e-150)) / size
        normalised, direction = A / scale[:, None] / scale, -gradient / scale
        if not (np.isfinite(normalised).all() and np.isfinite(direction).all()):
            return constants, loss, damping  # derivatives of 1e200: LAPACK would not converge
        for _ in range(12):
            damped = normalised + damping * np.eye(len(scale))
            trial = constants + _solved(damped, direction) / scale
            trial_loss = self.loss_at(trial)
            if trial_loss < loss:
                return trial, trial_loss, max(damping * 0.1, 1e-12)
            damping *= 10.0
            if damping > 1e8:
                break
        return constants, loss, damping


def _solved(A: Array, b: Array) -> Array:
    """By elimination, a tenth of the time of singular values: what is damped is hardly singular."""
    try:
        return np.asarray(np.linalg.solve(A, b))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(A, b, rcond=None)[0])


def _errors(A: Array, loss: float, n: int) -> tuple[float, ...]:
    """Standard errors sqrt(diag((J^T J)^-1) * sigma^2); infinite for undetermined directions."""
    scale = np.sqrt(np.diag(A))
    normalised = A / scale[:, None] / scale
    if np.isfinite(normalised).all():
        values, vectors = np.linalg.eigh(normalised)
        if values[0] > 1e-14 * values[-1]:
            inverse = (vectors / values) @ vectors.T
            sigma2 = loss / max(n - len(A), 1)
            return tuple((np.sqrt(np.diag(inverse) * sigma2) / scale).tolist())
    return (math.inf,) * len(A)
