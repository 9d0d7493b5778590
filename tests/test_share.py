"""Outputs of one block try each other's forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.share import MOST_FORMS, forms_for, share_task

OPERATORS = OperatorSet.of(["+", "*", "sin"])
ENGINE = create("operon", operators=OPERATORS)
X = np.random.default_rng(0).uniform(-2, 2, (300, 2))
LAW = np.sin(1.7 * X[:, 0]) * X[:, 1]
X0, X1 = sympy.symbols("x0 x1")


def fit(key: str, y: np.ndarray) -> Fit:
    return Fit(key, Dataset(X[:200], y[:200]), Dataset(X[200:], y[200:]), ("x0", "x1"), ENGINE)


def front(expr: sympy.Expr, y: np.ndarray) -> ParetoFront:
    equation = Equation.of(expr, ("x0", "x1"), OPERATORS)
    loss = float(np.mean((equation.predict(X) - y) ** 2))
    return ParetoFront.of([replace(equation, loss=loss, holdout_loss=loss)], float(y.var()))


FIRST, SECOND = fit("edge[0]", LAW), fit("edge[1]", -3 * LAW + 0.5)
FRONTS = {
    "edge[0]": front(1.0 * sympy.sin(1.7 * X0) * X1, LAW),
    "edge[1]": front(2.0 * X0, -3 * LAW + 0.5),
}


def share(fits: Sequence[Fit], fronts: Mapping[str, ParetoFront]) -> dict[str, ParetoFront]:
    """Of the fits of one block."""
    found = {fit.key: fronts[fit.key] for fit in fits}
    forms = forms_for([(fit, found[fit.key]) for fit in fits if found[fit.key].equations])
    for fit in fits:
        if fit.key in forms:
            found[fit.key] = share_task(fit, found[fit.key], forms[fit.key])
    return found


def test_the_form_of_one_output_is_fitted_to_the_others() -> None:
    found = share([FIRST, SECOND], FRONTS)
    improved = found["edge[1]"].most_accurate
    assert found["edge[1]"].r2(improved) > 0.9
    assert improved.sympy.has(sympy.sin)
    assert found["edge[0]"].best == FRONTS["edge[0]"].best


def test_the_most_that_is_worth_its_length_is_offered_too() -> None:
    """The knee of a noisy output may come before the law, which another output needs."""
    law = front(1.0 * sympy.sin(1.7 * X0) * X1, LAW)
    early = ParetoFront.of([*front(0.5 * X1, LAW), *law], law.variance)
    found = share([FIRST, SECOND], FRONTS | {"edge[0]": early.described([0.0, 5.0])})
    assert found["edge[1]"].r2(found["edge[1]"].most_accurate) > 0.9


def test_terms_that_have_no_factor_get_one() -> None:
    first, second = (X[:, 0] + X[:, 1]) * np.sin(X[:, 0]), (X[:, 0] - 2 * X[:, 1]) * np.sin(X[:, 0])
    fronts = {
        "edge[0]": front((X0 + X1) * sympy.sin(1.0 * X0), first),
        "edge[1]": front(2.0 * X0, second),
    }
    found = share([fit("edge[0]", first), fit("edge[1]", second)], fronts)["edge[1]"]
    assert found.r2(found.most_accurate) > 0.999


def test_fronts_stay_in_order_and_pareto_optimal() -> None:
    found = share([FIRST, SECOND], FRONTS)
    assert list(found) == ["edge[0]", "edge[1]"]
    losses = [equation.holdout_loss for equation in found["edge[1]"]]
    assert losses == sorted(losses, reverse=True)
    assert found["edge[1]"].variance == FRONTS["edge[1]"].variance


def test_an_empty_front_has_nothing_to_share() -> None:
    empty = FRONTS | {"edge[0]": ParetoFront((), 1.0)}
    assert share([FIRST, SECOND], empty) == empty


def test_of_many_forms_those_that_come_nearest_are_tried() -> None:
    """Thirty waves, each of an output of its own, and an output that is like the eleventh."""
    waves = [np.sin((1 + 0.3 * k) * X[:, 0]) for k in range(30)]
    block = [
        (fit(f"edge[{k}]", wave), front(1.0 * sympy.sin((1 + 0.3 * k) * X0), wave))
        for k, wave in enumerate(waves)
    ]
    like = -2.0 * np.sin(4.05 * X[:, 0]) + 1.0
    block.append((fit("edge[30]", like), front(2.0 * X1, like)))
    forms = forms_for(block)["edge[30]"]
    assert len(forms) == MOST_FORMS
    assert block[10][1].best in forms
    found = share_task(block[30][0], block[30][1], forms)
    assert found.r2(found.most_accurate) > 0.999
