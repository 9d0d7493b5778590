"""Links: what equations are of, and how outputs follow from it.

Values are their own equations. Probabilities of classes would leave [0, 1], so that equations are
of log-odds: of a class against another one, which is the reference, log(p / p_reference). The
probabilities that follow are those of multinomial logistic regression: between 0 and 1, in sum 1.
Each class is fitted against the reference on its own, each row by what both have of its probability
(Begg and Gray 1984, Biometrika 71, 11).

What counts is the deviance, twice the Kullback-Leibler divergence of the equation's probabilities
from the black box's. Searches know squared errors only: near log-odds that are known to be about
right, they are given the parabola that has the deviance's value and slope there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import sympy
from scipy.special import expit, logit, xlogy

from symcompile.errors import DataError
from symcompile.expressions.evaluation import Array
from symcompile.regression.losses import SQUARED, Loss

# Probabilities nearer to 0 or 1 are told apart by nobody; their logarithms would be.
EPSILON = 1e-6
# Rows whose probabilities add up to one but for so much are probabilities.
_SUM = 1e-4
# A difference below this share of a probability's variance, and a deviance of rounding.
_SMALL, _ROUNDING = 1e-4, 1e-12


@dataclass(frozen=True)
class Part:
    """What one equation is of.

    Attributes:
        y: values, or probabilities of the class where it is this or the reference [n_samples].
        share: by which rows count [n_samples].
        is_odds: whether the equation is of log-odds.
    """

    y: Array
    share: Array
    is_odds: bool

    def working(self, eta: Array) -> tuple[Array, Array]:
        """Targets and weights [n_samples] of a parabola with the value and the slope that the
        deviance has at eta; of values these, and 1."""
        if not self.is_odds:
            return self.y, np.ones(len(self.y))
        q, half = expit(eta), self.deviance(eta) / 2.0
        slope, curvature = q - self.y, np.maximum(q * (1.0 - q), 1e-12)
        # Where the deviance is rounding, its parabola is that of the black box's own probability.
        near = (np.abs(slope) < _SMALL * curvature) | (half < _ROUNDING)
        with np.errstate(all="ignore"):
            weights = np.where(near, curvature, slope * slope / (2.0 * half))
            steps = np.where(near, slope / curvature, 2.0 * half / slope)
        return eta - steps, np.maximum(weights, 1e-12)

    def deviance(self, eta: Array) -> Array:
        """Of each row [n_samples]; of values the squared error."""
        if not self.is_odds:
            return np.asarray(np.square(eta - self.y))
        return _deviance(self.y, eta)

    def start(self, weights: Array) -> float:
        """The constant that is nearest."""
        mean = float(np.average(self.y, weights=weights * self.share))
        return float(logit(np.clip(mean, EPSILON, 1.0 - EPSILON))) if self.is_odds else mean

    @property
    def target(self) -> Array:
        """What an exact equation would give [n_samples]."""
        return _log_odds(self.y) if self.is_odds else self.y

    @property
    def loss(self) -> Loss:
        """For fits of constants to `target`, of all rows in their order."""
        return _Deviance("deviance", y=self.y) if self.is_odds else SQUARED


@dataclass(frozen=True, eq=False)
class _Deviance(Loss):
    """The deviance as a loss of the error in log-odds, for rows in their order.

    The weight of a squared error is the mean of the probability's variance between both log-odds:
    with it, the gradient is that of the deviance.
    """

    y: Array = field(default_factory=lambda: np.zeros(0))

    def of(self, residual: Array) -> Array:
        return _deviance(self.y, _log_odds(self.y) + residual)

    def weights(self, residual: Array) -> Array:
        target = _log_odds(self.y)
        slope = expit(target + residual) - expit(target)
        near = np.abs(residual) < 1e-6
        with np.errstate(all="ignore"):
            exact = expit(target) * (1.0 - expit(target))
            return np.asarray(np.where(near, exact, slope / residual))


def _deviance(y: Array, eta: Array) -> Array:
    """Of probabilities y and log-odds eta [n_samples]."""
    with np.errstate(all="ignore"):
        entropy = xlogy(y, y) + xlogy(1.0 - y, 1.0 - y)
        cross = y * np.logaddexp(0.0, -eta) + (1.0 - y) * np.logaddexp(0.0, eta)
        return np.asarray(2.0 * np.maximum(entropy + cross, 0.0))


def _log_odds(y: Array) -> Array:
    return np.asarray(logit(np.clip(y, EPSILON, 1.0 - EPSILON)))


@dataclass(frozen=True)
class Link:
    """How outputs follow from what equations are of.

    Attributes:
        outputs: numbers of the outputs that are explained.
        names: what all outputs are called.
        reference: the class that others are told against, or None for values; REST for all that
            are not explained.
        flat: whether the black box gives one number for a row, and not a list of one.
    """

    outputs: tuple[int, ...]
    names: tuple[str, ...]
    reference: int | None = None
    flat: bool = False

    @property
    def is_odds(self) -> bool:
        return self.reference is not None

    @property
    def classes(self) -> tuple[int, ...]:
        """Those of which probabilities are told, REST among them where that is a class."""
        return (*self.outputs, REST) if self.reference == REST else self.outputs

    @property
    def told(self) -> tuple[int, ...]:
        """Those that have an equation."""
        return tuple(k for k in self.classes if k != self.reference)

    def name(self, output: int) -> str:
        return "any other" if output == REST else self.names[output]

    def said(self, output: int) -> str:
        """What the black box says: a value by its name, of a class its probability."""
        return f"p[{self.name(output)}]" if self.is_odds else self.name(output)

    def title(self, output: int) -> str:
        """What the equation of an output is of."""
        if self.reference is None:
            return self.said(output)
        return f"log({self.said(output)} / {self.said(self.reference)})"

    def parts(self, Y: Array) -> list[Part]:
        """What equations are fitted to, of outputs Y [n_samples, n_outputs] of the black box."""
        every = np.ones(len(Y))
        if self.reference is None:
            return [Part(Y[:, k], every, is_odds=False) for k in self.told]
        P = dict(zip(self.classes, self.chosen(Y).T, strict=True))
        parts = []
        for k in self.told:
            both = np.maximum(P[k] + P[self.reference], 1e-12)
            parts.append(Part(P[k] / both, both, is_odds=True))
        return parts

    def chosen(self, Y: Array) -> Array:
        """The outputs that are explained, or the probabilities of all classes that are told
        [n_samples, n_classes], of all outputs."""
        if not self.is_odds:
            return Y[:, list(self.outputs)]
        P = np.clip(Y, 0.0, 1.0)
        if len(self.names) > 1:
            P = P / np.maximum(P.sum(axis=1, keepdims=True), EPSILON)
        own = P[:, list(self.outputs)]
        if self.reference == REST:
            own = np.column_stack([own, np.maximum(1.0 - own.sum(axis=1), 0.0)])
        return own

    def inverse(self, etas: Sequence[Array]) -> Array:
        """Outputs or probabilities, as `chosen` gives them, of the values [n_samples] of each
        equation."""
        told = dict(zip(self.told, etas, strict=True))
        if self.reference is None:
            return np.column_stack([told[k] for k in self.classes])
        zero = np.zeros_like(next(iter(told.values())))
        G = np.column_stack([told.get(k, zero) for k in self.classes])
        G = G - G.max(axis=1, keepdims=True)
        odds = np.exp(G)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def outputs_of(self, chosen: Array) -> Array:
        """Without the class that is all others [n_samples, n_outputs], of what `chosen` gives."""
        return chosen[:, : len(self.outputs)]

    def answer(self, chosen: Array) -> Array:
        """The same as the black box gives it: [n_samples] where it gives one number for a row."""
        outputs = self.outputs_of(chosen)
        return outputs[:, 0] if self.flat else outputs

    def expressions(self, told: Sequence[sympy.Expr]) -> list[sympy.Expr]:
        """The outputs as closed forms, of those of each equation."""
        if self.reference is None:
            return list(told)
        g = {self.reference: sympy.S.Zero, **dict(zip(self.told, told, strict=True))}
        result = []
        for k in self.outputs:
            others = (sympy.exp(g[j] - g[k]) for j in self.classes if j != k)
            result.append(1 / (1 + sympy.Add(*others)))
        return result


# The number of the class that is all others.
REST = -1


def link_of(
    kind: str,
    Y: Array,
    at_x: Array,
    outputs: tuple[int, ...],
    names: tuple[str, ...],
    *,
    flat: bool = False,
) -> Link:
    """The link of outputs Y [n_samples, n_outputs], of which `at_x` [n_outputs] are those at x.

    Args:
        kind: "identity", "logit", or "auto": "logit" for two and more columns that are
            probabilities on every row, else "identity".
        flat: whether the black box gives one number for a row.
    """
    if kind == "identity" or (kind == "auto" and not are_probabilities(Y)):
        return Link(outputs, names, flat=flat)
    count = len(names)
    inside = Y.min() >= -_SUM and Y.max() <= 1.0 + _SUM
    if not (inside and count == 1) and not are_probabilities(Y):
        raise DataError(
            f"link='logit' is for probabilities, and fn gives {Y.min():.4g} to {Y.max():.4g} in"
            f" {count} columns: expected numbers from 0 to 1 that add up to one, or one column"
        )
    if len(outputs) < count or count == 1:
        return Link(outputs, names, REST, flat)
    # Of two, the second one against the first, as in logistic regression; else against what fn
    # says at x, which is what is asked about.
    return Link(outputs, names, 0 if count == 2 else int(at_x.argmax()), flat)


def are_probabilities(Y: Array) -> bool:
    """Whether outputs [n_samples, n_outputs] are two or more that add up to one."""
    inside = Y.min() >= -_SUM and Y.max() <= 1.0 + _SUM
    return Y.shape[1] > 1 and bool(inside and np.abs(Y.sum(axis=1) - 1.0).max() <= _SUM)
