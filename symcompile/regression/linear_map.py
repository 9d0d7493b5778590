"""The linear map: what least squares make of the inputs alone, which no choice may fall behind.

Whoever reads that an equation is worse than a linear map has been given no law. The report compares
both on samples that nobody has fitted to (`fidelity.controls`); here it is asked before anything is
chosen, so that the choice goes to an equation that does better if the front holds one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.choice import ROUNDING
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import linear


@dataclass(frozen=True)
class LinearMap:
    """A linear map of the inputs plus a constant, fitted to samples and judged by others.

    Attributes:
        judged: the samples that it is judged by.
        residual: its error on each of them [n_samples].
    """

    judged: Dataset
    residual: Array

    @classmethod
    def of(cls, fit: Dataset, judged: Dataset) -> LinearMap:
        """By least squares; where no samples are held out, each fold by the other ones."""
        A, B = _columns(fit), _columns(judged)
        if judged.folds is None:
            return cls(judged, B @ linear(A, fit.y, fit.search_weights, True) - judged.y)
        residual, weights = np.zeros(len(judged.y)), judged.search_weights
        for fold in np.unique(judged.folds):
            rows = judged.folds == fold
            others = None if weights is None else weights[~rows]
            coefficients = linear(B[~rows], judged.y[~rows], others, True)
            residual[rows] = B[rows] @ coefficients - judged.y[rows]
        return cls(judged, residual)

    def not_better_than(self, equations: Sequence[Equation]) -> list[int]:
        """Numbers of the equations whose errors are not larger, but for what is chance: of two that
        say the same, one in two would be worse."""
        return [k for k, equation in enumerate(equations) if not self._is_better_than(equation)]

    def _is_better_than(self, equation: Equation) -> bool:
        """By two standard errors of the difference, and more than rounding."""
        loss, weights = self.judged.loss.of, self.judged.weights
        with np.errstate(all="ignore"):
            worse = loss(self.judged.residual(equation)) - loss(self.residual)
        if not np.isfinite(worse).all():
            return True
        share = np.ones(len(worse)) if weights is None else weights / weights.sum() * len(worse)
        noise = 2.0 * float((worse * share).std()) / math.sqrt(len(worse))
        return float((worse * share).mean()) > noise + ROUNDING * self.judged.constant_loss


def _columns(data: Dataset) -> Array:
    return np.column_stack([data.X, np.ones(len(data.X))])
