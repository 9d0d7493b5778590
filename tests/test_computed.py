"""Computed laws, from samples to equations that need no search."""

from __future__ import annotations

import pickle
import time
from typing import Any

import numpy as np
import pytest
from fitting import distill
from known_laws import KNOWN, Known

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed import Computed, computed_laws, laws
from symcompile.regression.dataset import Dataset
from symcompile.regression.engines import create
from symcompile.regression.fit import Fit, compute_task, refine_task
from symcompile.regression.limits import Limits
from symcompile.regression.losses import loss_for

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "square", "sqrt", "sin", "exp", "log"])
LIMITS = Limits(OPERATORS, 30)
SHORT = {"restarts": 1, "population": 50, "generations": 2}
QUOTIENT = Known("3*a/(b + c)", 0, {"a": (1, 5), "b": (1, 4), "c": (1, 4)})


@np.errstate(all="ignore")
def computed(data: Dataset, names: tuple[str, ...], limits: Limits = LIMITS) -> Computed:
    return computed_laws(data, names, limits)


def of(law: Known, rows: int = 400, noise: float = 0.0, **options: Any) -> Computed:
    return computed(Dataset(*law.samples(rows, noise), **options), law.names)


def check_right(law: Known, equation: Equation, tolerance: float = 1e-7) -> None:
    X = law.inputs(100, seed=3)
    error = equation.predict(X) - law.on(X)
    assert np.sqrt(np.mean(error**2)) < tolerance * law.on(X).std(), str(equation)


@pytest.mark.usefixtures("every_table")
@pytest.mark.parametrize("name", ["coulomb", "planck", "gauss", "photoelectric", "rocket", "lift"])
def test_an_exact_law_is_complete_and_right(name: str) -> None:
    law = KNOWN[name]
    found = of(law)
    assert found.complete
    check_right(law, min(found.equations, key=lambda e: e.loss))
    assert all(e.symbols == law.names for e in found.equations)
    assert all(np.isfinite([e.loss, *e.constants]).all() for e in found.equations)


@pytest.mark.usefixtures("every_table")
def test_under_noise_the_law_is_among_them() -> None:
    law = KNOWN["lens"]
    found = of(law, 300, 0.01)
    assert found.complete
    low = min(e.loss for e in found.equations)
    shortest = next(e for e in found.equations if e.loss < 1.05 * low)
    check_right(law, shortest, 0.002)


def test_weights_are_heeded() -> None:
    X, y = QUOTIENT.samples(400)
    weights = np.ones(400)
    weights[::3] = 0.0
    found = computed(Dataset(X, np.where(weights > 0, y, 1e3), weights), QUOTIENT.names)
    assert found.complete
    check_right(QUOTIENT, min(found.equations, key=lambda e: e.loss))


def test_rows_without_weight_may_come_first() -> None:
    X, y = QUOTIENT.samples(1500)
    weights = np.where(np.arange(1500) < 1200, 0.0, 1.0)
    found = computed(Dataset(X, np.where(weights > 0, y, 1e3), weights), QUOTIENT.names)
    assert found.complete
    check_right(QUOTIENT, min(found.equations, key=lambda e: e.loss))


def test_constants_have_none() -> None:
    X, _ = QUOTIENT.samples(400)
    assert computed(Dataset(X, np.full(400, 2.5)), QUOTIENT.names) == Computed()
    assert computed(Dataset(X[:5], np.full(5, 2.5)), QUOTIENT.names) == Computed()


def test_few_rows_are_enough_for_an_exact_law() -> None:
    """Nothing is asked of them, so that nothing is said of the structure."""
    X, y = QUOTIENT.samples(400)
    weights = np.where(np.arange(400) < 9, 1.0, 0.0)
    for data in (Dataset(X[:9], y[:9]), Dataset(X, y, weights)):
        found = computed(data, QUOTIENT.names)
        assert found.complete
        assert found.exact
        assert not found.findings
        check_right(QUOTIENT, min(found.equations, key=lambda e: e.loss))


def test_few_noisy_rows_have_the_law_among_others() -> None:
    law = Known("120*exp(-t/4)", 0, {"t": (0, 12)})
    X, y = law.samples(10)
    noisy = y * (1.0 + 0.05 * np.random.default_rng(2).normal(size=10))
    found = computed(Dataset(X, noisy), law.names)
    assert not found.complete
    forms = {e.text(1) for e in found.equations}
    assert any(form.endswith("*exp(-0.2*t)") or "exp(-0.3*t)" in form for form in forms), forms


def test_as_many_constants_as_rows_are_no_exact_law() -> None:
    rng = np.random.default_rng(1)
    for rows in (4, 6):
        X, y = np.sort(rng.uniform(1, 3, (rows, 1)), axis=0), rng.normal(size=rows)
        found = computed(Dataset(X, y), ("x",))
        assert not found.exact, found.equations[-1]
        assert not found.complete


def test_what_few_rows_answer_is_not_built_upon() -> None:
    """A term of n is as good as the law for a surrogate of 40 rows with noise."""
    rng = np.random.default_rng(0)
    m = rng.integers(1, 5, 45).astype(float)
    X = np.column_stack([m, m + rng.integers(1, 9, 45)])
    y = 4.7 + np.log(X[:, 0] ** -2 - X[:, 1] ** -2) + 0.05 * rng.normal(size=45)
    found = computed(Dataset(X, y), ("m", "n"))
    assert any("log" in e.text() and "**(-2)" in e.text() for e in found.equations)
    shape = [e for e in found.equations if e.complexity <= 14]
    assert min(e.loss for e in shape) < 1.2 * 0.05**2


def test_functions_of_quotients() -> None:
    """The vapour pressure of water by Antoine's equation."""
    law = Known("exp(16 - 3800/(T + 230))", 0, {"T": (0, 100)})
    found = of(law, 60)
    assert found.exact
    check_right(law, min(found.equations, key=lambda e: e.loss), 1e-6)


def test_inputs_that_do_not_matter_or_vary_are_left_out() -> None:
    rng = np.random.default_rng(0)
    X, y = QUOTIENT.samples(400)
    X = np.column_stack([rng.normal(size=400), X, np.full(400, 3.0)])
    found = computed(Dataset(X, y), ("idle", *QUOTIENT.names, "still"))
    assert found.complete
    exact = min(found.equations, key=lambda e: e.loss)
    assert {str(s) for s in exact.sympy.free_symbols} == set(QUOTIENT.names)


def test_no_input_varies() -> None:
    rng = np.random.default_rng(0)
    found = computed(Dataset(np.ones((100, 2)), rng.normal(size=100)), ("a", "b"))
    assert not found.complete


def test_noise_is_not_complete() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 2, (300, 2))
    found = computed(Dataset(X, rng.normal(size=300)), ("a", "b"), LIMITS.within(0.5))
    assert not found.complete
    assert all(np.isfinite(e.loss) for e in found.equations)


@pytest.mark.usefixtures("every_table")
def test_what_leaves_more_than_noise_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A surrogate of few rows errs as much as many a wrong law does."""
    law = Known("sin(3.14*x)*exp(-2*t)", 0, {"x": (0, 1), "t": (0, 1)})
    monkeypatch.setattr(laws, "LARGE", (100,))
    data = Dataset(*law.samples(160))
    found = computed(data, law.names, Limits(OperatorSet.of(["+", "*", "inv", "exp"]), 30))
    assert min(e.loss for e in found.equations) < 0.05**2 * data.variance
    assert not found.complete


def test_heavy_tails_pull_no_law_away() -> None:
    """Outliers weigh little under a robust loss."""
    X, y = QUOTIENT.samples(600)
    rng = np.random.default_rng(3)
    noisy = y + 0.002 * y.std() * rng.standard_cauchy(600)
    data = Dataset(X, noisy, loss=loss_for("cauchy", noisy))
    found = computed(data, QUOTIENT.names)
    low = min(e.loss for e in found.equations)
    assert low <= 1.02 * data.loss.mean(y - noisy, None)
    check_right(QUOTIENT, min(found.equations, key=lambda e: e.loss), 0.02)


def test_heavy_tails_of_a_squared_loss_end_in_numbers() -> None:
    X = np.random.default_rng(3).standard_cauchy((300, 2))
    y = X[:, 0] ** 3 * X[:, 1]
    found = computed(Dataset(X, y), ("a", "b"), LIMITS.within(0.5))
    assert all(np.isfinite([e.loss, *e.constants]).all() for e in found.equations)


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_the_deadline_is_kept(seconds: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 2, (2000, 5))
    y = np.sin(7 * X[:, 0] * X[:, 1]) + rng.normal(size=2000)
    started = time.monotonic()
    found = computed(Dataset(X, y), tuple("abcde"), LIMITS.within(seconds))
    assert time.monotonic() - started < seconds + 1.0
    assert not found.complete


@pytest.mark.parametrize(
    ("operators", "limit", "complete"),
    [
        (["+", "-", "*", "/"], 30, True),
        (["+", "-", "*", "/"], 4, False),
        (["+", "*", "sin"], 30, False),
    ],
)
def test_what_no_front_may_hold_completes_nothing(
    operators: list[str], limit: int, complete: bool
) -> None:
    """Too long an equation is a guess at best, and one of other operators is not even that."""
    data = Dataset(*QUOTIENT.samples(300))
    limits = Limits(OperatorSet.of(operators), limit).within(10.0 if complete else 0.5)
    found = computed(data, QUOTIENT.names, limits)
    assert found.complete is complete
    assert complete or all(e.loss > 1e-9 or e.complexity > limit for e in found.equations)


def test_findings_say_what_was_found() -> None:
    found = of(KNOWN["rocket"])
    assert found.findings[-1].form in ("u*G(m/n)", "u*G(n/m)")
    again = pickle.loads(pickle.dumps(found))
    assert list(map(str, again.equations)) == list(map(str, found.equations))
    assert len(again.findings) == 2


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_fit_of_a_computed_law_has_it_on_its_front(noise: float) -> None:
    X, y = QUOTIENT.samples(400, noise)
    engine = create("operon", operators=OPERATORS, options=SHORT)
    halves = Dataset(X[:300], y[:300]), Dataset(X[300:], y[300:])
    front = distill([Fit("y", *halves, QUOTIENT.names, engine)])["y"]
    check_right(QUOTIENT, front.best, 0.003 if noise else 1e-9)


@pytest.mark.parametrize("text", ["b*(1.45 + a*(2.27/c - 1.37))", "a*c*(1 - 2/(exp(b*c/a) + 1))"])
def test_who_looks_at_candidates_changes_nothing(text: str) -> None:
    """An executor may name tasks by all that their arguments hold, as Dask's does."""
    law = Known(text, 0, dict.fromkeys("abc", (1, 3)))
    X, y = law.samples(300, 0.01)
    engine = create("operon", operators=OPERATORS, options=SHORT)
    fit = Fit("y", Dataset(X[:250], y[:250]), Dataset(X[250:], y[250:]), law.names, engine)
    found = compute_task(fit)
    moved = pickle.loads(pickle.dumps(found))
    assert all(equation.form.free_symbols is not None for equation in found.equations)
    seen, unseen = (refine_task(fit, one, []) for one in (found, moved))
    assert seen.to_json(text=False) == unseen.to_json(text=False)
