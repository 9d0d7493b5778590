"""What `examples/robustness.py` varies, and when it counts a law as found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sympy

from symcompile import Equation
from symcompile.expressions.operator_set import OperatorSet

EXAMPLES = Path(__file__).parents[1] / "examples"
DX, DY, R, M1, M2 = sympy.symbols("dx dy r m1 m2")
OPERATORS = OperatorSet.of(["+", "*", "inv", "exp", "log"])
TEXTBOOK = {
    "r^-2": -M1 * M2 * (0.8 * DX - 0.6 * DY) / R**3,
    "spring": -2.0 * (0.8 * DX - 0.6 * DY) * (1.0 - 1.0 / R),
}


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import robustness
        import robustness_laws

        yield SimpleNamespace(script=robustness, laws=robustness_laws)


def equation(expr: sympy.Expr) -> Equation:
    return Equation.of(expr, ("dx", "dy", "r", "m1", "m2", "q1", "q2"), OPERATORS)


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_and_exact_gradient_are_both_the_law(example: SimpleNamespace, name: str) -> None:
    softened = TEXTBOOK[name] * R / (R - 0.01)
    for expr in (TEXTBOOK[name], 1.02 * TEXTBOOK[name], softened):
        assert example.laws.is_message(equation(expr), name), expr


def test_components_may_have_constants_of_their_own(example: SimpleNamespace) -> None:
    expr = -1.6096 * DX + 1.2073 * DY + 1.6149 * DX / R - 1.2108 * DY / R
    assert example.laws.is_message(equation(expr), "spring")


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize("size", [1e-4, 1e-3])
def test_terms_below_one_percent_do_not_count(
    example: SimpleNamespace, name: str, size: float
) -> None:
    for term in (sympy.Float(size), size * DX * M1):
        assert example.laws.is_message(equation(TEXTBOOK[name] + term), name)


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize(
    "change",
    [
        lambda law: law + 0.5,
        lambda law: law.subs(DY, 0),
        lambda law: 1.2 * law,
        lambda law: law + 0.2 * DX * M1 * M2 / R,
        lambda law: law * (1.0 + 0.1 * R),
        lambda law: sympy.log(R) * DX,
    ],
)
def test_a_component_less_or_a_term_more_is_not(
    example: SimpleNamespace, name: str, change: object
) -> None:
    assert callable(change)
    assert not example.laws.is_message(equation(change(TEXTBOOK[name])), name)


def test_one_law_is_not_the_other(example: SimpleNamespace) -> None:
    assert not example.laws.is_message(equation(TEXTBOOK["spring"]), "r^-2")
    assert not example.laws.is_message(equation(TEXTBOOK["r^-2"]), "spring")


def test_pairs_are_those_of_the_simulator(example: SimpleNamespace) -> None:
    X = example.laws.pairs(np.random.default_rng(0), 20000)
    assert X[:, :2].std(axis=0) == pytest.approx([2**0.5, 2**0.5], rel=0.02)
    assert X[:, 2] == pytest.approx(np.hypot(X[:, 0], X[:, 1]) + 0.01)
    assert np.log(X[:, 3:5]).std(axis=0) == pytest.approx([1.0, 1.0], rel=0.02)


@pytest.mark.parametrize("name", TEXTBOOK)
def test_messages_are_the_simulator_s_own_forces(example: SimpleNamespace, name: str) -> None:
    law = example.laws.law(name)
    X = law.draw(np.random.default_rng(0), 50)
    exact = TEXTBOOK[name] * R / (R - 0.01)
    assert law.values(X) == pytest.approx(equation(exact).predict(X), rel=1e-6)


def test_one_factor_varies_at_a_time(example: SimpleNamespace) -> None:
    script = example.script
    for setting in script.settings(script.FACTORS):
        changed = [f for f in script.FACTORS if getattr(setting, f) != getattr(script.DEFAULT, f)]
        assert len(changed) <= 1
    tasks = script.plan(("spring", "heat"), script.FACTORS, (0, 1))
    assert max(Counter(tasks).values()) == 1
    squared = {name for name, setting, _ in tasks if setting.loss == "squared"}
    assert squared == {"spring"}


def test_noise_is_in_units_of_the_typical_output(example: SimpleNamespace) -> None:
    script, law = example.script, example.laws.law("r^-2")
    clean, noisy = (
        script.samples(law, script.Setting(samples=4000, noise=noise), 1)[1] for noise in (0.0, 0.1)
    )
    typical = 1.4826 * np.median(np.abs(clean - np.median(clean)))
    assert (noisy - clean).std() == pytest.approx(0.1 * typical, rel=0.05)


def test_rates_are_hits_by_level_and_law(example: SimpleNamespace) -> None:
    script = example.script
    few = script.Setting(samples=50)
    outcomes = [
        script.Outcome("heat", few, 0, True, "x", 1.0),
        script.Outcome("heat", few, 1, False, "x", 1.0),
        script.Outcome("spring", script.DEFAULT, 0, True, "x", 1.0),
    ]
    table = script.table(outcomes, ("heat", "spring"), {"samples": (50, 1000)})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert rows == [
        ["samples", "50", "1 of 2", "-", "1 of 2"],
        ["samples", "1000 (default)", "-", "1 of 1", "1 of 1"],
    ]
