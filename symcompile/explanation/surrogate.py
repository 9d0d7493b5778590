"""The surrogate: an equation for each output, found around x.

Searches see squared errors. Of log-odds these are the errors of a parabola that has the deviance's
value and slope at the linear law of the selected features. The constants of whatever was found are
then fitted to the deviance itself, and equations compete by it on points of their own: the simplest
of those within 5 % of the lowest. So do linear laws of the selected features: where nothing is
better, one of them is the equation. They may be longer than what is searched for, since a sum of
many terms still reads term by term; but not longer than what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import sympy

from symcompile.explanation.features import Feature
from symcompile.explanation.linear import linear_expression, linear_law, shorter_laws
from symcompile.explanation.link import Link, Part
from symcompile.explanation.neighbourhood import Sample
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import LinearMap
from symcompile.regression.dataset import Dataset
from symcompile.regression.distillation import Searches
from symcompile.regression.engines import Engine
from symcompile.regression.fit import Fit
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.refine import Refine
from symcompile.storage.journal import Journal

# Steps in which constants are fitted to the deviance.
_STEPS = 30
# What chooses by the loss on rows to judge by: the simplest within 5 % of the lowest.
_RULE = "plateau"
# A front that is chosen from by other rows: constants are fitted again, so that none is snapped.
_REFINE = Refine(snap=False, max_fits=100)


@dataclass(frozen=True)
class Problem:
    """What one equation is fitted to.

    Attributes:
        columns: those that it may hold.
        added: which of them a linear law holds: not the level of a category that x has, so that
            the others say what would be different.
        fitted, judged: rows for the constants, and others to choose by; each with its part.
    """

    columns: Array
    added: Array
    fitted: tuple[Sample, Part]
    judged: tuple[Sample, Part]

    @classmethod
    def of(
        cls,
        features: Sequence[Feature],
        varying: Array,
        x: Array,
        fitted: tuple[Sample, Part],
        judged: tuple[Sample, Part],
    ) -> Problem:
        """In the columns of these features that vary [n_columns] around x [n_columns]."""
        pairs = [(c, len(f.columns) > 1) for f in features for c in f.columns if varying[c]]
        columns = np.array([column for column, _ in pairs], dtype=int)
        of_x = np.array([is_level and x[column] == 1.0 for column, is_level in pairs], dtype=bool)
        return cls(columns, ~of_x, fitted, judged)

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
    """An equation in all columns.

    Attributes:
        front: what it was chosen from, before its constants were fitted to all rows, with mean
            deviances on the rows to choose by (of values squared errors) in the place of squared
            errors, and that of a constant in the place of the variance.
    """

    equation: Equation
    front: ParetoFront

    @cached_property
    def is_linear(self) -> bool:
        return is_linear(self.equation)


def is_linear(equation: Equation) -> bool:
    """Whether it is a sum of inputs, each with a coefficient."""
    terms = equation.sympy.as_coefficients_dict()
    return all(term.is_Symbol or term.is_number for term in terms)


def predicted(told: Mapping[int, Found], link: Link, X: Array) -> Array:
    """What equations say of rows X [n_rows, n_columns], as `Link.chosen` gives it."""
    with np.errstate(all="ignore"):
        return link.inverse([told[k].equation.predict(X) for k in link.told])


def found(
    problems: Sequence[Problem],
    symbols: tuple[str, ...],
    places: Array,
    engine: Engine,
    *,
    longest: int | None,
    seed: int,
    budget: float | None,
    executor: Executor | None,
) -> list[Found]:
    """The equation of each problem.

    Args:
        symbols: names of all columns.
        longest: complexity that no equation has more than; None for any linear law.
        places: rows [n_rows, n_columns] on which an equation has to be finite, and if it is of
            values no farther out than these are from each other.
    """
    fits = []
    for number, problem in enumerate(problems):
        data = problem.dataset(problem.fitted, deviance=False)
        names = tuple(symbols[column] for column in problem.columns)
        key = f"explanation[{number}]"
        options = (engine, seed, budget, _REFINE)
        fits.append(Fit(key, data, data, names, *options, compute=False, monomials=False))
    searched = [fit for fit in fits if fit.data.X.shape[1] and np.ptp(fit.data.y) > 0.0]
    fronts = Searches(searched, Journal(None), executor).refined() if searched else {}
    return [
        _chosen(problem, fronts.get(fit.key, ()), engine, symbols, places, longest)
        for problem, fit in zip(problems, fits, strict=True)
    ]


@dataclass(frozen=True)
class _Candidate:
    """An equation in the columns of a problem; of a linear law the numbers of those that it has."""

    equation: Equation
    linear: Array | None = None


def _chosen(
    problem: Problem,
    searched: Iterable[Equation],
    engine: Engine,
    symbols: tuple[str, ...],
    places: Array,
    longest: int | None,
) -> Found:
    """The candidate that is chosen by its loss on rows of their own."""
    fitted = problem.dataset(problem.fitted, deviance=True)
    judged = problem.dataset(problem.judged, deviance=True)
    names = tuple(symbols[column] for column in problem.columns)
    candidates = [_Candidate(_refitted(equation, fitted)) for equation in searched]
    candidates += _linear_candidates(problem, names, engine)
    part, places = problem.fitted[1], places[:, problem.columns]
    scored = [
        replace(one, equation=one.equation.updated(loss=judged.loss_of(one.equation)))
        for one in candidates
        if (longest is None or one.equation.complexity <= longest)
        and _is_sane(one.equation, part, places)
    ]
    of_constant = scored[-1].equation.loss  # the shortest linear law
    ranked = ParetoFront.of((one.equation for one in scored), of_constant)
    chosen = ranked.select(_RULE)
    best = next(one for one in scored if one.equation is chosen)
    shown = tuple(replace(equation, symbols=symbols) for equation in ranked)
    front = replace(ranked, equations=shown, rule=_RULE)
    return Found(_completed(best, problem, symbols, engine), front)


def _linear_candidates(
    problem: Problem, names: tuple[str, ...], engine: Engine
) -> Iterator[_Candidate]:
    """Linear laws, down to a constant."""
    sample, part = problem.fitted
    X = sample.X[:, problem.columns[problem.added]]
    for law, kept in shorter_laws(part, X, sample.weights):
        columns = np.flatnonzero(problem.added)[kept]
        yield _Candidate(_linear_equation(law, columns, names, engine), columns)
    constant = sympy.Float(part.start(sample.weights))
    yield _Candidate(Equation.of(constant, names, engine.operators), np.zeros(0, dtype=int))


def _linear_equation(
    law: LinearMap, columns: Array, names: tuple[str, ...], engine: Engine
) -> Equation:
    expr = linear_expression(law, tuple(names[column] for column in columns))
    return Equation.of(expr, names, engine.operators)


def _completed(
    best: _Candidate, problem: Problem, symbols: tuple[str, ...], engine: Engine
) -> Equation:
    """With constants fitted to all rows, and in the names of all columns."""
    (sample, part), (more, other) = problem.fitted, problem.judged
    whole = sample.joined(more)
    part = replace(part, y=np.r_[part.y, other.y], share=np.r_[part.share, other.share])
    if best.linear is None:
        equation = _refitted(best.equation, problem.dataset((whole, part), deviance=True))
        return Equation.of(equation.sympy, symbols, engine.operators)
    if not len(best.linear):
        constant = sympy.Float(part.start(whole.weights))
        return Equation.of(constant, symbols, engine.operators)
    columns = problem.columns[best.linear]
    return _linear_equation(
        linear_law(part, whole.X[:, columns], whole.weights), columns, symbols, engine
    )


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
