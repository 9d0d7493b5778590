"""Sparse rational laws, solved for."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
import sympy
from known_laws import Known

from symcompile.expressions.evaluation import Array
from symcompile.regression.computed.rational import DEGREES, Quotient, quotients
from symcompile.regression.structure.problem import Problem

EXACT = 1e-9
ABC: dict[str, tuple[float, float]] = {"a": (1, 4), "b": (0.5, 3), "c": (-1, 2)}
AB = {name: ABC[name] for name in "ab"}

# Each with the terms that it has.
LAWS = {
    "a*b/(a + b)": (3, AB),
    "(1 + 2*a)/(3 + b**2)": (4, AB),
    "(a - b)/(1 - a*b/20)": (4, AB),
    "3*a**2*c/(b + 0.5*a*b)": (3, ABC),
    "(a + b + c)/(2 + c**2)": (5, ABC),
    "2*a - 3*b + 0.5*a*b": (4, AB),
    "4/(a**2*b)": (2, AB),
}


def on(quotient: Quotient, law: Known, X: Array) -> Array:
    return law.on(X, quotient.build())


@pytest.mark.parametrize("text", LAWS)
def test_exact_laws_are_met_with_their_own_terms(text: str) -> None:
    size, ranges = LAWS[text]
    law = Known(text, 0, ranges)
    found = list(quotients(law.problem(300), EXACT))
    best = min((one for one in found if one.error < EXACT), key=lambda one: one.size)
    assert best.size == size
    X = law.inputs(100, seed=3)
    np.testing.assert_allclose(on(best, law, X), law.on(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("text", ["a*b/(a + b)", "(1 + 2*a)/(3 + b**2)"])
def test_laws_are_met_through_noise(text: str) -> None:
    """The one with as many terms as the law is the law, and longer ones are no better."""
    size, ranges = LAWS[text]
    law = Known(text, 0, ranges)
    found = list(quotients(law.problem(700, 0.01), EXACT))
    own = min((one for one in found if one.size == size), key=lambda one: one.error)
    assert own.error == pytest.approx(0.01, rel=0.1)
    X = law.inputs(100, seed=3)
    assert np.std(on(own, law, X) - law.on(X)) < 0.004 * law.on(X).std()
    shorter = [one.error for one in found if one.size < size]
    assert min(shorter, default=1.0) > 3 * own.error


def test_terms_are_taken_away_one_by_one() -> None:
    law = Known("(1 + 2*a)/(3 + b**2)", 0, AB)
    found = list(quotients(law.problem(300, 0.01), EXACT))
    runs = [size for one, other in pairwise(found) if (size := one.size - other.size) > 0]
    assert set(runs) <= {1, 2}
    assert all(one.above and one.below for one in found)
    assert max(one.size for one in found) <= 12


def test_the_error_is_that_of_the_output() -> None:
    law = Known("a*b/(a + b)", 0, AB)
    X, y = law.samples(200, 0.05)
    weight = np.linspace(0.5, 2.0, 200)
    problem = Problem.of(X, y, law.names, weight)
    for one in quotients(problem, EXACT):
        errors = weight * (on(one, law, X) - y)
        assert one.error == pytest.approx(np.sqrt(np.mean(errors**2)) / problem.spread, rel=1e-6)


def test_rows_of_no_weight_are_none() -> None:
    law = Known("a*b/(a + b)", 0, AB)
    X, y = law.samples(300)
    spoiled, weight = y.copy(), np.ones(300)
    spoiled[::4], weight[::4] = 50.0, 0.0
    found = list(quotients(Problem.of(X, spoiled, law.names, weight), EXACT))
    assert min(one.error for one in found) < EXACT


def test_no_denominator_changes_its_sign() -> None:
    """Of a law with a pole among the samples there is nothing that has one."""
    law = Known("1/(a - 2.5)", 0, AB)
    X = law.inputs(300)
    y = np.clip(law.on(X), -5, 5)
    for one in quotients(Problem.of(X, y, law.names), EXACT):
        terms = sympy.Add(*(value * term for term, value in one.below))
        below = law.on(X, terms)
        assert (below > 0).all() or (below < 0).all()


def test_an_exact_law_ends_it_and_so_does_the_deadline() -> None:
    law = Known("2*a/b", 0, AB)
    found = list(quotients(law.problem(100), EXACT))
    assert max(sympy.Poly(term, *law.symbols).total_degree() for term, _ in found[0].above) <= 1
    assert not list(quotients(law.problem(100), EXACT, deadline=time.monotonic()))


def test_many_variables_have_too_many_terms() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"x{k}" for k in range(60))
    X = rng.uniform(1, 2, (100, 60))
    assert not list(quotients(Problem.of(X, X[:, 0] / X[:, 1], names), EXACT))
    assert DEGREES[0] == (1, 1)


def test_variables_that_depend_on_each_other_leave_something_to_solve() -> None:
    """Of such terms a sum is zero, and what is below it is rounding."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400))
    r = np.hypot(a, b) + 0.01
    X = np.stack([a, b, r, *np.exp(rng.normal(size=(2, 400)))], axis=1)
    y = np.tanh((1 - 1 / r) * (a + 2 * b)) + 0.1 * rng.normal(size=400)
    found = list(quotients(Problem.of(X, y, tuple("abrmq")), EXACT))
    assert found
    assert all(np.isfinite(one.error) for one in found)
