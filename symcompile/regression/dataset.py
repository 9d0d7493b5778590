"""Samples of one output, and the loss by which equations are fitted to them and judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, evaluate, jacobian
from symcompile.regression.folds import SMALL
from symcompile.regression.losses import SQUARED, Loss

# What others leave of a row that decides alone on a constant; directions that are but rounding.
_ALONE, _ROUNDING = 1e-9, 1e-10


@dataclass(frozen=True)
class Dataset:
    """What equations are fitted to, and what they are judged by.

    X [n_samples, n_inputs], y [n_samples]; weights [n_samples] or None for equal ones. With `folds`
    [n_samples] equations are judged on each fold by constants fitted to the others.
    """

    X: Array
    y: Array
    weights: Array | None = None
    loss: Loss = SQUARED
    folds: Array | None = None

    @property
    def centre(self) -> float:
        """What a constant says best: the mean, or under a robust loss the median."""
        if self.loss.is_squared:
            return float(np.average(self.y, weights=self.weights))
        return float(np.median(self.y))

    @property
    def constant_loss(self) -> float:
        """Loss of the best constant."""
        return self.loss.mean(self.y - self.centre, self.weights)

    @property
    def variance(self) -> float:
        """Mean squared deviation from the mean."""
        return SQUARED.mean(self.y - np.average(self.y, weights=self.weights), self.weights)

    @property
    def count(self) -> int:
        """Samples that say anything."""
        return len(self.y) if self.weights is None else int((self.weights > 0).sum())

    @property
    def is_small(self) -> bool:
        """Whether equations are judged by leaving out each of few rows in turn."""
        return self.folds is not None and 0 < self.count < SMALL

    @property
    def search_weights(self) -> Array | None:
        """For searches, which know weights but no other loss than the squared one: those of the
        loss, before anything is known but the median. None for equal ones."""
        if self.loss.is_squared:
            return self.weights
        robust = self.loss.weights(self.y - np.median(self.y))
        return robust if self.weights is None else robust * self.weights

    def rows(self, which: slice | Array) -> Dataset:
        """Some of the samples, judged as they are."""
        weights = None if self.weights is None else self.weights[which]
        return Dataset(self.X[which], self.y[which], weights, self.loss)

    def residual(self, equation: Equation) -> Array:
        """Error of an equation on each sample."""
        value = evaluate(equation.program, self.X, equation.constants)[:, 0]
        with np.errstate(all="ignore"):
            residual = np.asarray(value - self.y)
            if self.folds is None:
                return residual
            return residual + self.fold_shift(equation)

    def fold_shift(self, equation: Equation) -> Array:
        """What leaving out the fold of each row [n_samples] adds to the equation's error there.

        The constants without a fold follow from the derivatives by them, to first order: the error
        of the rows of a fold, with leverages H among them, grows by (1 - H)^-1. Infinite for rows
        without which a constant is not determined; zero without folds.
        """
        if self.folds is None or not equation.constants:
            return np.zeros(len(self.y))
        with np.errstate(all="ignore"):
            value, J = jacobian(equation.program, self.X, equation.constants)
            residual = value - self.y
            share = self.loss.weights(residual) * (1.0 if self.weights is None else self.weights)
            root = np.sqrt(share)
            scaled = J * root[:, None]
        if not (np.isfinite(scaled).all() and np.isfinite(residual).all()):
            return np.full(len(self.y), np.inf)
        # Orthonormal columns that span those of the derivatives.
        size = np.sqrt(np.square(scaled).sum(axis=0))
        U, s, _ = np.linalg.svd(scaled / np.where(size > 0, size, 1.0), full_matrices=False)
        U = U[:, s > _ROUNDING * max(s[0], 1e-300)]
        rest = residual * root
        rest = rest - U @ (U.T @ rest)  # were the constants fitted
        result = np.zeros(len(self.y))
        for fold in np.unique(self.folds):
            rows = (self.folds == fold) & (root > 0)
            left = np.eye(int(rows.sum())) - U[rows] @ U[rows].T
            if rows.any() and np.linalg.eigvalsh(left)[0] < _ALONE:
                result[rows] = np.inf
            else:
                result[rows] = (np.linalg.solve(left, rest[rows]) - rest[rows]) / root[rows]
        return result

    def loss_of(self, equation: Equation) -> float:
        return self.losses_of(equation)[0]

    def losses_of(self, equation: Equation) -> tuple[float, float]:
        """The mean loss of an equation, and its mean squared error."""
        residual = self.residual(equation)
        with np.errstate(all="ignore"):
            loss = self.loss.mean(residual, self.weights)
            if self.loss.is_squared:
                return loss, loss
            return loss, SQUARED.mean(residual, self.weights)
