"""Outputs take up what other outputs of their block consist of, if it is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import sympy

from symcompile.errors import ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit
from symcompile.regression.limits import Limits
from symcompile.regression.losses import Loss
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.share import complete_task, terms_for
from symcompile.regression.share import completed as completion

OPERATORS = OperatorSet.of(["+", "-", "*", "inv"])
ENGINE = create("operon", operators=OPERATORS, max_complexity=25)
RNG = np.random.default_rng(0)
X = np.column_stack([RNG.normal(size=(1000, 2)), RNG.uniform(0.5, 3, 1000)])
DX, DY, R = X.T
NAMES = ("dx", "dy", "r")
NOISE = 0.3 * RNG.normal(size=(2, 1000))


def fit(key: str, y: np.ndarray) -> Fit:
    return Fit(key, Dataset(X[:800], y[:800]), Dataset(X[800:], y[800:]), NAMES, ENGINE)


def front(text: str, y: np.ndarray) -> ParetoFront:
    equation = Equation.of(sympy.sympify(text), NAMES, OPERATORS)
    loss = float(np.mean((equation.predict(X[800:]) - y[800:]) ** 2))
    return ParetoFront.of([replace(equation, loss=loss, holdout_loss=loss)], float(y.var()))


def complete(fits: Sequence[Fit], fronts: Mapping[str, ParetoFront]) -> dict[str, ParetoFront]:
    """Of the fits of one block."""
    found = {fit.key: fronts[fit.key] for fit in fits}
    terms = terms_for([(fit, found[fit.key]) for fit in fits])
    for fit in fits:
        if fit.key in terms:
            found[fit.key] = complete_task(fit, found[fit.key], terms[fit.key])
    return found


def completed(share: float, text: str = "1.9*dx/r**2") -> ParetoFront:
    """The front of an output that is one component and a share of another, after completion."""
    first = (2 * DX + 2 * share * DY) / R**2 + NOISE[0]
    second = 3 * DY / R**2 + NOISE[1]
    fronts = {"edge[0]": front(text, first), "edge[1]": front("3.1*dy/r**2", second)}
    return complete([fit("edge[0]", first), fit("edge[1]", second)], fronts)["edge[0]"]


def terms(equation: Equation) -> set[sympy.Expr]:
    parts = sympy.Add.make_args(sympy.expand(equation.sympy))
    return {part.as_coeff_Mul()[1] for part in parts}


def test_a_component_that_the_knee_left_out_is_taken_up() -> None:
    found = completed(0.3)
    assert found.behind
    assert terms(found.best) == set(sympy.sympify("{dx/r**2, dy/r**2}"))
    error = found.best.predict(X) - (2 * DX + 0.6 * DY) / R**2
    assert np.abs(error).max() < 0.5
    assert found.select("knee") in found.equations


def test_what_the_search_found_already_becomes_the_choice() -> None:
    first = (2 * DX + 0.6 * DY) / R**2 + NOISE[0]
    own = front("1.9*dx/r**2", first)
    better = front("(2.0*dx + 0.6*dy)/r**2", first).best
    fronts = {
        "edge[0]": ParetoFront.of([*own, better], own.variance),
        "edge[1]": front("3.1*dy/r**2", 3 * DY / R**2 + NOISE[1]),
    }
    fronts["edge[0]"] = fronts["edge[0]"].described([0.0, 1.0])
    fits = [fit("edge[0]", first), fit("edge[1]", 3 * DY / R**2 + NOISE[1])]
    found = complete(fits, fronts)["edge[0]"]
    assert terms(found.best) == set(sympy.sympify("{dx/r**2, dy/r**2}"))


def test_all_samples_confirm_a_share_for_which_the_held_out_ones_are_too_few() -> None:
    assert terms(completed(0.1).best) == set(sympy.sympify("{dx/r**2, dy/r**2}"))


def test_a_constant_stays_and_none_comes_along() -> None:
    with_constant = completed(0.3, text="1.9*dx/r**2 + 0.01")
    assert sympy.Integer(1) in terms(with_constant.best)
    assert sympy.Integer(1) not in terms(completed(0.3).best)


def test_a_sum_that_would_be_too_long_takes_the_form_of_the_other_output() -> None:
    """Both are the same factor times a sum: no more is missing than a term of that sum."""
    y = (2 * DX + 0.6 * DY) * (1 - 1 / R) + NOISE[0]
    own = front("2.03*dx*(1.01 - 1/r)", y).best
    other = front("(1.0 - 1.02/r)*(0.31*dx + 2.97*dy)", y).best
    samples = Dataset(X[:800], y[:800]), Dataset(X[800:], y[800:])
    found = completion(*samples, own, [other], Limits(OPERATORS, 15))
    assert found is not None
    assert found.complexity <= 15
    assert terms(found) == set(sympy.sympify("{dx, dy, dx/r, dy/r}"))


def test_a_robust_share_is_found_though_part_of_the_samples_lack_it() -> None:
    """What these have is right already: a narrow loss that starts there never leaves."""
    rows = np.random.default_rng(0).random(1000) < 0.6
    y = DX + 0.5 * DY * rows
    fit, holdout = (
        Dataset(X[k], y[k], None, Loss("cauchy", 0.1)) for k in (slice(800), slice(800, None))
    )
    own, other = front("1.01*dx", y).best, front("1.01*dy", y).best
    found = completion(fit, holdout, own, [other], Limits(OPERATORS, 25))
    assert found is not None
    assert float(found.sympy.coeff(sympy.Symbol("dy"))) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_nothing_is_taken_up_that_is_not_there(share: float) -> None:
    found = completed(share)
    assert found.behind == ()
    assert terms(found.best) == set(sympy.sympify("{dx/r**2}"))


def test_a_choice_is_stored_and_read_back() -> None:
    found = completed(0.3)
    assert ParetoFront.from_json(found.to_json()) == found
    assert "behind" not in completed(0.0).to_json()


def test_a_choice_of_before_is_read() -> None:
    found = completed(0.3)
    stored = {key: item for key, item in found.to_json().items() if key != "behind"}
    for number in range(len(found)):
        read = ParetoFront.from_json(stored | {"choice": number})
        assert read.best == found[number]
        assert read.runner_up is None
        assert ParetoFront.from_json(read.to_json()) == read
    for wrong in (len(found), -1, "0", True):
        with pytest.raises(ExpressionError, match="choice"):
            ParetoFront.from_json(stored | {"choice": wrong})


def test_what_another_output_confirms_is_not_told_in_nats() -> None:
    """Its form is paid there; that of a shorter one lacks what samples confirm."""
    found = completed(0.3)
    assert found.behind == (math.inf, 0.0)
    assert found.runner_up is None
