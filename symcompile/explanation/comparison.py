"""Comparison: an explanation beside its controls, on points that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
from symcompile.explanation.surrogate import Found, predicted
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
    link, fresh = points.link, points.fresh
    mean, linear, logistic = _laws(case, points)
    surrogates: dict[str, Callable[[Array], Array]] = {
        EQUATION: partial(predicted, told, link),
        MEAN: mean,
        RIDGE: linear.chosen,
    }
    if logistic is not None:
        surrogates[LOGISTIC] = logistic.chosen
    if is_wanted(case.request.lime):
        surrogates |= lime_surrogates(
            case.black_box, case.features, link, case.x, case.rows, case.request.seed
        )
    said = {name: predict(fresh.X) for name, predict in surrogates.items()}
    truth, at_x = link.chosen(points.Y[2]), link.chosen(points.Y[3])[0]
    return Explanation(
        told=told,
        features=case.features,
        link=link,
        neighbourhood=place,
        operators=case.request.search.operators,
        output_at_x=points.Y[3][0],
        fidelity={
            name: measured(link, truth, said[name], fresh.weights, (at_x, predict(case.x[None])[0]))
            for name, predict in surrogates.items()
        },
        effective_sample_size=effective_sample_size(points.synthetic.weights),
        n_synthetic=case.request.n_synthetic,
        linear=linear,
        logistic=logistic,
        linear_is_as_good=_linear_is_as_good(said, truth, fresh.weights),
        selected=tuple(feature.name for feature in selected),
        left_out={title: left for title, (left, _) in moved.items()},
        explained={title: whole for title, (_, whole) in moved.items()},
        fresh=Fresh(truth, said[EQUATION], fresh.weights),
        request=case.request,
    )


def _laws(
    case: Case, points: Points
) -> tuple[Callable[[Array], Array], LinearLaw, LinearLaw | None]:
    """The mean, the ridge, and of probabilities the ridge of log-odds, of all that was seen."""
    link, seen = points.link, points.seen
    Y, spread = np.vstack(points.Y[:2]), seen.X.std(axis=0)
    both = controls(seen.X, link.chosen(Y), seen.weights)
    linear = LinearLaw(case.features, both.linear, link, of_odds=False, spread=spread)
    if not link.is_odds:
        return both.mean.predict, linear, None
    maps = joined([linear_law(part, seen.X, seen.weights) for part in link.parts(Y)])
    logistic = LinearLaw(case.features, maps, link, of_odds=True, spread=spread)
    return both.mean.predict, linear, logistic


def _linear_is_as_good(said: dict[str, Array], truth: Array, weights: Array) -> bool:
    """Whether the equation is no better than the better one of the linear laws."""
    errors = {
        name: _errors(truth, said[name]) for name in (EQUATION, RIDGE, LOGISTIC) if name in said
    }
    own = errors.pop(EQUATION)
    return not all(_is_better(own, other, weights) for other in errors.values())


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
