"""Laws of few variables from a table of small forms."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sympy
from known_laws import Known

from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.solutions import EXACT, KEPT, Solution, solutions
from symcompile.regression.structure.problem import Problem

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "square", "sqrt", "sin", "exp", "log", "tanh"])
AB: dict[str, tuple[float, float]] = {"a": (0.5, 2), "b": (1, 3)}

LAWS = (
    "a*b + 2*a",
    "1/(exp(a/b) - 1)",
    "3*exp(-a)*b",
    "sqrt(a**2 + b**2)",
    "1/sqrt(1 + a**2/b)",
    "2*log(a/b) - 1",
    "sin(a)**2/b",
    "exp(2*a - 3/b)",
    "tanh(a/b + 0.3)",
    "1/(2 + 3*a/b)",
    "5*a**1.5/sqrt(b)",
    "(1 - exp(-a))**2",
)

# A table of few forms.
FEW = (300,)


def best(found: list[Solution]) -> Solution:
    """The shortest of those that are exact, or else the one that errs least."""
    exact = [one for one in found if one.error < EXACT]
    return min(exact, key=lambda s: s.size) if exact else min(found, key=lambda s: s.error)


def on(solution: Solution, law: Known, X: Array) -> Array:
    return law.on(X, solution.build())


@pytest.mark.parametrize("text", LAWS)
def test_exact_laws_are_found(text: str) -> None:
    law = Known(text, 0, AB)
    found = best(solutions(law.problem(200), OPERATORS))
    X = law.inputs(100, seed=3)
    np.testing.assert_allclose(on(found, law, X), law.on(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "text", ["sqrt((1 - a)*(1 - b)*(1 - c))", "2*a + 1/b + sqrt(c)", "a*b/(1 - c)"]
)
def test_laws_of_three_terms_are_found(text: str) -> None:
    """And roots of what is negative in the table, which has each form up to its sign."""
    law = Known(text, 0, dict.fromkeys("abc", (0.1, 0.9)))
    found = best(solutions(law.problem(200), OPERATORS, FEW, terms=3))
    X = law.inputs(100, seed=3)
    np.testing.assert_allclose(on(found, law, X), law.on(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("text", LAWS[1:3])
def test_a_law_under_noise_is_the_shortest_that_leaves_noise_only(text: str) -> None:
    law = Known(text, 0, AB)
    found = solutions(law.problem(400, 0.01), OPERATORS)
    low = min(one.error for one in found)
    assert low < 0.0101
    X = law.inputs(100, seed=3)
    near = [
        one
        for one in found
        if one.error < 1.03 * low and np.std(on(one, law, X) - law.on(X)) < 0.003 * law.on(X).std()
    ]
    assert near


@pytest.mark.parametrize("terms", [2, 3])
def test_several_threads_find_the_same(terms: int) -> None:
    problem = Known("a*b + exp(-a)", 0, AB).problem(200, 0.01)
    alone, together = (
        [(one.error, one.build()) for one in solutions(problem, OPERATORS, FEW, terms=terms, **how)]
        for how in ({}, {"threads": 3})
    )
    assert alone
    assert together == alone


def test_errors_are_those_of_the_output() -> None:
    """Whatever transform they were found by, in units of the spread."""
    law = Known("1/sqrt(1 + a**2/b)", 0, AB)
    X, y = law.samples(150, 0.02)
    weight = np.linspace(0.5, 2.0, 150)
    problem = Problem.of(X, y, law.names, weight)
    for one in solutions(problem, OPERATORS, FEW):
        with np.errstate(all="ignore"):
            errors = weight * (on(one, law, X) - y)
        assert one.error == pytest.approx(np.sqrt(np.mean(errors**2)) / problem.spread, rel=1e-6)


def test_the_best_few_of_each_size_are_handed_on_in_order() -> None:
    found = solutions(Known("sin(a*b) + 0.3*a", 0, AB).problem(150, 0.05), OPERATORS, FEW)
    sizes = [one.size for one in found]
    assert sizes == sorted(sizes)
    assert max(sizes.count(size) for size in sizes) <= KEPT


def test_rows_of_no_weight_are_none() -> None:
    law = Known("3*exp(-a)*b", 0, AB)
    X, y = law.samples(300)
    spoiled, weight = y.copy(), np.ones(300)
    spoiled[::4], weight[::4] = 50.0, 0.0
    found = best(solutions(Problem.of(X, spoiled, law.names, weight), OPERATORS))
    assert found.error < EXACT
    np.testing.assert_allclose(on(found, law, X), y, rtol=1e-7)


@pytest.mark.parametrize(
    ("operators", "text", "unwanted"),
    [
        (["+", "*"], "a*b + 2*a", (sympy.exp, sympy.sin, sympy.log)),
        (["+", "-", "*", "sin"], "sin(a) - b", (sympy.exp, sympy.log)),
    ],
)
def test_few_operators_are_enough(
    operators: list[str], text: str, unwanted: tuple[type[sympy.Expr], ...]
) -> None:
    law = Known(text, 0, AB)
    found = solutions(law.problem(150), OperatorSet.of(operators))
    assert best(found).error < EXACT
    assert not any(one.build().has(*unwanted) for one in found)


def test_nothing_is_looked_for_after_the_deadline() -> None:
    past = time.monotonic()
    assert solutions(Known("a*b", 0, AB).problem(100), OPERATORS, deadline=past) == []
