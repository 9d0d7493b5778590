"""Linear laws: what an equation has to beat around x, and falls back on where it does not.

`ridge` is what LIME would find on the same samples: the linear map of all columns that is nearest
to the outputs, the honest one of `fidelity.controls`. Of probabilities the one of their log-odds is
the stronger one, a logistic regression, and is shown as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from symcompile.explanation.features import Features
from symcompile.explanation.link import Link, Part
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import LinearMap, controls

# Rounds in which a logistic regression settles, and the share of its deviance that none saves.
_ROUNDS, _SETTLED = 25, 1e-3
# How often a step that goes too far is halved.
_HALVINGS = 6


@dataclass(frozen=True)
class LinearLaw:
    """Linear maps of the columns, one for each output, or for each log-odds.

    Attributes:
        map: weights [n_equations, n_columns] and biases.
        link: how outputs follow.
        of_odds: whether it is of log-odds, and not of the outputs, or probabilities, themselves.
        spread: standard deviation of each column around x [n_columns].
    """

    features: Features
    map: LinearMap
    link: Link
    of_odds: bool
    spread: Array

    @property
    def titles(self) -> tuple[str, ...]:
        """What each map is of."""
        if self.of_odds:
            return tuple(self.link.title(k) for k in self.link.told)
        return tuple(self.link.name(k) for k in self.link.classes)

    def predict(self, X: Any) -> Array:
        """Outputs [n_rows, n_outputs] of rows as the user's own are; [n_rows] where fn gives one
        number for a row."""
        return self.link.answer(self.chosen(self.features.encode(X, "X")))

    def chosen(self, X: Array) -> Array:
        """Outputs, or probabilities of all classes that are told [n_rows, n_classes], of numbers X
        [n_rows, n_columns]."""
        values = self.map.predict(X)
        return self.link.inverse(list(values.T)) if self.of_odds else values

    def coefficients(self, equation: int = 0) -> dict[str, float]:
        """By column, those that are not zero, the largest in the units of the column first."""
        found = zip(self.features.titles, self.map.weight[equation].tolist(), strict=True)
        return dict(sorted(((n, c) for n, c in found if c), key=lambda pair: -abs(pair[1])))

    def expression(self, equation: int = 0) -> sympy.Expr:
        return linear_expression(self.map, self.features.symbols, equation)


def linear_expression(law: LinearMap, symbols: tuple[str, ...], equation: int = 0) -> sympy.Expr:
    """bias + weights, without columns of weight zero."""
    weights = zip(symbols, law.weight[equation].tolist(), strict=True)
    terms = (sympy.Float(weight) * sympy.Symbol(name) for name, weight in weights if weight)
    return sympy.Add(sympy.Float(float(law.bias[equation])), *terms)


def linear_law(part: Part, X: Array, weights: Array, start: LinearMap | None = None) -> LinearMap:
    """The linear map [1, n_columns] that is nearest to what an equation is of: a ridge regression,
    of log-odds by iterated reweighting, from a map of the same columns or a constant on."""
    weights = weights * part.share
    if not part.is_odds:
        return controls(X, part.y[:, None], weights).linear
    constant = LinearMap(np.zeros((1, X.shape[1])), np.array([part.start(weights)]))
    starts = [constant] if start is None else [start, constant]
    best = min(starts, key=lambda law: _mean_deviance(part, law, X, weights))
    lowest = _mean_deviance(part, best, X, weights)
    for _ in range(_ROUNDS):
        target, curvature = part.working(best.predict(X)[:, 0])
        law = controls(X, target[:, None], weights * curvature).linear
        for _ in range(_HALVINGS):
            deviance = _mean_deviance(part, law, X, weights)
            if deviance < lowest:
                break
            law = LinearMap((law.weight + best.weight) / 2.0, (law.bias + best.bias) / 2.0)
        if deviance >= lowest:
            break
        settled = deviance > (1.0 - _SETTLED) * lowest
        best, lowest = law, deviance
        if settled:
            break
    return best


def _mean_deviance(part: Part, law: LinearMap, X: Array, weights: Array) -> float:
    return float(np.average(part.deviance(law.predict(X)[:, 0]), weights=weights))


def shorter_laws(part: Part, X: Array, weights: Array) -> Iterator[tuple[LinearMap, Array]]:
    """Linear maps of all columns and of fewer and fewer, and the columns of each: the one that
    moves what is told least is left out, of many a tenth, and the others are fitted again."""
    columns = np.arange(X.shape[1])
    law = linear_law(part, X, weights)
    while len(columns):
        yield law, columns
        moves = np.abs(law.weight[0]) * X[:, columns].std(axis=0)
        gone = -(-len(columns) // 10)
        kept = np.sort(np.argsort(-moves, kind="stable")[: len(columns) - gone])
        start = LinearMap(law.weight[:, kept], law.bias)
        columns = columns[kept]
        law = linear_law(part, X[:, columns], weights, start) if len(columns) else law


def joined(laws: list[LinearMap]) -> LinearMap:
    """The maps of several equations as one."""
    return LinearMap(np.vstack([law.weight for law in laws]), np.r_[*(law.bias for law in laws)])
