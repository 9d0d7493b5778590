"""Light trees: one shape for equal spellings, and the same function as sympy's expression."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import sympy
from test_canonical import random_expression

from symcompile.errors import ExpressionError
from symcompile.expressions.canonical import UNUSABLE, Algebra
from symcompile.expressions.complexity import Counter, complexity, spellable
from symcompile.expressions.evaluation import evaluate
from symcompile.expressions.light_algebra import add, function, mul, power
from symcompile.expressions.light_code import (
    as_expression,
    from_program,
    from_sympy,
    numbered,
    program,
)
from symcompile.expressions.light_tree import LightTree, column, number, slot
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.slots import extract

NAMES = ("x", "y")
OPERATORS = OperatorSet.of(["+", "-", "*", "/", "sqrt", "square", "exp", "log", "sin", "cos"])


def tree(text: str) -> LightTree:
    return from_sympy(parse(text, NAMES), NAMES, [])


def values(one: LightTree, constants: tuple[float, ...], X: np.ndarray) -> np.ndarray:
    return evaluate(program(one, X.shape[1], len(constants)), X, constants)[:, 0]


SAME = [
    ("x + y - x", "y"),
    ("2*(x + y)", "2*x + 2*y"),
    ("x*y/x", "y"),
    ("sqrt(x)*sqrt(x)*y", "x*y"),
    ("sqrt(x*y)*sqrt(x*y)", "x*y"),
    ("sqrt(4*x)", "2*sqrt(x)"),
    ("sqrt(x**3)", "x*sqrt(x)"),
    ("(y - x)**2", "(x - y)**2"),
    ("sin(y - x)", "-sin(x - y)"),
    ("cos(y - x)", "cos(x - y)"),
    ("exp(x)*exp(2*y)", "exp(x + 2*y)"),
    ("exp(x)**3/exp(x)", "exp(2*x)"),
    ("log(exp(x))", "x"),
    ("exp(2*log(x))", "x**2"),
    ("abs(-3*x)", "3*abs(x)"),
    ("abs(x)**2", "x**2"),
    ("max(x, max(y, 3), 4)", "max(4, y, x)"),
    ("(3/4)**2*x", "9/16*x"),
    ("sqrt(9/4)*x", "3/2*x"),
    ("x**0 + cos(0)", "2"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_spellings_are_one_tree(one: str, other: str) -> None:
    assert tree(one) == tree(other)
    assert hash(tree(one)) == hash(tree(other))


def test_what_differs_stays_apart() -> None:
    for one, other in [("sqrt(x**2)", "x"), ("x - y", "y - x"), ("x/y", "y/x"), ("x*2", "x*3")]:
        assert tree(one) != tree(other)


def test_order_does_not_count_and_slots_do() -> None:
    x, y, c, d = column(0), column(1), slot(0), slot(1)
    assert add([mul([c, x]), y]) == add([y, mul([x, c])])
    assert mul([c, x]) != mul([d, x])
    assert mul([c, x]).key == mul([d, x]).key
    assert add([mul([d, x]), mul([c, function("sin", (x,))])]).slots == (1, 0)


def test_no_number_is_computed_that_is_none() -> None:
    with pytest.raises(ZeroDivisionError):
        power(number(0), number(-1))
    huge = power(number(7), number(10**9))
    assert huge.op == "pow"
    assert huge.is_exact
    assert power(number(Fraction(2, 3)), number(-2)) == number(Fraction(9, 4))
    assert function("floor", (number(Fraction(7, 2)),)) == number(3)
    assert function("log", (number(0),)).op == "log"


def test_unknown_symbols_are_named() -> None:
    with pytest.raises(ExpressionError, match="unknown symbol 'z': the inputs are x, y"):
        from_sympy(sympy.Symbol("z"), NAMES, [])


def test_floats_become_slots() -> None:
    x = sympy.Symbol("x")
    constants = [0.5]
    found = from_sympy(sympy.Symbol("c[0]") * x + 2.5 * sympy.sin(2.5 * x) ** 2.0, NAMES, constants)
    assert constants == [0.5, 2.5]
    assert sorted(found.slots) == [0, 1, 1]
    assert power(function("sin", (mul([slot(1), column(0)]),)), number(2)) in set(found.walk())


@pytest.mark.parametrize("seed", range(120))
def test_trees_are_what_they_were_made_of(seed: int) -> None:
    """Through sympy, programs and pickles; canonical once is canonical."""
    rng = np.random.default_rng(1000 + seed)
    try:
        form, constants = extract(random_expression(rng, 4))
        one = from_sympy(form, NAMES, [])
    except (*UNUSABLE, ValueError):  # no real number, or none of float64
        return
    X = rng.uniform(0.3, 1.5, (30, 2))
    expected = values(one, constants, X)
    assert from_program(program(one, 2, len(constants))) == [one]
    unpickled = pickle.loads(pickle.dumps(one))
    assert unpickled == one
    assert program(unpickled, 2, len(constants)) == program(one, 2, len(constants))
    assert Counter(OPERATORS, ()).of(unpickled) == Counter(OPERATORS, ()).of(one)
    again = from_sympy(as_expression(one, NAMES), NAMES, [])
    assert complexity(again, OPERATORS) <= complexity(one, OPERATORS)
    found, kept = Algebra(constants, OPERATORS).form(one)
    assert complexity(found, OPERATORS) <= complexity(one, OPERATORS)
    assert Algebra(kept, OPERATORS).form(found) == (found, kept)
    for other, numbers in ((again, constants), (found, kept)):
        valid = np.isfinite(expected) & (np.abs(expected) < 1e6)
        given = values(other, numbers, X)
        np.testing.assert_allclose(given[valid], expected[valid], rtol=1e-6, atol=1e-6)


def test_slots_are_numbered_as_they_stand() -> None:
    one = add([mul([slot(7), column(0)]), mul([slot(2), column(1)])])
    found, constants = numbered(one, [float(k) for k in range(9)])
    assert found.slots == (0, 1)
    assert constants == (7.0, 2.0)
    assert as_expression(found, NAMES) == parse("c0*x + c1*y", ["c0", "c1", *NAMES]).subs(
        {"c0": sympy.Symbol("c[0]"), "c1": sympy.Symbol("c[1]")}
    )


def test_what_inputs_cost_depends_on_their_names() -> None:
    operators = OperatorSet.of(["+", "*"], complexity_of_variables={"y": 5})
    one = tree("x*y + x")
    assert complexity(one, operators, NAMES) == complexity(parse("x*y + x", NAMES), operators) == 9
    assert spellable(one, operators, NAMES)
