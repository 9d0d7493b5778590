"""What an equation costs to write down, and what it saves: `regression.description`."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.regression.choice import credible
from symcompile.regression.dataset import Dataset
from symcompile.regression.description import (
    Comparison,
    Directions,
    Spectrum,
    description_length,
    effective_sample_size,
)
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.losses import Loss

OPERATORS = OperatorSet.of(["+", "-", "*", "/", "square", "sqrt", "exp", "sin"])
# Of Kepler: mean distances and periods.
PLANETS = np.array([0.388, 0.724, 1.0, 1.524, 5.2, 9.51])
PERIODS = np.array([87.77, 224.7, 365.25, 686.95, 4332.62, 10759.2])


def equation(text: str, names: tuple[str, ...] = ("x",)) -> Equation:
    return Equation.of(parse(text, names), names, OPERATORS)


def fitted(data: Dataset, *texts: str, names: tuple[str, ...] = ("x",)) -> list[Equation]:
    """Equations by complexity, their constants fitted."""
    equations = [equation(text, names) for text in texts]
    equations = [e.with_constants(fit_constants(e, data, 100).constants) for e in equations]
    return sorted(equations, key=lambda e: e.complexity)


def chosen(data: Dataset, *texts: str, names: tuple[str, ...] = ("x",)) -> str:
    equations = fitted(data, *texts, names=names)
    return equations[Comparison.of(equations, data).shortest].text(2)


def line(n: int, noise: float, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    X = rng.uniform(0.0, 1.0, (n, 1))
    return Dataset(X, 3.0 * X[:, 0] + noise * rng.normal(size=n))


def wave(X: Array) -> Array:
    """An error as a network makes it: smooth, and mostly a slope."""
    x = X[:, 0]
    return 0.03 * (x - 0.5) + 0.004 * np.sin(9.0 * x) + 0.002 * np.cos(17.0 * x)


# --- lengths -------------------------------------------------------------------------------------


def test_length_by_hand() -> None:
    data = Dataset(np.zeros((4, 1)), np.array([1.0, -1.0, 3.0, -3.0]))
    constant = equation("2.0")
    loss = (1.0 + 9.0 + 1.0 + 25.0) / 4  # of 2; the variance is 5
    expected = 1.5 * math.log(loss * 4 / 3 / 5.0) + 0.5 * math.log(4) + 1.0
    assert description_length(constant, data) == pytest.approx(expected)
    assert description_length(constant, data, price=2.5) == pytest.approx(expected + 1.5)


def test_what_is_exact_ends_at_rounding() -> None:
    data = line(40, 0.0)
    law = equation("3.0*x")
    length = description_length(law, data, 0.0)
    assert length == pytest.approx(39 / 2 * math.log(1e-14) + 0.5 * math.log(40))
    assert description_length(equation("sqrt(0.0 - 1 - x)"), data) == math.inf


def test_rows_of_no_weight_say_nothing() -> None:
    data = line(60, 0.1)
    weights = np.ones(70)
    weights[60:] = 0.0
    y = np.append(data.y, np.full(10, 1e6))
    padded = Dataset(np.vstack([data.X, np.zeros((10, 1))]), y, weights)
    law = equation("3.0*x")
    assert description_length(law, padded) == pytest.approx(description_length(law, data))
    equations = fitted(data, "3.0*x", "3.0*x + 0.1", "3.0*x**2")
    same = [Comparison.of(equations, rows).savings for rows in (data, padded)]
    assert same[0] == pytest.approx(same[1])


def test_a_robust_loss_is_not_moved_by_single_rows() -> None:
    data = line(200, 0.05)
    y = data.y.copy()
    y[::20] += 40.0
    robust = Dataset(data.X, y, None, Loss("cauchy", 0.3))
    forms = ("1.0", "3.0*x", "3.0*x + 0.1", "3.0*x + 0.1*x**2 - 0.3")
    assert chosen(robust, *forms) == "3.0*x"


# --- effective rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_inputs", [1, 3, 8])
def test_independent_errors_count_in_full(n_inputs: int) -> None:
    for n in (6, 50, 2000):
        rng = np.random.default_rng(n)
        X = rng.uniform(-1.0, 1.0, (n, n_inputs))
        assert effective_sample_size(Directions.of(X), rng.normal(size=n)) == n


def test_a_smooth_error_counts_for_a_few_however_many_rows() -> None:
    sizes = []
    for n in (200, 800, 3200):
        X = np.random.default_rng(n).uniform(0.0, 1.0, (n, 1))
        sizes.append(effective_sample_size(Directions.of(X), wave(X)))
    assert max(sizes) < 6.0
    assert max(sizes) < 1.5 * min(sizes)


def test_no_error_and_no_numbers_count_in_full() -> None:
    X = np.arange(300.0)[:, None]
    assert effective_sample_size(Directions.of(X), np.zeros(300)) == 300.0
    assert effective_sample_size(Directions.of(X), np.full(300, np.nan)) == 300.0


# --- spectra -------------------------------------------------------------------------------------


def test_directions_are_orthonormal_and_no_more_than_rows_allow() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((6, 1), (60, 1), (400, 2), (400, 5), (90, 30)):
        directions = Directions.of(rng.normal(size=(n, d)))
        basis = directions.basis
        assert basis.shape[1] == len(directions.band) <= min(120, n // 4)
        assert basis.T @ basis == pytest.approx(np.eye(basis.shape[1]), abs=1e-9)
        residual = rng.normal(size=n)
        spectrum = directions.spectrum(residual)
        assert spectrum.counts.sum() == n
        assert spectrum.variances @ spectrum.counts == pytest.approx(residual @ residual)


def test_inputs_that_do_not_vary_do_no_harm() -> None:
    X = np.column_stack([np.ones(200), np.linspace(0.0, 1.0, 200)])
    rng = np.random.default_rng(0)
    assert effective_sample_size(Directions.of(X), rng.normal(size=200)) == 200


def test_spectra_of_independent_errors_are_flat() -> None:
    flat, smooth = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.uniform(size=(300, 1 + seed % 3))
        noise = rng.normal(size=300)
        directions = Directions.of(X)
        flat += directions.spectrum(noise).is_flat
        smooth += not directions.spectrum(noise + 100.0 * wave(X)).is_flat
    assert flat >= 38
    assert smooth == 40
    assert Spectrum(np.zeros(2), np.array([5.0, 95.0])).is_flat
    assert not Spectrum(np.array([1.0, 0.0]), np.array([5.0, 95.0])).is_flat


def test_a_flattened_spectrum_has_the_same_power() -> None:
    flat = Spectrum(np.array([5.0, 1.0]), np.array([2.0, 8.0])).flattened()
    assert (flat.variances.tolist(), flat.counts.tolist()) == ([1.8], [10.0])
    assert flat.size == pytest.approx(10.0)


def test_rate_of_a_flat_spectrum_is_that_of_independent_errors() -> None:
    flat = Spectrum(np.full(3, 2.0), np.array([1.0, 5.0, 94.0]))
    assert flat.rate(50.0) == pytest.approx(100 / 2 * math.log(200 / 50))
    assert flat.rate(200.0) == flat.rate(1e3) == 0.0


def test_rate_describes_first_what_is_strong() -> None:
    head = Spectrum(np.array([1.0, 100.0]), np.array([50.0, 1.0]))
    assert head.rate(60.0) == pytest.approx(0.5 * math.log(100 / 10))
    assert head.rate(51.0) == pytest.approx(0.5 * math.log(100))
    assert head.rate(25.5) == pytest.approx(0.5 * math.log(200) + 25 * math.log(2))
    rates = [head.rate(d) for d in np.linspace(1.0, 150.0, 60)]
    assert (np.diff(rates) <= 0).all()


# --- choices -------------------------------------------------------------------------------------


def test_six_planets() -> None:
    data = Dataset(PLANETS[:, None], PERIODS)
    forms = ("1000.0", "1000.0*x", "300.0*x**2", "365.0*x*sqrt(x)")
    more = ("370.0*x*(sqrt(x) - 0.02)", "365.0*x*sqrt(x) + 0.1*x**2 - 0.1")
    assert chosen(data, *forms, *more) == "3.7e+2*x**(3/2)"


@pytest.mark.parametrize("n", [8, 30, 300, 3000])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_line_is_a_line(n: int, noise: float) -> None:
    forms = ("1.5", "3.0*x", "3.0*x + 0.1", "3.0*x + 0.1*x**2", "2.0*exp(x) - 2.0")
    assert re.fullmatch(r"[23](\.\d)?\*x", chosen(line(n, noise, n), *forms))


def test_a_pure_noise_is_a_constant() -> None:
    rng = np.random.default_rng(0)
    for n in (12, 400):
        data = Dataset(rng.uniform(size=(n, 1)), 2.0 + rng.normal(size=n))
        assert float(chosen(data, "2.0", "2.0 + 0.1*x", "2.0 + 0.1*x**2 - 0.1*x")) > 1.0


def test_slope_of_a_smooth_error_is_no_term_of_the_law() -> None:
    """Sixty standard errors of independent rows, but one direction of a function."""
    X = np.random.default_rng(0).uniform(0.0, 1.0, (2000, 1))
    data = Dataset(X, np.sin(6.0 * X[:, 0]) + wave(X))
    law, longer = equations = fitted(data, "sin(6.0*x)", "sin(6.0*x) + 0.03*x - 0.01")
    saved = Comparison.of(equations, data).savings[0, 1]
    independent = description_length(law, data) - description_length(longer, data)
    assert saved < 0.0 < 100.0 < independent
    assert chosen(data, "0.5", "1.0 - 2.0*x", "sin(6.0*x)", "sin(6.0*x) + 0.03*x") == "sin(6.0*x)"


def test_same_slope_under_independent_errors_is_a_term() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(0.0, 1.0, (2000, 1))
    y = np.sin(6.0 * X[:, 0]) + 0.03 * X[:, 0] + 0.005 * rng.normal(size=2000)
    forms = ("0.5", "sin(6.0*x)", "sin(6.0*x) + 0.03*x", "sin(6.0*x) + 0.03*x + 0.001*x**2")
    assert chosen(Dataset(X, y), *forms) == "0.03*x + sin(6.0*x)"


@pytest.mark.parametrize(("power", "taken"), [(1, True), (7, False)])
def test_what_a_few_rows_say_loudly_is_no_evidence(power: int, taken: bool) -> None:
    """An input that explains a sixth of the errors; of the seventh powers a few rows hold all."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(600, 2))
    errors = rng.normal(size=600) ** power
    errors *= 0.1 / errors.std()
    X[:, 1] = errors + 0.2 * rng.normal(size=600)
    data, names = Dataset(X, 3.0 * X[:, 0] + errors), ("x", "u")
    equations = fitted(data, "3.0*x", "3.0*x + 0.2*u", names=names)
    gain = data.loss_of(equations[0]) / data.loss_of(equations[1])
    assert 1.15 < gain < 1.35
    assert bool(Comparison.of(equations, data).savings[0, 1] > 0.0) is taken


def test_what_makes_all_errors_smaller_is_told_by_all_rows() -> None:
    """Of errors with heavy tails, too: a few rows make up their power, but not the evidence."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(600, 2))
    errors = rng.normal(size=600) ** 3
    errors *= 0.1 / errors.std()
    X[:, 1] = errors + 0.001 * rng.normal(size=600)
    data, names = Dataset(X, 3.0 * X[:, 0] + errors), ("x", "u")
    equations = fitted(data, "3.0*x", "3.0*x + 1.0*u", names=names)
    independent = 300.0 * math.log(data.loss_of(equations[0]) / data.loss_of(equations[1]))
    assert float(np.mean(errors**4)) > 10.0 * float(np.mean(errors**2)) ** 2
    assert 0.5 < Comparison.of(equations, data).savings[0, 1] / independent < 1.0


def test_what_is_not_finite_is_never_chosen() -> None:
    data = line(100, 0.1)
    equations = [equation("1.5"), equation("3.0*x"), equation("sqrt(x - 0.5)*3.0*x")]
    equations.append(equation("sqrt(0.0 - 1 - x) + 0.3*x + x**2"))
    comparison = Comparison.of(equations, data)
    assert comparison.shortest == 1
    assert Comparison.of(equations[2:3], data).shortest == 0
    few = Comparison.of(equations, line(12, 0.1))
    assert few.shortest == 1


def test_rows_say_what_they_cannot_decide() -> None:
    rng = np.random.default_rng(4)
    X = np.linspace(1.0, 2.0, 8)[:, None]
    exact, noise = X[:, 0] ** 2, 0.2 * rng.normal(size=8)
    forms = ("2.0", "1.5*x", "1.0*x**2", "1.0*x*sqrt(x)", "0.5*exp(x)")
    for data, others in (
        (Dataset(X, exact * (1.0 + noise)), {"1.6*x", "1.3*x**(3/2)", "0.5*exp(x)", "2.3"}),
        (Dataset(X, exact * (1.0 + 0.1 * noise)), set()),
    ):
        equations = fitted(data, *forms)
        comparison = Comparison.of(equations, data)
        assert equations[comparison.shortest].text(1) == "1.0*x**2"
        named = credible(comparison.behind)
        assert named[0] == comparison.shortest
        assert {equations[i].text(2) for i in named[1:]} == others


def test_to_save_less_than_a_node_costs_is_to_save_nothing() -> None:
    """Rows that tell two forms apart by less are not decided: the shorter is taken. Of forms of one
    length it is the nearer."""
    data = Dataset(PLANETS[:, None], PERIODS)
    equations = fitted(data, "365.0*x*sqrt(x)", "365.0*x*sqrt(x) + x**2")
    shorter, longer = (description_length(equation, data) for equation in equations)
    assert 0.5 < shorter - longer < 1.0
    comparison = Comparison.of(equations, data)
    assert comparison.shortest == 0
    assert comparison.behind.tolist() == [0.0, 0.0]
    assert credible(comparison.behind) == [0, 1]
    assert Comparison.of(equations, data, price=0.9).shortest == 1

    X = np.linspace(1.0, 2.0, 4)[:, None]
    between = Dataset(X, 0.45 * np.exp(X[:, 0]) + 0.55 * np.sin(X[:, 0]))
    alike = [equation("exp(x)"), equation("sin(x)")]
    assert 0.5 < Comparison.of(alike, between).savings[0, 1] < 1.0
    assert Comparison.of(alike, between).shortest == 1


def test_very_many_rows_are_looked_at_evenly() -> None:
    X = np.linspace(0.0, 1.0, 40_000)[:, None]
    y = np.where(X[:, 0] < 0.5, X[:, 0], X[:, 0] ** 2 + 0.25)
    data = Dataset(X, y)
    comparison = Comparison.of(fitted(data, "0.3", "1.0*x", "1.0*x**2 + 0.1"), data)
    assert comparison.savings.shape == (3, 3)
    assert np.isfinite(comparison.savings[0, 1:]).all()
    assert comparison.shortest > 0
