"""Searches for the logarithm, the inverse or the square of an output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from symcompile.regression.computed.laws import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import SearchProgress, create
from symcompile.regression.fit import Fit, searched
from symcompile.regression.transformed import Quiet, transformed

X = np.random.default_rng(0).uniform(0.5, 2.0, (300, 2))
A, B = X.T
ALL = ("+", "-", "*", "/", "sqrt", "exp")


def fit(y: np.ndarray, operators: Any = ALL, **options: Any) -> Fit:
    engine = create("operon", operators=operators, options={"population": 200, "generations": 8})
    halves = Dataset(X[:240], y[:240]), Dataset(X[240:], y[240:])
    return Fit("y", *halves, ("a", "b"), engine, **options)


def names(one: Fit) -> list[str | None]:
    found = (transformed(one, restart) for restart in range(10))
    return [None if other is None else other.transform.name for other in found]


def test_every_other_search_takes_its_turn_as_far_as_it_applies() -> None:
    plain = [None, None]
    turns = [*plain, "log y", None, "1/y", None, "y**2", None, *plain]
    assert names(fit(A + B)) == turns
    assert names(fit(A + B, ("+", "*", "/"))) == [*plain, "1/y", *[None] * 7]
    assert names(fit(-A - B)) == [*plain, "1/y", None, "y**2", *[None] * 5]  # no log
    assert names(fit(A - B)) == [*plain, "1/y", *[None] * 7]  # no root has both signs
    assert names(fit(A + B, ("+", "*"))) == [None] * 10


def test_of_what_is_positive_but_for_noise_the_rest_is_left_out() -> None:
    y = A + B
    y[::30] = -0.01
    other = transformed(fit(y), 2)
    assert other is not None
    assert other.data.count == 232
    np.testing.assert_allclose(other.data.y, np.log(y[:240][y[:240] > 0]))


@pytest.mark.parametrize(("restart", "slope"), [(2, 1 / (A + B)), (4, (A + B) ** -2.0)])
def test_errors_weigh_what_they_are_as_errors_of_the_output(
    restart: int, slope: np.ndarray
) -> None:
    own = np.linspace(1.0, 3.0, 300)
    one = fit(A + B)
    for weights in (None, own[:240]):
        other = transformed(replace(one, data=replace(one.data, weights=weights)), restart)
        assert other is not None
        expected = slope[:240] ** -2.0 * (1.0 if weights is None else weights)
        np.testing.assert_allclose(other.data.weights, expected)


@pytest.mark.parametrize(
    ("restart", "law"),
    [
        (2, np.exp(A * B - B)),
        (4, 1 / (0.3 + A * B)),
        (6, np.sqrt(A * B + B)),
        # Less than zero it has no logarithm.
        (2, -1 / (0.3 + A * B)),
        (4, -np.sqrt(A * B + B)),
    ],
)
def test_a_search_gives_equations_of_the_output(restart: int, law: np.ndarray) -> None:
    one = fit(law)
    found = [e for e in searched(one, restart, Computed()) if e.loss < 1e-8]
    best = min(found, key=lambda e: e.complexity)
    np.testing.assert_allclose(best.predict(X), law, rtol=1e-3, atol=1e-3)
    assert best.loss == one.data.loss_of(best)
    assert best.symbols == ("a", "b")


def test_with_units_all_searches_are_for_the_output() -> None:
    from test_groups import MASS, made

    assert names(made("m*(1 + v/c)", MASS, "kg")) == [None] * 10


def test_what_is_found_of_another_output_is_not_shown() -> None:
    told: list[SearchProgress] = []

    class Watch:
        def __call__(self, progress: SearchProgress) -> None:
            told.append(progress)

        def on_stop(self, halt: Any) -> None:
            halt(KeyError())

    quiet, halted = Quiet(Watch()), list[Any]()
    quiet(SearchProgress(0.5, "log(y)", 1e-9))
    quiet.on_stop(halted.append)
    assert (told[0].done, told[0].equation) == (0.5, "")
    assert not told[0].loss < np.inf
    assert len(halted) == 1
    assert getattr(Quiet(told.append), "on_stop", None) is None
