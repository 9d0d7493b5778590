"""Refine: from overgrown candidates to clean, well-fitted, held-out-tested equations."""

import math

import numpy as np
import pytest
import sympy
from sympy import exp, log, sin

from symcompile.expressions import equation as equation_module
from symcompile.expressions.canonical import Algebra
from symcompile.expressions.equation import Equation
from symcompile.expressions.light_code import as_expression, from_sympy
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.slots import slot
from symcompile.regression.dataset import Dataset
from symcompile.regression.forms import exact_values, reductions
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.limits import Limits
from symcompile.regression.refine import Refine, _Pool, best_first, refine

x, y = sympy.symbols("x y")
OPERATORS = OperatorSet.of(None)
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0.2, 2.0, (1000, 2))


def samples(values: np.ndarray, X: np.ndarray = POINTS) -> tuple[Dataset, Dataset]:
    return Dataset(X[:800], values[:800]), Dataset(X[800:], values[800:])


def refined(expr: sympy.Expr, values: np.ndarray, operators=OPERATORS, **options):
    fit, holdout = samples(values)
    candidates = [Equation.of(expr, ["x", "y"], operators)]
    return refine(candidates, fit, holdout, Limits(operators, 30), Refine(**options))


def test_dead_terms_go_and_constants_are_fitted() -> None:
    values = 1.237 * np.exp(-0.731 * POINTS[:, 0]) * POINTS[:, 1]
    values = values + 1e-4 * np.random.default_rng(1).normal(size=1000)
    grown = 1.1 * exp(-0.6 * x + 0.01) * (y + 0.001 * x) + 0.0001 * sin(3.1 * y) + 1e-5 * x
    best = refined(grown, values).best
    assert best.complexity == 10
    assert sorted(best.constants) == pytest.approx([-0.731, 1.237], rel=1e-3)


DEAD = [
    "x*y/(1.5 + x) - 6.7e-18",
    "x*y/(1.5 + x - 4.2e-17*y)",
    "x*y/(1.5 + x + 7.5e-14*y**2) + 3.5e-9",
    "(x + 3.1e-12*y)*(y - 1.2e-10)/(1.5 + x) + 1e-11*sin(3.1*x)",
    "x*y*exp(2.3e-12*x)/(1.5 + x)",
    "-y*(1.5/(x + 1.5 - 4.2e-17*y) - 1.0) - 6.7e-18",
]


@pytest.mark.parametrize("law", DEAD)
@pytest.mark.parametrize("seconds", [math.inf, 0.001], ids=["all the time", "no time"])
def test_what_no_value_needs_goes(
    law: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Taken in on however slow a machine.
    monkeypatch.setattr("symcompile.regression.refine._OFFER_SHARE", math.inf)
    values = POINTS[:, 0] * POINTS[:, 1] / (1.5 + POINTS[:, 0])
    fit, holdout = samples(values)
    operators = OperatorSet.of(["+", "-", "*", "/", "sin", "exp", "square"])
    candidate = Equation.of(parse(law, ["x", "y"]), ["x", "y"], operators)
    front = refine([candidate], fit, holdout, Limits(operators, 60).within(seconds))
    constants = [abs(c) for one in front for c in one.constants]
    assert min(constants) > 1e-3
    assert front.most_accurate.predict(POINTS) == pytest.approx(values, rel=1e-9)


def test_small_terms_that_values_need_stay() -> None:
    values = POINTS[:, 0] + 1e-5 * POINTS[:, 1] ** 2
    fit, holdout = samples(values)
    candidate = Equation.of(x + sympy.Float(1.1e-5) * y**2, ["x", "y"], OPERATORS)
    front = refine([candidate], fit, holdout, Limits(OPERATORS, 30))
    assert min(front.most_accurate.constants) == pytest.approx(1e-5)


def test_nothing_new_is_tried_when_the_time_is_over() -> None:
    values = 1.237 * np.exp(-0.731 * POINTS[:, 0]) * POINTS[:, 1]
    good = Equation.of(sympy.Float(1.23) * exp(sympy.Float(-0.73) * x) * y, ["x", "y"], OPERATORS)
    many = [
        Equation.of(sympy.Float(1.0 + k / 7) * x**k + y, ["x", "y"], OPERATORS, loss=9.0 + k)
        for k in range(2, 60)
    ]
    fit, holdout = samples(values)
    limits = Limits(OPERATORS, 30)
    best = refine([*many, good], fit, holdout, limits.within(1.5)).best
    assert best.form == good.form  # what nobody has measured comes first
    assert best.constants == pytest.approx([1.237, -0.731])
    front = refine([*many, good], fit, holdout, limits.within(0.0))
    assert len(front) == 1  # the mean


def test_the_best_of_each_complexity_come_first() -> None:
    def one(complexity: int, loss: float) -> Equation:
        return Equation(x, ("x",), (), complexity, loss)

    given = [one(5, 0.3), one(3, 0.5), one(5, 0.1), one(3, math.nan), one(5, 0.2), one(3, 0.4)]
    order = [(e.complexity, e.loss) for e in best_first(given)]
    assert str(order) == "[(3, nan), (5, 0.1), (3, 0.4), (5, 0.2), (3, 0.5), (5, 0.3)]"


def test_a_linear_map_of_five_terms_keeps_all_five() -> None:
    X = np.random.default_rng(2).uniform(-1, 1, (1000, 5))
    weights = np.array([1.03, 0.92, -1.11, 0.83, 1.21])
    values = X @ weights + 0.1 * np.random.default_rng(3).normal(size=1000)
    symbols = sympy.symbols("a b c d e")
    expr = sum(sympy.Float(0.9 + i / 50) * s for i, s in enumerate(symbols)) + sympy.Float(0.1)
    candidate = Equation.of(expr, [s.name for s in symbols], OPERATORS)
    fit, holdout = samples(values, X)
    front = refine([candidate], fit, holdout, Limits(OPERATORS, 30))
    assert front.best.form.free_symbols >= set(symbols)
    assert front.best.complexity <= 19
    assert front.r2(front.best) > 0.99


@pytest.mark.parametrize(
    ("expr", "value"),
    [(2.01 * x * y, 2.0), (0.334 * x, 1 / 3), (3.1 * x, math.pi), (1.02 * x * y, None)],
)
def test_exact_numbers_within_the_interval_are_found(expr: sympy.Expr, value: float | None) -> None:
    law = (expr.subs(dict.fromkeys(expr.atoms(sympy.Float), value or 1))).evalf()
    values = sympy.lambdify([x, y], law)(*POINTS.T)
    best = refined(expr, np.asarray(values)).best
    assert best.constants == (() if value is None else (value,))
    assert not best.sympy.atoms(sympy.Float)
    kept = refined(expr, np.asarray(values), snap=False).best
    assert len(kept.constants) <= 1


def test_a_constant_that_is_clearly_not_exact_stays() -> None:
    values = 3.145 * POINTS[:, 0] + 1e-4 * np.random.default_rng(1).normal(size=1000)
    assert refined(3.1 * x, values).best.constants == pytest.approx([3.145], abs=1e-4)


def test_snapping_never_leaves_the_operator_set() -> None:
    values = np.cos(2.3 * POINTS[:, 0])
    front = refined(sin(2.3 * x + 1.57), values)
    assert all(not equation.form.has(sympy.cos) for equation in front)
    assert front.best.holdout_loss < 1e-20


def test_domain_errors_on_a_recorded_sample_drop_the_candidate() -> None:
    operators = OperatorSet.of(["+", "*", "log"])
    values = np.log(POINTS[:, 0])
    values[900] = 0.0
    shifted = POINTS.copy()
    shifted[900, 0] = -0.5
    fit, holdout = samples(values, shifted)
    candidates = [Equation.of(log(x), ["x", "y"], operators)]
    front = refine(candidates, fit, holdout, Limits(operators, 30))
    assert not any(equation.form.has(sympy.log) for equation in front)


def test_restarts_merge_and_the_front_is_on_held_out_loss() -> None:
    values = POINTS[:, 0] * POINTS[:, 1] + 0.3
    fit, holdout = samples(values)
    parts = [Equation.of(e, ["x", "y"], OPERATORS) for e in (0.9 * x, 1.1 * x * y + 0.2)]
    front = refine(parts, fit, holdout, Limits(OPERATORS, 30))
    assert list(front.complexities) == sorted(front.complexities)
    losses = [equation.holdout_loss for equation in front]
    assert losses == sorted(losses, reverse=True)
    assert front.most_accurate.holdout_loss < 1e-20
    np.testing.assert_allclose(front.variance, np.var(values[800:]))


def test_what_is_nearly_one_is_left_out_where_that_describes_the_outputs_as_well() -> None:
    """A network's smooth error moves constants by more than chance; independent errors do not."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.5, 2.0, (2000, 1))
    u = X[:, 0]
    law, smooth = u * np.exp(-u), 0.003 * np.sin(5.0 * u)
    noise = 0.002 * rng.normal(size=2000)
    form = Equation.of(1.01 * x * exp(-1.02 * x), ("x",), OPERATORS)
    for values, exact in ((law + smooth, True), (1.02 * law + noise, False)):
        fit, holdout = Dataset(X[:1600], values[:1600]), Dataset(X[1600:], values[1600:])
        found = refine([form], fit, holdout, Limits(OPERATORS, 30), Refine(prune=False))
        longest = max((e for e in found if e.sympy.has(exp)), key=lambda e: len(e.constants))
        shortest = min((e for e in found if e.sympy.has(exp)), key=lambda e: len(e.constants))
        assert (len(shortest.constants) == 0) == exact, shortest
        assert longest.complexity >= shortest.complexity


def test_of_few_rows_one_spelling_of_a_function_stays() -> None:
    """Forms that no row can tell apart are one; what differs by a part of the noise is another."""
    X = np.linspace(1.0, 4.0, 9)[:, None]
    y = 2.0 * np.log(X[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=9)
    data = Dataset(X, y, folds=np.arange(9))
    operators = OperatorSet.of(["+", "*", "/", "log", "square", "sqrt"])
    powers = ("1.1*log(x*x)", "4.3*log(sqrt(x))", "0.6*log(x*x*x*x)", "2.1*log(x)")
    texts = (*powers, "2.0*log(x + 0.1)")
    forms = [Equation.of(parse(text, ("x",)), ("x",), operators) for text in texts]
    found = refine(forms, data, data, Limits(operators, 30), Refine(prune=False, snap=False))
    logs = [e.text(2) for e in found if "log" in e.text()]
    assert sum("+" in text for text in logs) == 1
    assert logs[0] == "2.0*log(x)"
    assert len(logs) == 2


def test_the_limit_holds_and_the_mean_is_always_there() -> None:
    values = np.sin(3 * POINTS[:, 0]) * np.exp(POINTS[:, 1])
    fit, holdout = samples(values)
    candidates = [Equation.of(1.1 * sin(3.1 * x) * exp(0.9 * y), ["x", "y"], OPERATORS)]
    front = refine(candidates, fit, holdout, Limits(OPERATORS, 4))
    assert max(front.complexities) <= 4
    assert front[0].complexity == 1


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_limit_is_for_what_is_left_when_factors_of_one_are_gone(sign: float) -> None:
    operators = OperatorSet.of(("+", "-", "*", "/", "sin"))
    values = 3 * POINTS[:, 0] * (np.sin(POINTS[:, 1]) + sign * POINTS[:, 1] ** 2)
    law = slot(0) * x * (sin(y) + slot(1) * y**2)
    long = Equation.of(law.subs({slot(0): 2.9, slot(1): 1.02 * sign}), ["x", "y"], operators)
    fit, holdout = samples(values)
    best = refine([long], fit, holdout, Limits(operators, long.complexity - 2)).equations[-1]
    assert best.complexity == long.complexity - 2
    assert best.loss < 1e-20
    # What is no factor of one stays beyond the limit.
    values = values + 0.5 * POINTS[:, 0] * POINTS[:, 1] ** 2
    fit, holdout = samples(values)
    front = refine([long], fit, holdout, Limits(operators, long.complexity - 2))
    assert front.complexities[-1] <= long.complexity - 2
    assert front.losses[-1] > 1e-6


def test_weights_count() -> None:
    X = POINTS
    values = np.where(np.arange(1000) % 2 == 0, 2.0, -1.0) * X[:, 0]
    weights = np.where(np.arange(1000) % 2 == 0, 1.0, 0.0)
    fit = Dataset(X[:800], values[:800], weights[:800])
    holdout = Dataset(X[800:], values[800:], weights[800:])
    candidates = [Equation.of(0.5 * x, ["x", "y"], OPERATORS)]
    front = refine(candidates, fit, holdout, Limits(OPERATORS, 30))
    np.testing.assert_allclose(front.best.predict(X), 2.0 * X[:, 0])


def test_reductions_leave_out_one_part_each() -> None:
    tree = from_sympy(slot(0) * x * sin(y + slot(1)) + y, ["x", "y"], [])
    found = {as_expression(less, ["x", "y"]) for less in reductions(tree)}
    assert slot(0) * x * sin(y + slot(1)) in found
    assert slot(0) * x * sin(y) + y in found
    assert x * sin(y + slot(1)) + y in found
    assert y in found


@pytest.mark.parametrize(
    ("value", "width", "found"),
    [
        (2.0004, 0.001, [2]),
        (2.0004, 0.0001, []),
        (0.5001, 0.0005, [sympy.Rational(1, 2)]),
        (3.1416, 0.001, [sympy.pi]),
        (1.5708, 0.001, [sympy.pi / 2]),
        (1.37, 1.0, []),
        (1e9, 1.0, []),
        (math.nan, 1.0, []),
        (2.0, math.inf, []),
    ],
)
def test_exact_values(value: float, width: float, found: list[sympy.Expr]) -> None:
    assert [as_expression(exact, ()) for exact in exact_values(value, width)] == found


def test_least_squares_reaches_float64_and_tells_errors() -> None:
    decay = Equation(slot(0) * exp(slot(1) * x), ("x", "y"), (1.0, 0.0), 6)
    values = 1.7 * np.exp(-0.4 * POINTS[:, 0])
    exact = fit_constants(decay, Dataset(POINTS, values), 50)
    assert exact.constants == pytest.approx((1.7, -0.4), rel=1e-12)
    noisy = values + 0.01 * np.random.default_rng(5).normal(size=1000)
    fit = fit_constants(decay, Dataset(POINTS, noisy), 50)
    for got, truth, error in zip(fit.constants, (1.7, -0.4), fit.errors, strict=True):
        assert abs(got - truth) < 4 * error < 0.02


def test_undetermined_constants_have_no_error_bar() -> None:
    product = Equation(slot(0) * slot(1) * x, ("x", "y"), (1.0, 1.0), 5)
    fit = fit_constants(product, Dataset(POINTS, 2 * POINTS[:, 0]), 50)
    assert fit.loss < 1e-20
    assert fit.errors == (math.inf, math.inf)


def test_sympy_is_asked_for_what_the_front_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    build = equation_module.as_expression
    monkeypatch.setattr(equation_module, "as_expression", lambda *a: made.append(a) or build(*a))
    constants = [1.1, -0.6, 0.001, 0.0001, 3.1]
    text = "c0*exp(c1*x)*(y + c2*x) + c3*sin(c4*y)"
    expr = parse(text, ["x", "y", *(f"c{k}" for k in range(5))])
    form = expr.subs({f"c{k}": slot(k) for k in range(5)})
    tree = from_sympy(form, ["x", "y"], [])
    candidates = [Equation.of_tree(tree, ["x", "y"], constants, OPERATORS)] * 2
    values = 1.237 * np.exp(-0.731 * POINTS[:, 0]) * POINTS[:, 1]
    fit, holdout = samples(values + 1e-4 * np.random.default_rng(1).normal(size=1000))
    front = refine(candidates, fit, holdout, Limits(OPERATORS, 30))
    assert front.best.form == slot(0) * y * exp(slot(1) * x)
    assert len(front) <= len(made) <= 2 * len(front) + 4


def test_a_canonical_candidate_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(Algebra, "form", lambda self, tree: calls.append(tree))
    tree = from_sympy(slot(0) * x * y + slot(1), ["x", "y"], [])
    one = Equation.of_canonical(tree, ["x", "y"], (1.5, 0.5), OPERATORS)
    fit, holdout = samples(1.5 * POINTS[:, 0] * POINTS[:, 1])
    pool = _Pool(fit, holdout, Limits(OPERATORS, 30), Refine())
    pool.take(one)
    pool.take(one.updated(constants=(1.5, 0.0)))
    assert calls == []
    assert [e.constants for e in pool.equations.values()] == [(1.5, 0.0)]
    other = OperatorSet.of(["+", "sin"])
    _Pool(fit, holdout, Limits(other, 30), Refine()).take(one)  # these can't spell it
    assert calls == [tree]
