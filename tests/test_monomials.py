"""Sums of monomials are found without a search, whatever is added to them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.limits import Limits
from symcompile.regression.losses import SQUARED, Loss, loss_for
from symcompile.regression.monomials import MAX_MONOMIALS, monomial_candidates

OPERATORS = OperatorSet.of(["+", "*", "inv", "exp"])
NAMES = ("dx", "dy", "r", "m", "q")
RNG = np.random.default_rng(3)
DX, DY = RNG.normal(size=(2, 800))
R = np.hypot(DX, DY) + 0.01
M, Q = np.exp(RNG.normal(size=800)), np.sign(RNG.normal(size=800))
X = np.stack([DX, DY, R, M, Q], axis=1)


def candidates(
    y: Array,
    X: Array = X,
    loss: Loss = SQUARED,
    names: tuple[str, ...] = NAMES,
    operators: OperatorSet = OPERATORS,
    max_complexity: int = 30,
) -> list[Equation]:
    return monomial_candidates(Dataset(X, y, None, loss), names, Limits(operators, max_complexity))


def has_form(equation: Equation, form: str) -> bool:
    """Whether both expand to the same terms, their coefficients aside."""

    def terms(expr: sympy.Expr) -> set[sympy.Expr]:
        parts = sympy.Add.make_args(sympy.expand(expr))
        return {part.as_coeff_Mul()[1] for part in parts} - {sympy.Integer(1)}

    return terms(equation.sympy) == terms(sympy.sympify(form))


@pytest.mark.parametrize(
    ("form", "y"),
    [
        ("q*m*(dx + dy)/r**3", Q * M * (1.3 * DX - 0.4 * DY) / R**3),
        ("dx*m/r**2 + q", 0.7 * DX * M / R**2 + 2 * Q),
        ("m**3", 0.1 * M**3 + 1.5),
        ("dx + dy + dx/r + dy/r", (2 * DX - DY) * (1 - 1 / R)),
    ],
)
def test_the_sum_is_found_below_noise(form: str, y: Array) -> None:
    noisy = y + 0.01 * np.median(np.abs(y)) * RNG.normal(size=len(y))
    found = [equation for equation in candidates(noisy) if has_form(equation, form)]
    assert found
    error = np.abs(found[0].predict(X) - y)
    assert np.median(error) < 0.01 * np.median(np.abs(y - np.median(y)))


def test_a_product_of_two_sums_is_spelled_as_one() -> None:
    y = (2 * DX - DY) * (1 - 1 / R)
    simplest = min(
        (e for e in candidates(y) if np.allclose(e.predict(X), y, atol=1e-6)),
        key=lambda e: e.complexity,
    )
    expanded = Equation.of(sympy.sympify("2.0*dx - dy - 2.0*dx/r + dy/r"), NAMES, OPERATORS)
    assert simplest.complexity < expanded.complexity


def test_a_robust_loss_sees_the_law_that_the_largest_values_leave() -> None:
    force = DX / R**3
    saturated = np.clip(force, -5.0, 5.0)
    assert not any(has_form(e, "dx/r**3") for e in candidates(saturated))
    robust = candidates(saturated, loss=loss_for("cauchy", saturated))
    law = next(e for e in robust if has_form(e, "dx/r**3"))
    np.testing.assert_allclose(law.predict(X), force, rtol=0.05, atol=0.05)


def test_inputs_that_cross_zero_get_no_inverse() -> None:
    y = np.where(np.abs(DX) > 0.01, 1 / DX, 0.0)
    for equation in candidates(y):
        powers = equation.sympy.atoms(sympy.Pow)
        assert all(p.exp > 0 for p in powers if p.base in sympy.symbols("dx dy q"))


@pytest.mark.parametrize("without", ["+", "*"])
def test_nothing_where_it_can_not_be_spelled(without: str) -> None:
    names = {"+", "*", "inv", "exp"} - {without}
    assert candidates(DX, operators=OperatorSet.of(sorted(names))) == []


def test_no_negative_power_without_an_inverse() -> None:
    for equation in candidates(DX / R, operators=OperatorSet.of(["+", "*"])):
        assert all(p.exp > 0 for p in equation.sympy.atoms(sympy.Pow))


def test_complexity_is_limited_and_constant_inputs_are_left_out() -> None:
    y = Q * M * DX / R**3
    assert all(e.complexity <= 12 for e in candidates(y, max_complexity=10))
    assert candidates(y, X=np.ones_like(X)) == []


def test_many_inputs_are_left_to_the_search() -> None:
    wide = RNG.normal(size=(200, 40))
    names = tuple(f"x{k}" for k in range(40))
    assert MAX_MONOMIALS < 40 * 39 * 38 / 6
    assert candidates(wide[:, 0] * wide[:, 1] * wide[:, 2], X=wide, names=names) == []


def test_few_samples_give_few_terms() -> None:
    assert candidates(DX[:3], X=X[:3]) == []
    y = (Q * M / R**2)[:6]
    found = candidates(y, X=X[:6])
    assert any(np.allclose(one.predict(X[:6]), y) for one in found)
    assert all(len(one.constants) <= 2 for one in found)
