"""Complexity counted as PySR counts it, and what an operator set can spell."""

import pytest
import sympy

from symcompile.expressions.complexity import complexity, spellable
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.slots import slot

x, y, t = sympy.symbols("x y t")
C = [slot(i) for i in range(6)]
TABLE_2 = OperatorSet.of(None)

COUNTS = [
    (C[0], 1),
    (x, 1),
    (sympy.pi, 1),
    (C[0] * x, 3),
    (C[0] * x + C[1], 5),
    (sympy.exp(C[0] * t) * sympy.sin(C[1] * x), 13),
    (C[2] * sympy.exp(C[0] * t) * sympy.sin(C[1] * x), 15),
    (1 / x, 2),
    (y / x, 4),
    (C[0] / (x + C[1]), 6),
    (x**2, 3),
    (x**3, 5),
    (x**4, 5 + 2),
    (C[0] * x * y + C[1] * x, 9),
    (x * (C[0] * y + C[1]), 7),
    (sum(C[i] * s for i, s in enumerate((x, y, t))), 11),
]


@pytest.mark.parametrize(("expr", "count"), COUNTS)
def test_count_with_the_operators_of_table_2(expr: sympy.Expr, count: int) -> None:
    assert complexity(expr, TABLE_2) == count


def test_count_uses_the_cheapest_spelling_of_the_set() -> None:
    assert complexity(x**2, OperatorSet.of(["+", "*", "square"])) == 2
    assert complexity(x**3, OperatorSet.of(["+", "*", "cube"])) == 2
    assert complexity(y / x, OperatorSet.of(["+", "*", "/"])) == 3
    assert complexity(x - y, OperatorSet.of(["+", "*", "-"])) == 3
    assert complexity(x - y, OperatorSet.of(["+", "*"])) == 5
    assert complexity(sympy.sqrt(x), OperatorSet.of(["+", "*", "sqrt"])) == 2
    assert complexity(x ** sympy.Rational(3, 2), OperatorSet.of(["+", "*", "sqrt"])) == 4
    assert complexity(x ** C[0], OperatorSet.of(["+", "*", "pow"])) == 5


def test_a_users_cost_counts() -> None:
    assert complexity(sympy.sin(x), OperatorSet.of({"+": 1, "*": 1, "sin": 7})) == 8


@pytest.mark.parametrize(
    ("expr", "operators", "answer"),
    [
        (sympy.exp(C[0] * t) * sympy.sin(x), None, True),
        (sympy.cos(x), None, False),
        (x / y, ["+", "*", "inv"], True),
        (x / y, ["+", "*", "/"], True),
        (x / y, ["+", "*"], False),
        (x**5, ["+", "*"], True),
        (x**2, ["+", "square"], True),
        (x**3, ["+", "square"], False),
        (sympy.sqrt(x), ["+", "*", "sqrt"], True),
        (sympy.sqrt(x), ["+", "*"], False),
        (1 / sympy.sqrt(x), ["+", "*", "sqrt", "inv"], True),
        (x ** C[0], ["+", "*", "pow"], True),
        (sympy.Max(x, C[0]), ["+", "*", "max"], True),
        (sympy.Max(x, C[0]), ["+", "*", "min"], False),
        (sympy.Abs(x), ["+", "*", "abs"], True),
    ],
)
def test_spellable(expr: sympy.Expr, operators: list[str] | None, answer: bool) -> None:
    assert spellable(expr, OperatorSet.of(operators)) is answer


def test_order_of_terms_does_not_count() -> None:
    """sympy puts -I before c*x; a subtraction is cheap wherever the term stands."""
    a, b, x = sympy.symbols("A b x")
    operators = OperatorSet.of(["+", "-", "*"])
    for first, second in ((a, x), (x, a)):
        assert complexity(b * first - second, operators) == 5


def test_a_huge_power_is_counted_at_once() -> None:
    """By multiplication it would take as many steps as its exponent has units, squared."""
    for exponent in (sympy.Rational(10**40 + 1, 2), sympy.Integer(10**40)):
        assert complexity(x**exponent, TABLE_2) == 5  # x, the exponent, and pow
    roots = OperatorSet.of(["*", "sqrt"])
    assert complexity(x ** sympy.Rational(5, 2), roots) == 6
