"""Laws whose rates and frequencies are no inputs."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from known_laws import Known

from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed import computed_laws
from symcompile.regression.computed.inner import with_inner_constants
from symcompile.regression.dataset import Dataset
from symcompile.regression.limits import Limits

ALL = OperatorSet.of(["+", "*", "sin", "cos", "exp"])
T: dict[str, tuple[float, float]] = {"t": (0, 3)}
XT: dict[str, tuple[float, float]] = {"x": (0, 1), "t": (0, 2)}

LAWS = {
    "damped": Known("2*exp(-0.6*t)*cos(11.3*t + 0.4)", 0, T),
    "two rates": Known("3*exp(-0.4*t) - 2*exp(-2.9*t)", 0, T),
    "beat": Known("sin(17*t) + 0.5*cos(5.5*t)", 0, T),
    "standing": Known("1.5*sin(3.14*x)*cos(7.7*t) + 0.2", 0, XT),
}


@pytest.mark.parametrize("name", LAWS)
def test_constants_come_near(name: str) -> None:
    """So near that least squares move them to where they are."""
    law = LAWS[name]
    X, y = law.samples(250)
    exprs = list(with_inner_constants(law.problem(250), ALL))
    left = [np.std(law.on(X, expr) - y) / y.std() for expr in exprs]
    assert 0 < len(exprs) < 200
    assert min(left) < 0.3


@pytest.mark.parametrize("name", ["damped", "standing"])
def test_the_law_is_computed(name: str) -> None:
    law = LAWS[name]
    with np.errstate(all="ignore"):
        found = computed_laws(Dataset(*law.samples(250)), law.names, Limits(ALL, 30).within(20.0))
    assert found.complete
    best = min(found.equations, key=lambda e: e.loss)
    X = law.inputs(100, seed=3)
    np.testing.assert_allclose(best.predict(X), law.on(X), atol=1e-6)


@pytest.mark.parametrize(
    ("operators", "functions"),
    [
        (["+", "*", "sin"], {"sin"}),
        (["+", "*", "exp"], {"exp"}),
        (["+", "*", "inv"], set()),
        (["+", "sin", "exp"], set()),
    ],
)
def test_only_what_is_allowed_is_used(operators: list[str], functions: set[str]) -> None:
    problem = LAWS["damped"].problem(100)
    exprs = list(with_inner_constants(problem, OperatorSet.of(operators)))
    assert {str(f.func) for expr in exprs for f in expr.atoms(sympy.Function)} <= functions
    assert bool(exprs) is bool(functions)


@pytest.mark.parametrize("wave", ["sin", "cos"])
def test_one_of_two_waves_is_enough(wave: str) -> None:
    law = LAWS["damped"]
    operators = OperatorSet.of(["+", "*", "exp", wave])
    with np.errstate(all="ignore"):
        limits = Limits(operators, 30).within(20.0)
        found = computed_laws(Dataset(*law.samples(250)), law.names, limits)
    assert found.complete


def test_weights_count() -> None:
    law = LAWS["damped"]
    X, y = law.samples(300)
    weights = np.ones(300)
    weights[::3] = 0.0
    data = Dataset(X, np.where(weights > 0, y, 50.0), weights)
    with np.errstate(all="ignore"):
        found = computed_laws(data, law.names, Limits(ALL, 30).within(20.0))
    assert found.complete


def test_many_variables_have_none() -> None:
    law = Known("sin(a) + b + c + d", 0, dict.fromkeys("abcd", (0.0, 1.0)))
    assert not list(with_inner_constants(law.problem(100), ALL))
