"""The table of small forms: each function once, the smallest first."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.table import Form, Table

RNG = np.random.default_rng(0)
X = RNG.uniform(0.5, 3.0, (2, 40))
MORE = RNG.uniform(0.5, 3.0, (2, 300))
EXPRS = sympy.symbols("a b")
A, B = EXPRS
ALL = ("+", "-", "*", "/", "square", "sqrt", "sin", "exp", "log")


def table(*operators: str, limit: int = 400, columns: np.ndarray = X, **options: object) -> Table:
    with np.errstate(all="ignore"):
        return Table(columns, EXPRS, OperatorSet.of(operators), limit, **options)  # type: ignore[arg-type]


FULL = table(*ALL, numbers=(sympy.S.One, sympy.Integer(2)))


def exprs(found: Table) -> list[sympy.Expr]:
    return [found.expr(place) for place in range(len(found.forms))]


def nodes(found: Table, form: Form) -> int:
    return 1 + sum(nodes(found, found.forms[arg]) for arg in form.args)


def test_each_function_is_there_once() -> None:
    """Up to its sign, on rows that the table has not seen."""
    values = np.array([FULL.on(place, MORE, {}) for place in range(len(FULL.forms))])
    first = np.argmax(np.abs(values), axis=1)
    values *= np.sign(values[np.arange(len(values)), first])[:, None]
    scale = np.abs(values).max(axis=1)
    for k, row in enumerate(values):
        same = np.abs(values - row).max(axis=1) < 1e-9 * scale
        assert np.flatnonzero(same).tolist() == [k], FULL.expr(k)


def test_there_are_as_many_as_asked_for_and_the_smallest_first() -> None:
    assert len(FULL.forms) == len(FULL.values) == len(FULL.sizes) == 400
    assert (np.diff(FULL.sizes) >= 0).all()
    assert FULL.sizes.tolist() == [nodes(FULL, form) for form in FULL.forms]


def test_values_are_those_of_the_expressions() -> None:
    known: dict[int, np.ndarray] = {}
    for place, expr in enumerate(exprs(FULL)):
        of = sympy.lambdify(EXPRS, expr, "numpy")
        on = FULL.on(place, MORE, known)
        np.testing.assert_allclose(on, np.broadcast_to(of(*MORE), 300), rtol=1e-9)
        np.testing.assert_allclose(FULL.values[place], of(*X) * np.ones(40), rtol=1e-9)
    assert len(known) == 400


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        (ALL, [A + B, A - B, A * B, A / B, 1 / A, A**2, sympy.sqrt(B), sympy.sin(A + B), A + 1]),
        (("+",), [A + B, A + 1, 2 * A, A + B + 1, 2 * A + B, 3 * B]),
        (("+", "-", "*"), [A + B, A - B, A * B, A**2, A * B + 1, A * (A + B), A * B * (A + 1)]),
        (("+", "*", "inv"), [1 / A, 1 / (A + B), A * B, 1 / A + 1 / B]),
        (("sin",), [sympy.sin(A), sympy.sin(B)]),
    ],
)
def test_what_few_operators_spell_is_there(
    operators: tuple[str, ...], expected: list[sympy.Expr]
) -> None:
    """Whether they are of one argument or of two."""
    found = table(*operators)
    values = found.values
    for expr in expected:
        value = sympy.lambdify(EXPRS, expr, "numpy")(*X)
        near = [min(np.ptp(row - value), np.ptp(row + value)) for row in values]
        assert min(near) < 1e-9, expr


def test_only_what_is_allowed_is_made() -> None:
    names = {form.name for form in table("+", "sin").forms}
    assert names == {"", "+", "sin"}
    assert {form.name for form in table("*", "cos").forms} == {"", "-", "*", "cos"}


def test_a_number_stands_beside_variables_only() -> None:
    found = table(*ALL, numbers=(sympy.Integer(7),))
    (place,) = [place for place in range(len(found.forms)) if found.is_number(place)]
    assert found.expr(place) == 7
    assert all(found.expr(k).free_symbols for k in range(len(found.forms)) if k != place)
    assert not table("+", numbers=()).is_number(2)


def test_what_is_no_number_somewhere_is_left_out() -> None:
    columns = RNG.uniform(-1.0, 1.0, (2, 40))
    columns[0, 0] = 0.0
    found = table(*ALL, columns=columns)
    assert np.isfinite(found.values).all()
    made = set(exprs(found))
    assert not made & {1 / A, B / A, sympy.log(B), sympy.sqrt(A)}
    assert {A / B, A**2, sympy.exp(B)} <= made


def test_functions_of_functions_are_few() -> None:
    """`sin(exp(a))` is no form of use, and `sin(1/a)` is."""
    made = exprs(table("+", "/", "sin", "exp", limit=200))
    assert sympy.sin(1 / A) in made
    assert not any(f.args[0].has(sympy.sin, sympy.exp) for e in made for f in e.atoms(sympy.sin))
