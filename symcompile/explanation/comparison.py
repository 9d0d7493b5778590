"""Comparison: an explanation beside its controls, on points that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from symcompile.explanation.explanation import (
    EQUATION,
    LOGISTIC,
    MEAN,
    RIDGE,
    Explanation,
    Fresh,
)
from symcompile.explanation.features import Feature
from symcompile.explanation.fidelity import measured
from symcompile.explanation.lime_control import is_wanted, lime_surrogates
from symcompile.explanation.linear import LinearLaw, joined, linear_law
from symcompile.explanation.neighbourhood import Neighbourhood, effective_sample_size
from symcompile.explanation.points import ROUNDING, Points
from symcompile.explanation.request import Case
from symcompile.explanation.surrogate import Found
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import controls

# Standard errors beyond which one surrogate is better than another; and the share of the variance
# that nobody would notice a better one to explain more.
_BEYOND_CHANCE, _NOTICED = 2.0, 1e-6


def compared(
    case: Case,
    place: Neighbourhood,
    points: Points,
    told: dict[int, Found],
    selected: list[Feature],
    moved: dict[str, tuple[float, float]],
) -> Explanation:
    """The explanation: what is told, and how near it is on fresh points, beside its controls."""
    link, seen = points.link, points.seen
    Y = np.vstack(points.Y[:2])
    both = controls(seen.X, link.chosen(Y), seen.weights)
    titles = tuple(link.name(k) for k in link.classes)
    spread = seen.X.std(axis=0)
    linear = LinearLaw(case.features, both.linear, titles, spread, flat=points.flat)
    logistic = None
    if link.is_odds:
        maps = joined([linear_law(part, seen.X, seen.weights) for part in link.parts(Y)])
        told_titles = tuple(link.title(k) for k in link.told)
        logistic = LinearLaw(case.features, maps, told_titles, spread, link, points.flat)
    explanation = Explanation(
        told,
        case.features,
        link,
        place,
        case.request.search.operators,
        points.Y[3][0],
        {},
        effective_sample_size(points.synthetic.weights),
        case.request.n_synthetic,
        linear,
        logistic,
        False,
        tuple(feature.name for feature in selected),
        {title: left for title, (left, _) in moved.items()},
        {title: whole for title, (_, whole) in moved.items()},
        Fresh(np.empty((0, 0)), np.empty((0, 0)), np.empty(0)),
        points.flat,
        case.request,
    )
    surrogates: dict[str, Callable[[Array], Array]] = {
        EQUATION: explanation.chosen,
        MEAN: both.mean.predict,
        RIDGE: linear.chosen,
    }
    if logistic is not None:
        surrogates[LOGISTIC] = logistic.chosen
    if is_wanted(case.request.lime):
        surrogates |= lime_surrogates(
            case.black_box, case.features, link, case.x, case.rows, case.request.seed
        )
    return _with_fidelity(case, points, explanation, surrogates)


def _with_fidelity(
    case: Case,
    points: Points,
    explanation: Explanation,
    surrogates: dict[str, Callable[[Array], Array]],
) -> Explanation:
    link, fresh = points.link, points.fresh
    truth, at_x = link.chosen(points.Y[2]), link.chosen(points.Y[3])[0]
    said = {name: predict(fresh.X) for name, predict in surrogates.items()}
    fidelity = {
        name: measured(link, truth, said[name], fresh.weights, (at_x, predict(case.x[None])[0]))
        for name, predict in surrogates.items()
    }
    rivals = [name for name in (RIDGE, LOGISTIC) if name in surrogates]
    errors = {name: _errors(truth, said[name]) for name in (EQUATION, *rivals)}
    as_good = not all(_is_better(errors[EQUATION], errors[name], fresh.weights) for name in rivals)
    seen = Fresh(truth, said[EQUATION], fresh.weights)
    return replace(explanation, fidelity=fidelity, linear_is_as_good=as_good, fresh=seen)


def _errors(truth: Array, prediction: Array) -> Array:
    """Squared error of each point, of all outputs, each as a share of its spread [n_points]; of
    outputs that vary."""
    spread, size = truth.var(axis=0), np.abs(truth).max(axis=0)
    varies = np.sqrt(spread) > ROUNDING * np.maximum(size, 1e-300)
    with np.errstate(all="ignore"):
        shares = np.square(prediction - truth)[:, varies] / spread[varies]
    return np.asarray(shares.sum(axis=1))


def _is_better(errors: Array, others: Array, weights: Array) -> bool:
    """Whether errors [n_points] are smaller, beyond chance."""
    if not np.isfinite(errors).all() or not np.isfinite(others).all():
        return bool(np.isfinite(errors).all())
    gain = (others - errors) * weights / weights.mean()
    if gain.mean() <= _NOTICED:
        return False
    largest = float(np.abs(gain).max())
    gain = gain / (largest or 1.0)  # so that no square overflows
    return bool(gain.mean() > _BEYOND_CHANCE * gain.std() / np.sqrt(len(gain)))
