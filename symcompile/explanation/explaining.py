"""`explain`: one prediction of any model, by equations that hold around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symcompile.errors import DataError
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
from symcompile.explanation.link import Link, link_of
from symcompile.explanation.neighbourhood import (
    Neighbourhood,
    Sample,
    check_inside,
    effective_sample_size,
    neighbourhood,
)
from symcompile.explanation.request import Case, Request
from symcompile.explanation.selection import effects
from symcompile.explanation.surrogate import Found, Problem, found
from symcompile.expressions.evaluation import Array
from symcompile.fidelity.controls import controls
from symcompile.options import Operators
from symcompile.regression.engines import Engine
from symcompile.regression.tasks import one_thread

# Standard errors beyond which one surrogate is better than another.
_BEYOND_CHANCE = 2.0
# A change of an output below this share of its size is rounding; and of the variance that a better
# surrogate explains more, nobody would notice this share.
_ROUNDING, _NOTICED = 1e-9, 1e-6


def explain(
    fn: Any,
    x: Any,
    data: Any,
    *,
    n_neighbors: int | None = None,
    n_synthetic: int = 500,
    real_weight: float = 1.0,
    metric: str | Callable[[Array, Array], float] = "euclidean",
    variance: Any = None,
    bandwidth: float | None = None,
    outputs: Any = None,
    link: str = "auto",
    names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    categories: Sequence[Any] = (),
    fixed: Sequence[Any] = (),
    n_features: int = 15,
    extrapolate: bool = False,
    operators: Operators = ("+", "*", "inv"),
    max_complexity: int = 40,
    engine: str | Engine = "auto",
    engine_options: Mapping[str, Any] | None = None,
    budget: float | None = None,
    executor: Executor | None = None,
    lime: bool | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain one prediction by equations that hold around it (SLIME, arXiv 2602.21307).

    Equations s are fitted to the nearest rows of the data, and to new points z around x: what is
    small is sum_z pi(z) [fn(z) - s(z)]^2 + real_weight * sum_rows [fn - s]^2, where
    pi(z) = exp(-|x - z|^2 / bandwidth^2), scaled so that the new points count as many as say as
    much with equal weights; of probabilities the deviance takes the place of squares.

    Args:
        fn: what is explained: a torch module, an estimator with `predict_proba` or `predict`, one
            of these methods, or any function of rows that gives [n_rows] or [n_rows, n_outputs].
        x: the row, one value for each feature.
        data: rows that fn was made for, [n_rows, n_features]: a data frame (also with text and
            other categories), an array or a tensor. fn gets rows of the same kind.
        n_neighbors: nearest rows of the data; a twentieth of them, 10 to 100, when left out.
        n_synthetic: new points that constants are fitted to. As many are drawn to choose an
            equation by, and as many to measure it.
        real_weight: what each of the nearest rows weighs; new points weigh 1 on average, as far as
            their weights are equal.
        metric: of distances, in standard deviations of the data: a name that scikit-learn knows,
            or a function of two rows.
        variance: of new points, in squared units: a number, one for each feature, or a dict by
            name. Half of the variance of the nearest rows when left out. Whole numbers are rounded,
            and nothing leaves the range of the data. A category is as at x in half of the points,
            and else as in one of the nearest rows, or in any.
        bandwidth: of the kernel, in standard deviations of the data. Chosen so that 60 % of the
            sample size is left when left out.
        outputs: which to explain, by number or name; all when left out. Of some classes of
            several, all others count as one.
        link: "logit" for probabilities, "identity" for values, "auto" for "logit" where two or
            more outputs are probabilities that add up to one.
        names: of the features, if data has none.
        output_names: of all outputs of fn, such as its classes; those that an estimator knows when
            left out.
        categories: columns of data, by name or number, that hold codes of categories, or lists of
            columns of 0 and 1 that are one category. Text is a category in any case, and so are
            neighbouring columns of 0 and 1 of which one is 1 in each row.
        fixed: features that stay as they are at x.
        n_features: features that equations may hold: those that move fn most around x, see
            `symcompile.explanation.selection`. A category counts once.
        extrapolate: explain an x as well that is outside of the data.
        operators, max_complexity, engine, engine_options, executor: as for `symcompile`; without
            options, a search is a short one.
        budget: seconds of search for each equation, see `symcompile`.
        lime: whether LIME is measured beside it, by the package `lime`; None for if it is there.
        seed: same seed, same machine, same explanation, as long as no budget ends the search.

    Returns:
        The explanation; `print` shows its equations, how near they are to fn, beside what linear
        laws of the same samples come to, and what each feature contributes.

    Raises:
        DataError: data or x hold NaN, other features, or a feature that never changes; x is outside
            of the data; fn raises, gives NaN, other shapes, or the same for all rows around x; an
            option makes no sense.
        EngineError: as for `symcompile`.
    """
    request = Request(
        fn,
        x,
        data,
        n_neighbors,
        n_synthetic,
        real_weight,
        metric,
        variance,
        bandwidth,
        outputs,
        link,
        names,
        output_names,
        categories,
        fixed,
        n_features,
        extrapolate,
        operators,
        max_complexity,
        engine,
        engine_options,
        budget,
        executor,
        lime,
        seed,
    )
    return explained(request)


def explained(request: Request) -> Explanation:
    """The same for a request."""
    with one_thread():
        return _explained(Case.of(request))


def _explained(case: Case) -> Explanation:
    request = case.request
    if not request.extrapolate:
        check_inside(case.features, case.x, case.rows, request.metric)
    place = neighbourhood(
        case.features,
        case.x,
        case.rows,
        n_neighbors=case.n_neighbors,
        metric=request.metric,
        variance=case.variance,
        bandwidth=request.bandwidth,
        fixed=case.fixed,
        seed=request.seed,
    )
    points = _points(case, place)
    told, selected, moved = _told(case, place, points)
    return _measured(case, place, points, told, selected, moved)


@dataclass(frozen=True)
class _Points:
    """What the black box was asked, and says.

    Attributes:
        synthetic: new points that constants are fitted to; `fitted` has the nearest rows as well.
        judged, fresh: points to choose by, and to measure on.
        Y: outputs of fitted, judged and fresh points, and of x.
    """

    synthetic: Sample
    fitted: Sample
    judged: Sample
    fresh: Sample
    Y: tuple[Array, Array, Array, Array]
    link: Link
    flat: bool

    @property
    def seen(self) -> Sample:
        """All that anything is fitted to."""
        return self.fitted.joined(self.judged)


def _points(case: Case, place: Neighbourhood) -> _Points:
    request = case.request
    streams = np.random.default_rng(request.seed).spawn(3)
    synthetic, judged, fresh = (place.draw(request.n_synthetic, stream) for stream in streams)
    real = Sample(place.neighbours, np.full(len(place.neighbours), request.real_weight))
    fitted = synthetic.joined(real)
    flat = case.black_box.is_flat(case.x)
    samples = [fitted.X, judged.X, fresh.X, case.x[None]]
    Y = case.black_box(np.vstack(samples))
    case.black_box.check_repeats(fitted.X, Y)
    names = case.output_names(Y.shape[1], flat)
    link = link_of(request.link, Y, Y[-1], case.output_numbers(names), names)
    _check_varies(link, Y, case.black_box.classes)
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    return _Points(synthetic, fitted, judged, fresh, tuple(np.split(Y, ends)), link, flat)  # type: ignore[arg-type]


def _check_varies(link: Link, Y: Array, classes: tuple[str, ...]) -> None:
    """DataError where fn says the same of all points."""
    chosen = link.chosen(Y)
    size = np.maximum(np.abs(chosen).max(axis=0), 1e-300)
    if (np.ptp(chosen, axis=0) > _ROUNDING * size).any():
        return
    if classes and Y.shape[1] == 1:
        said = f"fn knows one class only, {classes[0]!r}"
    elif link.is_odds:
        likely = int(chosen[0].argmax())
        said = (
            f"fn says class {link.name(link.classes[likely])!r} with probability"
            f" {chosen[0, likely]:.6g} for all {len(Y)} rows around x"
        )
    else:
        said = f"fn gives {', '.join(f'{value:.6g}' for value in chosen[0])} for all {len(Y)} rows"
    raise DataError(
        f"{said}, so there is nothing to explain: give more n_neighbors, or a larger variance"
    )


def _told(
    case: Case, place: Neighbourhood, points: _Points
) -> tuple[dict[int, Found], list[Feature], dict[str, tuple[float, float]]]:
    """The equations, the features that they may hold, and by how much all others, and all, move
    what is told."""
    request, link = case.request, points.link
    varying = points.fitted.X.std(axis=0) > 0.0
    candidates = [f for f in case.features.features if varying[list(f.columns)].any()]

    def ask(X: Array) -> Array:
        return case.black_box(X, points.Y[0].shape[1])

    moves = effects(place, points.synthetic, ask, link, [[f] for f in candidates])
    fitted, judged = link.parts(points.Y[0]), link.parts(points.Y[1])
    problems, chosen = list[Problem](), dict[str, Feature]()
    kept = []
    for number, part in enumerate(fitted):
        order = np.argsort(-moves[:, number], kind="stable")[: request.n_features]
        own = [candidates[k] for k in sorted(order.tolist())]
        kept.append(own)
        chosen |= {feature.name: feature for feature in own}
        columns = [c for feature in own for c in feature.columns if varying[c]]
        at_x = [len(case.features.feature_of(c).columns) > 1 and case.x[c] == 1.0 for c in columns]
        problems.append(
            Problem(
                np.array(columns, dtype=int),
                ~np.array(at_x, dtype=bool),
                (points.fitted, part),
                (points.judged, judged[number]),
            )
        )
    moved = _moved(place, points, ask, candidates, kept)
    places = np.vstack([points.fitted.X, points.judged.X, case.x, place.mean])
    results = found(
        problems,
        case.features.symbols,
        places,
        request.search,
        seed=request.seed,
        budget=request.budget,
        executor=request.executor,
    )
    return dict(zip(link.told, results, strict=True)), list(chosen.values()), moved


def _moved(
    place: Neighbourhood,
    points: _Points,
    ask: Callable[[Array], Array],
    candidates: list[Feature],
    kept: list[list[Feature]],
) -> dict[str, tuple[float, float]]:
    """By the title of what is told: what features that are left out move, and what all do."""
    others = [[f for f in candidates if f not in own] for own in kept]
    moves = effects(place, points.synthetic, ask, points.link, [*others, candidates])
    return {
        points.link.title(k): (float(moves[number, number]), float(moves[-1, number]))
        for number, k in enumerate(points.link.told)
    }


def _measured(
    case: Case,
    place: Neighbourhood,
    points: _Points,
    told: dict[int, Found],
    selected: list[Feature],
    moved: dict[str, tuple[float, float]],
) -> Explanation:
    """The explanation, with its controls, on fresh points."""
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
    return _compared(case, points, explanation, surrogates)


def _compared(
    case: Case,
    points: _Points,
    explanation: Explanation,
    surrogates: dict[str, Callable[[Array], Array]],
) -> Explanation:
    link, fresh = points.link, points.fresh
    truth, at_x = link.chosen(points.Y[2]), link.chosen(points.Y[3])[0]
    fidelity = {
        name: measured(
            link, truth, predict(fresh.X), fresh.weights, (at_x, predict(case.x[None])[0])
        )
        for name, predict in surrogates.items()
    }
    rivals = [name for name in (RIDGE, LOGISTIC) if name in surrogates]
    errors = {name: _errors(truth, surrogates[name](fresh.X)) for name in (EQUATION, *rivals)}
    as_good = not all(_is_better(errors[EQUATION], errors[name], fresh.weights) for name in rivals)
    seen = Fresh(truth, explanation.chosen(fresh.X), fresh.weights)
    return replace(explanation, fidelity=fidelity, linear_is_as_good=as_good, fresh=seen)


def _errors(truth: Array, prediction: Array) -> Array:
    """Squared error of each point, of all outputs, each as a share of its spread [n_points]; of
    outputs that vary."""
    spread, size = truth.var(axis=0), np.abs(truth).max(axis=0)
    varies = np.sqrt(spread) > _ROUNDING * np.maximum(size, 1e-300)
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
