"""`explain`: one prediction of any model, by equations that hold around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from symcompile.explanation.comparison import compared
from symcompile.explanation.explanation import Explanation
from symcompile.explanation.features import Feature
from symcompile.explanation.neighbourhood import Neighbourhood, check_inside, neighbourhood
from symcompile.explanation.points import Points, asked
from symcompile.explanation.request import Case, Request
from symcompile.explanation.selection import effects
from symcompile.explanation.surrogate import Found, Problem, found
from symcompile.expressions.evaluation import Array
from symcompile.options import Operators
from symcompile.regression.engines import Engine
from symcompile.regression.tasks import one_thread


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
    max_complexity: int | None = None,
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
        max_complexity: of equations. When left out, 40 for what is searched for, and linear laws
            may be longer.
        operators, engine, engine_options, executor: as for `symcompile`; without options, a search
            is a short one.
        budget: seconds of search for each equation, see `symcompile`.
        lime: whether LIME is measured beside it, by the package `lime`; None for if it is there.
        seed: same seed, same machine, same explanation, as long as no budget ends the search.

    Returns:
        The explanation; `print` shows its equations, the shortest of those that err nearly as
        little as any, and shorter ones that say most of it; how near they are to fn, beside what
        linear laws of the same samples come to; and what each feature contributes.

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
    points = asked(case, place)
    told, selected, moved = _told(case, place, points)
    return compared(case, place, points, told, selected, moved)


def _told(
    case: Case, place: Neighbourhood, points: Points
) -> tuple[dict[int, Found], list[Feature], dict[str, tuple[float, float]]]:
    """The equations, the features that they may hold, and by how much all others, and all, move
    what is told."""
    request, link = case.request, points.link
    varying = points.fitted.X.std(axis=0) > 0.0
    candidates = [f for f in case.features.features if varying[list(f.columns)].any()]

    def ask(X: Array) -> Array:
        return case.black_box(X, points.Y[0].shape[1])

    moves = effects(place, points.synthetic, points.Y[0], ask, link, [[f] for f in candidates])
    fitted, judged = link.parts(points.Y[0]), link.parts(points.Y[1])
    order = np.argsort(-moves, axis=0, kind="stable")[: request.n_features]
    kept = [[candidates[k] for k in sorted(numbers)] for numbers in order.T.tolist()]
    problems = [
        Problem.of(own, varying, case.x, (points.fitted, part), (points.judged, other))
        for own, part, other in zip(kept, fitted, judged, strict=True)
    ]
    moved = _moved(place, points, ask, candidates, kept)
    places = np.vstack([points.fitted.X, points.judged.X, case.x, place.mean])
    results = found(
        problems,
        case.features.symbols,
        places,
        request.search,
        longest=request.max_complexity,
        seed=request.seed,
        budget=request.budget,
        executor=request.executor,
    )
    selected = {feature.name: feature for own in kept for feature in own}
    return dict(zip(link.told, results, strict=True)), list(selected.values()), moved


def _moved(
    place: Neighbourhood,
    points: Points,
    ask: Callable[[Array], Array],
    candidates: list[Feature],
    kept: list[list[Feature]],
) -> dict[str, tuple[float, float]]:
    """By the title of what is told: what features that are left out move, and what all do."""
    others = [[f for f in candidates if f not in own] for own in kept]
    moves = effects(place, points.synthetic, points.Y[0], ask, points.link, [*others, candidates])
    return {
        points.link.title(k): (float(moves[number, number]), float(moves[-1, number]))
        for number, k in enumerate(points.link.told)
    }
