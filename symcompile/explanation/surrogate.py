"""The surrogate: an equation for each output, found around x.

Searches see squared errors. Of log-odds these are the errors of a parabola that has the deviance's
value and slope at the linear law of the selected features. The constants of whatever was found are
then fitted to the deviance itself, and equations compete by it on points of their own: the simplest
of those within 5 % of the lowest. So does the linear law of the selected features: where nothing is
better it is the equation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from symcompile.explanation.linear import linear_expression, linear_law
from symcompile.explanation.link import Part
from symcompile.explanation.neighbourhood import Sample
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.choice import LEVEL
from symcompile.regression.dataset import Dataset
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.fit import Fit
from symcompile.regression.least_squares import fit_constants
from symcompile.storage.journal import Journal

# Steps in which constants are fitted to the deviance.
_STEPS = 30


@dataclass(frozen=True)
class Problem:
    """What one equation is fitted to.

    Attributes:
        columns: those that it may hold.
        fitted, judged: rows for the constants, and others to choose by; each with its part.
    """

    columns: Array
    fitted: tuple[Sample, Part]
    judged: tuple[Sample, Part]

    def dataset(self, which: tuple[Sample, Part], *, deviance: bool) -> Dataset:
        """Of log-odds with the deviance as loss, or a parabola in its place."""
        sample, part = which
        X, weights = sample.X[:, self.columns], sample.weights * part.share
        if deviance or not part.is_odds:
            return Dataset(X, part.target, weights, part.loss)
        law = linear_law(part, X, sample.weights)
        target, curvature = part.working(law.predict(X)[:, 0])
        return Dataset(X, target, weights * curvature)


@dataclass(frozen=True)
class Found:
    """An equation in all columns, and whether it is the linear law of those it holds."""

    equation: Equation
    is_linear: bool


def found(
    problems: Sequence[Problem],
    symbols: tuple[str, ...],
    places: Array,
    engine: Engine,
    *,
    seed: int,
    budget: float | None,
    executor: Executor | None,
) -> list[Found]:
    """The equation of each problem.

    Args:
        symbols: names of all columns.
        places: rows [n_rows, n_columns] on which an equation has to be finite, and if it is of
            values no farther out than these are from each other.
    """
    fits = []
    for number, problem in enumerate(problems):
        data = problem.dataset(problem.fitted, deviance=False)
        names = tuple(symbols[column] for column in problem.columns)
        key = f"explanation[{number}]"
        fits.append(Fit(key, data, data, names, engine, seed, budget, compute=False))
    searched = [fit for fit in fits if fit.data.X.shape[1] and np.ptp(fit.data.y) > 0.0]
    fronts = Searches(searched, Journal(None), executor).refined() if searched else {}
    return [
        _chosen(problem, fronts.get(fit.key, ()), engine, symbols, places)
        for problem, fit in zip(problems, fits, strict=True)
    ]


def _chosen(
    problem: Problem,
    front: Iterable[Equation],
    engine: Engine,
    symbols: tuple[str, ...],
    places: Array,
) -> Found:
    names = tuple(symbols[column] for column in problem.columns)
    fitted = problem.dataset(problem.fitted, deviance=True)
    judged = problem.dataset(problem.judged, deviance=True)
    sample, part = problem.fitted
    law = linear_law(part, fitted.X, sample.weights)
    linear = Equation.of(linear_expression(law, names), names, engine.operators)
    candidates = [(_refitted(equation, fitted), False) for equation in front]
    candidates.append((linear, True))
    sane = [one for one in candidates if _is_sane(one[0], part, places[:, problem.columns])]
    losses = [judged.loss_of(equation) for equation, _ in sane]
    lowest = min(losses, default=math.inf)
    near = [one for one, loss in zip(sane, losses, strict=True) if loss <= (1.0 + LEVEL) * lowest]
    equation, is_linear = min(near or [(linear, True)], key=lambda one: one[0].complexity)
    return Found(_completed(equation, is_linear, problem, symbols, engine), is_linear)


def _completed(
    equation: Equation,
    is_linear: bool,
    problem: Problem,
    symbols: tuple[str, ...],
    engine: Engine,
) -> Equation:
    """With constants fitted to all rows, and in the names of all columns."""
    (sample, part), (more, other) = problem.fitted, problem.judged
    whole = sample.joined(more)
    part = replace(
        part, y=np.r_[part.y, other.y], share=np.r_[part.share, other.share]
    )
    names = equation.symbols
    if is_linear:
        law = linear_law(part, whole.X[:, problem.columns], whole.weights)
        equation = Equation.of(linear_expression(law, names), names, engine.operators)
    else:
        data = problem.dataset((whole, part), deviance=True)
        equation = _refitted(equation, data)
    return Equation.of(equation.sympy, symbols, engine.operators)


def _refitted(equation: Equation, data: Dataset) -> Equation:
    return equation.with_constants(fit_constants(equation, data, _STEPS, 1e-6).constants)


def _is_sane(equation: Equation, part: Part, places: Array) -> bool:
    """Whether it has no pole among these rows: of values, it stays within what was seen and as much
    again on either side."""
    with np.errstate(all="ignore"):
        values = equation.predict(places)
    if not np.isfinite(values).all():
        return False
    if part.is_odds:
        return True
    low, high = float(part.y.min()), float(part.y.max())
    return bool(values.min() >= 2 * low - high and values.max() <= 2 * high - low)
