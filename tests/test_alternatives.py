"""Equations that do without an input, from what was recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.modules.samples import Samples
from symcompile.pruning.alternatives import Alternatives
from symcompile.regression.pareto import ParetoFront

OPERATORS = OperatorSet.of(["+", "-", "*", "inv"])
NAMES = ("dx", "dy", "r", "m", "q")
RNG = np.random.default_rng(0)
V = np.column_stack([RNG.normal(size=(1000, 2)), RNG.uniform(0.5, 3, (1000, 3))])
DX, DY, R, M, _ = V.T
# Two components of a spring, mixed, each times a factor of its own in m.
FIRST = (DX + 0.3 * DY) * (1 - 1 / R) * (1 + 0.05 * M) + 0.02 * RNG.normal(size=1000)
SECOND = 2 * DY * (1 - 1 / R) + 0.1 * RNG.normal(size=1000)
LAW = {"dx", "dy", "dx/r", "dy/r"}


def equation(text: str) -> Equation:
    return Equation.of(sympy.sympify(text), NAMES, OPERATORS)


def front(*texts: str, y: np.ndarray) -> ParetoFront:
    equations = [equation(text) for text in texts]
    losses = [float(np.mean((one.predict(V) - y) ** 2)) for one in equations]
    scored = [
        replace(one, loss=loss, holdout_loss=loss)
        for one, loss in zip(equations, losses, strict=True)
    ]
    return ParetoFront.of(scored, float(y.var()))


@pytest.fixture(scope="module")
def recorded() -> Alternatives:
    held = np.arange(1000) % 5 == 0
    fronts = {
        0: front("dx", "(dx + 0.3*dy)*(1 - 1/r)*(1.01 + 0.05*m + 0.001*m*m)", y=FIRST),
        1: front("2*dy", "2*dy*(1 - 1/r)", y=SECOND),
    }
    samples = Samples(V, np.column_stack([FIRST, SECOND]), held)
    return Alternatives(NAMES, samples, OPERATORS, fronts)


def terms(one: Equation) -> set[str]:
    """Without factors, and without terms of which there is hardly anything."""
    found = sympy.Add.make_args(sympy.expand(one.sympy))
    shares = [term.as_coeff_Mul() for term in found]
    return {str(form) for factor, form in shares if abs(factor) > 0.02}


def test_an_input_goes_and_the_law_stays(recorded: Alternatives) -> None:
    given = {0: recorded.fronts[0].most_accurate, 1: recorded.fronts[1].most_accurate}
    trials = dict(recorded.fewer(given, needed={"dx", "dy"}))
    assert list(trials) == ["m", "r"]
    assert terms(trials["m"][0]) == LAW
    assert all("r" not in one.uses for one in trials["r"].values())


def test_no_input_comes_in_for_the_one_that_goes(recorded: Alternatives) -> None:
    for name, changed in recorded.fewer({0: equation("dx + 0.1*r")}, needed=set()):
        assert all(one.uses <= {"dx", "r"} - {name} for one in changed.values())


def test_an_output_takes_up_what_another_has_come_to_consist_of(recorded: Alternatives) -> None:
    """Beside a form with m the other component of the first output was not recognised."""
    given = {0: equation("1.4*dx*(1 - 1/r)"), 1: equation("2*dy*(1 - 1/r)*(1 + 0.001*m)")}
    changed = dict(recorded.fewer(given, needed={"dx", "dy", "r"}))["m"]
    assert terms(changed[0]) == LAW


def test_outputs_mix_though_constants_were_left_out(recorded: Alternatives) -> None:
    """The samples still have the constant; beside it the other component would not be seen."""
    samples = recorded.samples
    shifted = replace(recorded, samples=replace(samples, Y=samples.Y + np.array([40.0, 0.0])))
    mixed = shifted.mixed({0: equation("1.1*dx*(1 - 1/r)"), 1: equation("2*dy*(1 - 1/r)")})
    assert set(mixed) == {0}
    assert terms(mixed[0]) == LAW
    assert mixed[0].complexity == complexity(mixed[0].form, OPERATORS)


def test_a_constant_that_was_not_left_out_stays(recorded: Alternatives) -> None:
    samples = recorded.samples
    shifted = replace(recorded, samples=replace(samples, Y=samples.Y + np.array([40.0, 0.0])))
    mixed = shifted.mixed({0: equation("1.1*dx*(1 - 1/r) + 39.0"), 1: equation("2*dy*(1 - 1/r)")})
    assert terms(mixed[0]) == LAW | {"1"}


def test_others_are_the_longest_and_fits_without_a_search(recorded: Alternatives) -> None:
    (_, longest), *fits = recorded.others({0: equation("dx"), 1: equation("2*dy")})
    assert longest[0].uses == {"dx", "dy", "r", "m"}
    assert terms(longest[1]) == {"dy", "dy/r"}
    assert [fitting.loss for fitting, _ in fits] == ["auto", "absolute"]
    for _, found in fits:
        assert [terms(found[k]) for k in (0, 1)] == [LAW, {"dy", "dy/r"}]


def test_a_law_is_found_that_only_the_strongest_samples_follow(recorded: Alternatives) -> None:
    """A network that has learned a law where it is strong, and gives noise where it is weak."""
    X = V.copy()
    X[:, 2] = RNG.uniform(0.2, 3, 1000)
    law = 2 * X[:, 1] / X[:, 2] ** 3
    y = np.where(np.abs(law) > 6, law, 2 * RNG.normal(size=1000))
    fronts = {0: ParetoFront((replace(equation("dy + 0.1*m*r/dx"), holdout_loss=1.0),), 1.0)}
    samples = replace(recorded.samples, X=X, Y=y[:, None])
    noisy = replace(recorded, samples=samples, fronts=fronts)
    for fitting, found in noisy.others({0: equation("dy")}):
        if fitting is not noisy:
            assert terms(found[0]) == {"dy/r**3"}


def test_the_only_input_can_not_go(recorded: Alternatives) -> None:
    assert recorded.fewer({0: equation("dx")}, needed=set()) == []
