"""Contributions: what each feature does to a prediction, told exactly from the equation.

The gradient at x says what a small change would do. The integrated gradient says what the feature
has done: of an equation s, (x_j - m_j) times the mean of ds/dx_j on the straight line from the
neighbourhood's mean m to x. Over all features these add up to s(x) - s(m) (Sundararajan, Taly and
Yan 2017, arXiv 1703.01365).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad_vec

from symcompile.explanation.features import Features
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, evaluate, slopes

# Of an integral, as a share of its size.
_TOLERANCE = 1e-9


class Contribution(NamedTuple):
    """Of one feature to one output; a category has the sums of its levels.

    Attributes:
        gradient: derivative of the output by the feature at x, in their units; of a category, by
            the level that x has.
        integrated: share of the output's change from the neighbourhood's mean to x.
    """

    gradient: float
    integrated: float


@dataclass(frozen=True)
class Contributions:
    """Of all features that an equation holds, by name, the largest first.

    Attributes:
        at_x, at_mean: the equation there: the integrated ones add up to their difference, but for
            what it jumps by on the way, where it has steps.
    """

    by_feature: dict[str, Contribution]
    at_x: float
    at_mean: float


def contributions(equation: Equation, features: Features, x: Array, mean: Array) -> Contributions:
    """Those of an equation in the columns of `features`, at x, from the mean [n_columns]."""
    used = [k for k, name in enumerate(equation.symbols) if name in equation.uses]
    there = evaluate(equation.program, np.vstack([x, mean]), equation.constants)[:, 0]
    if not used:
        return Contributions({}, float(there[0]), float(there[1]))

    def gradient(t: float) -> Array:
        return slopes(equation.program, (mean + t * (x - mean))[None], equation.constants)[0, used]

    with np.errstate(all="ignore"):
        at_x = gradient(1.0)
        path, _ = quad_vec(gradient, 0.0, 1.0, epsrel=_TOLERANCE, epsabs=1e-12)
    path = path * (x - mean)[used]
    found: dict[str, Contribution] = {}
    for place, column in enumerate(used):
        feature = features.feature_of(column)
        slope, share = float(at_x[place]), float(path[place])
        before = found.get(feature.name, Contribution(0.0, 0.0))
        # Of several levels the slope is that of the one that x has.
        counts = len(feature.columns) == 1 or x[column] == 1.0
        found[feature.name] = Contribution(
            before.gradient + (slope if counts else 0.0), before.integrated + share
        )
    order = sorted(found, key=lambda name: -abs(found[name].integrated))
    return Contributions({name: found[name] for name in order}, float(there[0]), float(there[1]))
