"""Groups: a fit rid of its units, and what is found of it back in the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.units import Units
from symcompile.regression.computed import Computed
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines.engine import with_dimensions
from symcompile.regression.fit import Fit, refine_task, searched
from symcompile.regression.groups import WAYS, all_grouped, grouped
from symcompile.regression.limits import Limits
from symcompile.regression.pareto import ParetoFront
from symcompile.regression.sparse import without_search

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "square", "sqrt", "exp"])
ASKED: list[tuple[str, ...]] = []


@dataclass(frozen=True)
class Asking:
    """An engine that notes what it is asked for, and finds its first input."""

    operators: OperatorSet = OPERATORS
    max_complexity: int = 20
    restarts: int = 4
    name: str = field(default="asking", init=False)

    def fit(self, X: Any, y: Any, *, names: Sequence[str], **_: Any) -> ParetoFront:
        ASKED.append(tuple(names))
        found = Equation.of(2.5 * sympy.Symbol(names[0]), names, self.operators, 0.1)
        return ParetoFront.of([found], 1.0)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def made(
    law: str, units: dict[str, str], output: str | None, low: float = 1.0, pure: bool = False
) -> Fit:
    names = tuple(units)
    X = np.random.default_rng(0).uniform(low, 3.0, (80, len(names)))
    y = Equation.of(parse(law, names), names, OPERATORS).predict(X)
    dimensions, (result,) = Units(units, output, pure).of_inputs(names, 1)
    engine = with_dimensions(Asking(), dimensions.for_output(result))
    return Fit("y", Dataset(X[:60], y[:60]), Dataset(X[60:], y[60:]), names, engine)


MASS = {"m": "kg", "v": "m/s", "c": "m/s"}
AIR = {"n": "m**-3", "m": "kg", "g": "m/s**2", "x": "m", "T": "J"}


@pytest.mark.parametrize(
    ("units", "output", "scale", "groups"),
    [
        (MASS, "kg", (1, 0, 0), [(0, 1, -1)]),
        (AIR, "m**-3", (1, 0, 0, 0, 0), [(1, 0, 0, 3, 0), (0, 1, 1, 1, -1)]),
        ({"m": "kg", "M": "kg", "v": "m/s"}, "J", (1, 0, 2), [(1, -1, 0)]),
        ({"l": "m", "g": "m/s**2", "a": "1"}, "m*s**-2", (0, 1, 0), [(0, 0, 1)]),
    ],
)
def test_what_units_leave(units: Any, output: str, scale: Any, groups: Any) -> None:
    ways = all_grouped(made("1 + 0*" + next(iter(units)), units, output))
    assert ways[0].scale == scale
    assert list(ways[0].groups) == groups
    assert 1 <= len(ways) <= WAYS
    assert len({way.scale for way in ways}) == len(ways)


@pytest.mark.parametrize(
    ("units", "output"),
    [
        (MASS, None),  # the output's unit is not known
        (MASS, "A"),  # no product has it
        ({"x": "m", "t": "s"}, "m"),  # nothing is left
        ({"a": "1", "b": "1"}, "1"),  # there is nothing to be rid of
        (dict.fromkeys("abcdefg", "m"), "m"),  # too many to look at
    ],
)
def test_where_there_are_none(units: dict[str, str], output: str | None) -> None:
    assert all_grouped(made("1 + 0*" + next(iter(units)), units, output)) == []


def test_no_fit_without_units_has_any() -> None:
    fit = made("m", MASS, "kg")
    assert grouped(replace(fit, engine=Asking())) is None


def test_no_power_of_what_is_zero_somewhere() -> None:
    """c is what is divided by, unless it is zero on some row."""
    X = np.random.default_rng(0).uniform(1, 3, (80, 3))
    X[5, 2] = 0.0
    fit = made("m", MASS, "kg")
    fit = replace(fit, data=Dataset(X[:60], fit.data.y), holdout=Dataset(X[60:], fit.holdout.y))
    assert all_grouped(fit)[0].groups == ((0, -1, 1),)
    X[5] = 0.0, 1.0, 1.0  # and what all is divided by
    fit = replace(fit, data=Dataset(X[:60], fit.data.y))
    assert all_grouped(fit) == []


def test_what_is_found_is_written_in_the_inputs() -> None:
    fit = made("m/sqrt(1 - v**2/(10*c**2))", MASS, "kg")
    one = grouped(fit)
    assert one is not None
    smaller = one.reduced()
    assert smaller.names == ("g0",)
    assert smaller.engine.operators == OPERATORS
    v, c = fit.data.X[:, 1], fit.data.X[:, 2]
    np.testing.assert_allclose(smaller.data.X[:, 0], v / c)
    np.testing.assert_allclose(smaller.data.y, fit.data.y / fit.data.X[:, 0])
    found = Equation.of(parse("1.0/sqrt(1.0 - 0.1*g0**2)", ["g0"]), ["g0"], OPERATORS, 0.5)
    (law,) = one.restored([found])
    assert law.symbols == fit.names
    assert law.complexity == complexity(law.form, fit.engine.operators)
    np.testing.assert_allclose(law.predict(fit.data.X), fit.data.y)
    assert fit.engine.operators.dimensions is not None
    assert fit.engine.operators.dimensions.check(law.form) is None


def test_an_error_weighs_what_it_does_in_the_users_unit() -> None:
    fit = made("m*(1 + v/c)", MASS, "kg")
    weights = np.linspace(0.5, 1.5, 60)
    fit = replace(fit, data=replace(fit.data, weights=weights))
    one = grouped(fit)
    assert one is not None
    guess = Equation.of(parse("1.1 + g0", ["g0"]), ["g0"], OPERATORS)
    (whole,) = one.restored([guess])
    expected = fit.data.loss_of(whole)
    smaller = one.reduced().data
    size = np.average(np.square(fit.data.X[:, 0]), weights=weights)
    assert smaller.loss_of(guess) * size == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "budget", "asked"),
    [
        ({}, None, [("m", "v", "c"), ("g0",), ("m", "v", "c"), ("g0",)]),
        ({}, 4.0, [("g0",), ("m", "v", "c")] * 4),
        ({"pure": True}, None, [("g0",)] * 4),
        ({"pure": True}, 4.0, [("g0",)] * 4),
    ],
)
def test_searches_take_turns(options: Any, budget: float | None, asked: Any) -> None:
    fit = replace(made("m*(1 + v/c)", MASS, "kg", **options), budget=budget)
    ASKED.clear()
    found = [equation for restart in range(4) for equation in searched(fit, restart, Computed())]
    assert asked == ASKED
    assert {equation.symbols for equation in found} == {fit.names}
    assert "2.5*m*v/c" in {equation.text() for equation in found}


def test_what_needs_no_search_is_looked_for_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = made("m*(v/c + 0.3*v**2/c**2 + 0.2)", MASS, "kg")
    asked: list[tuple[str, ...]] = []

    def noting(
        data: Dataset, names: tuple[str, ...], limits: Limits, *, monomials: bool = True
    ) -> list[Equation]:
        asked.append(names)
        return without_search(data, names, limits, monomials=monomials) if names == ("g0",) else []

    monkeypatch.setattr("symcompile.regression.fit.without_search", noting)
    front = refine_task(fit, Computed(), [])
    assert asked == [fit.names, *[("g0",)] * len(all_grouped(fit))]
    assert min(front.losses) < 1e-20
    dimensions = fit.engine.operators.dimensions
    assert dimensions is not None
    assert all(dimensions.check(equation.form) is None for equation in front)
