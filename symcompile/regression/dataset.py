"""Samples of one output, and the loss by which equations are fitted to them and judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, evaluate
from symcompile.regression.folds import SMALL, moves
from symcompile.regression.least_squares import ConstantFit, fit_constants
from symcompile.regression.losses import SQUARED, Loss


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

    def rows(self, which: slice) -> Dataset:
        """Some of the samples, judged as they are."""
        weights = None if self.weights is None else self.weights[which]
        return Dataset(self.X[which], self.y[which], weights, self.loss)

    def fit_constants(
        self, equation: Equation, max_iterations: int = 30, deadline: float = math.inf
    ) -> ConstantFit:
        """Fit all constants of an equation, beginning with those that it has."""
        return fit_constants(
            equation.program,
            self.X,
            self.y,
            self.weights,
            equation.constants,
            max_iterations,
            loss=self.loss,
            deadline=deadline,
        )

    def residual(self, equation: Equation) -> Array:
        """Error of an equation on each sample."""
        value = evaluate(equation.program, self.X, equation.constants)[:, 0]
        with np.errstate(all="ignore"):
            residual = np.asarray(value - self.y)
            if self.folds is None:
                return residual
            return residual + moves(equation, self.X, self.y, self.folds, self.weights, self.loss)

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
