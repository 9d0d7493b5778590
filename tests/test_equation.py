"""Equations: what they show, compute and store."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile import Equation
from symcompile.errors import ExpressionError
from symcompile.expressions import equation as equation_module
from symcompile.expressions.canonical import UNUSABLE
from symcompile.expressions.complexity import complexity
from symcompile.expressions.light_algebra import add, mul, power
from symcompile.expressions.light_code import from_sympy as light_tree
from symcompile.expressions.light_tree import column, number
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.expressions.program import from_sympy
from symcompile.expressions.slots import slot

OPERATORS = OperatorSet.of(None)
x, t = sympy.symbols("x t")
POINTS = np.random.default_rng(0).uniform(0.1, 2.0, (50, 2))


def heat(decay: float = -1.97, k: float = 3.14) -> Equation:
    return Equation.of(sympy.exp(decay * t) * sympy.sin(k * x), ("x", "t"), OPERATORS)


def test_counts_the_law_as_the_paper_does() -> None:
    assert heat().complexity == 13
    assert heat().constants == (-1.97, 3.14)


def test_predicts_in_float64() -> None:
    expected = np.exp(-1.97 * POINTS[:, 1]) * np.sin(3.14 * POINTS[:, 0])
    np.testing.assert_allclose(heat().predict(POINTS), expected, rtol=1e-14)
    with pytest.raises(ExpressionError, match=r"expected \[n_samples, 2\]"):
        heat().predict(POINTS[:, :1])


def test_sympy_has_plain_symbols_that_users_can_substitute() -> None:
    assert heat().sympy.free_symbols == {x, t}
    value = heat().sympy.subs({"x": 0.5, "t": 1.0})
    assert float(value) == pytest.approx(math.exp(-1.97) * math.sin(1.57))


def test_shows_rounded_and_exact_constants() -> None:
    equation = heat(-1.234567891, math.pi)
    assert equation.text(4) == "exp(-1.235*t)*sin(pi*x)"
    assert equation.latex(4) == r"e^{- 1.235 t} \sin{\left(\pi x \right)}"
    assert equation.with_constants((-2.0, 3.14159)).text(7) == "exp(-2*t)*sin(3.14159*x)"


def test_python_source_needs_math_alone() -> None:
    source = heat().to_python("law")
    names: dict[str, object] = {}
    exec(compile(source, "law.py", "exec"), names)  # our own output, not anything that was loaded
    law = names["law"]
    assert callable(law)
    for point, expected in zip(POINTS, heat().predict(POINTS), strict=True):
        assert law(*point) == pytest.approx(expected, rel=1e-14)


def test_other_constants_forget_the_losses() -> None:
    equation = Equation.of(2.5 * x, ("x",), OPERATORS, loss=0.1, holdout_loss=0.2)
    moved = equation.with_constants([3.5])
    assert moved.form == equation.form
    assert math.isnan(moved.loss)
    assert math.isnan(moved.holdout_loss)
    with pytest.raises(ExpressionError, match="2 constants given, the form has 1"):
        equation.with_constants([1.0, 2.0])


def test_round_trip_through_json() -> None:
    equation = Equation.of(
        sympy.Max(x, 0.3) + sympy.sqrt(t) / 3 + sympy.pi * x**2, ("x", "t"), OPERATORS, 0.5
    )
    again = Equation.from_json(equation.to_json())
    np.testing.assert_array_equal(again.predict(POINTS), equation.predict(POINTS))
    assert (again.form, again.constants, again.loss) == (equation.form, equation.constants, 0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"constants": [1.0]},
        {"symbols": ["x"]},
        {"symbols": None},
        {"program": {"code": [["system", []]], "outputs": [0], "n_inputs": 2, "n_slots": 2}},
        {"complexity": "many"},
    ],
)
def test_damaged_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ExpressionError):
        Equation.from_json(heat().to_json() | change)
    with pytest.raises(ExpressionError):
        Equation.from_json([])


def test_unknown_symbols_are_named() -> None:
    with pytest.raises(ExpressionError, match="uses z: the inputs are x, t"):
        Equation.of(sympy.Symbol("z") + x, ("x", "t"), OPERATORS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2.5*sqrt(abs(x0*exp(1.5*sin(x1))))", "2.5*exp(0.75*sin(x1))*sqrt(Abs(x0))"),
        ("abs(exp(sin(x0)*x1)) + 1.5", "exp(x1*sin(x0)) + 1.5"),
    ],
)
def test_no_imaginary_parts_of_what_is_real(text: str, shown: str) -> None:
    """sympy writes abs(exp(sin(x))) with cosh(im(x)): its plain symbols may be complex."""
    one = Equation.of(parse(text, ("x0", "x1")), ("x0", "x1"), OperatorSet.of(None))
    again = Equation.from_json(one.to_json())
    assert one.text(6) == again.text(6) == shown
    assert again.form == one.form
    namespace: dict[str, Any] = {}
    exec(one.to_python(), namespace)
    X = np.array([[0.5, 1.25], [1.5, 0.75]])
    expected = [namespace["equation"](*row) for row in X]
    np.testing.assert_allclose(one.predict(X), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "expr",
    [
        sympy.Piecewise((x, sympy.ITE(x > 1, t > 1, t < 0)), (t, True)),
        sympy.Piecewise((sympy.Piecewise((x, x > 1), (t, True)), t > 1), (2, True)),
    ],
)
def test_what_was_stored_costs_as_much_and_reads_alike(expr: sympy.Expr) -> None:
    equation = Equation.of(expr, ("x", "t"), OPERATORS)
    again = Equation.from_json(equation.to_json())
    assert again.form_text == equation.form_text
    assert Equation.of(again.sympy, ("x", "t"), OPERATORS).complexity == equation.complexity


@pytest.mark.parametrize(
    "use",
    [
        lambda text: Equation.of(text, ["x"], OPERATORS),
        lambda text: complexity(text, OPERATORS),
        lambda text: from_sympy([text], ["x"], 0),
    ],
)
def test_text_is_never_evaluated(use: Callable[[str], object], tmp_path: Path) -> None:
    text = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    with pytest.raises(ExpressionError, match="a str is no sympy expression"):
        use(text)
    assert not (tmp_path / "ran").exists()


def light(text: str) -> Equation:
    constants: list[float] = []
    tree = light_tree(parse(text, ["x", "y"]), ["x", "y"], constants)
    return Equation.of_tree(tree, ["x", "y"], constants, OPERATORS, loss=0.5)


def test_a_form_is_made_of_a_tree_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    build = equation_module.as_expression
    monkeypatch.setattr(equation_module, "as_expression", lambda *a: made.append(a) or build(*a))
    one = light("2.5*(3.0*x + 1.5*x)*y")
    assert one.is_canonical
    assert one.constants == (11.25,)
    X = np.random.default_rng(0).uniform(1, 2, (10, 2))
    moved = pickle.loads(pickle.dumps(one.updated(constants=(2.0,), loss=0.1)))
    np.testing.assert_allclose(moved.predict(X), 2.0 * X[:, 0] * X[:, 1])
    assert (moved.loss, moved.complexity, one.loss) == (0.1, one.complexity, 0.5)
    named = [e.__dask_tokenize__() for e in (one, light("2.5*(3.0*x + 1.5*x)*y"), moved)]
    assert named[0] == named[1] != named[2]
    assert made == []
    product, tree = slot(0) * x * sympy.Symbol("y"), one.tree
    assert one.form == product
    assert one.is_canonical
    assert one.tree == tree
    assert one == Equation(product, ("x", "y"), (11.25,), 5, 0.5)
    assert one.form is one.form
    assert len(made) == 1


def test_trees_that_make_no_sense_are_refused() -> None:
    zero = add([column(0), mul([number(-1), column(0)])])
    with pytest.raises(UNUSABLE):
        Equation.of_tree(power(zero, number(-1)), ["x"], (), OPERATORS)
