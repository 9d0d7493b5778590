"""Text, LaTeX and Python of an equation can be read in one way, whatever its inputs are called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sympy

from symcompile import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import ARITY, FUNCTIONS, parse
from symcompile.expressions.program import from_sympy

OPERATORS = OperatorSet.of(list(VOCABULARY))
NAMES = """pi E e I S N O Q C exp sin log sqrt abs Abs min max where Min Max beta gamma zeta lamda
    Lambda alpha x_1 x1 nan inf oo zoo NaN math print type match _ __debug__ Piecewise Eq Symbol
    float int µ α sum"""
HOSTILE = NAMES.split()
LAWS = [
    "{a} + 2.5*{b}*pi - exp(1)*{c}",
    "sin(pi*{a})**2/({b} + exp(1.5*{c}))",
    "where({a} > {b}, {c}**3, sqrt({a})) + abs({b})",
    "min({a}, pi*{b}, exp(1)) + max({c}, 0.5)",
    "tanh({a}*{b}) - log({c}) + sign({a}) + floor(3.3*{b}) + erf({c})",
    "{a}**{b} - 2**{c} + ({a} + {b})**-2 + {c}**1.7",
    "exp({a}) + exp(-2*{b}**2) + acos({c}/10) + 0.3",
]


def triples() -> list[tuple[str, ...]]:
    return [tuple(HOSTILE[k : k + 3]) for k in range(len(HOSTILE) - 2)]


def equation(law: str, names: tuple[str, ...]) -> Equation:
    expr = parse(law.format(a="x0", b="x1", c="x2"), ("x0", "x1", "x2"))
    given = {sympy.Symbol(f"x{k}"): sympy.Symbol(name) for k, name in enumerate(names)}
    return Equation.of(expr.xreplace(given), names, OPERATORS)


X = np.random.default_rng(0).uniform(0.2, 2.0, (40, 3))


@pytest.mark.parametrize("names", triples(), ids="-".join)
def test_text_is_read_back_as_the_same_function(names: tuple[str, ...]) -> None:
    for law in LAWS:
        given = equation(law, names)
        again = Equation.of(parse(given.text(17), names), names, OPERATORS)
        np.testing.assert_allclose(again.predict(X), given.predict(X), rtol=1e-13)


@pytest.mark.parametrize("names", triples(), ids="-".join)
def test_python_source_computes_the_same(names: tuple[str, ...]) -> None:
    for law in LAWS:
        given = equation(law, names)
        found: dict[str, Any] = {}
        exec(compile(given.to_python("law"), "law.py", "exec"), found)  # our own output
        values = [found["law"](*row) for row in X.tolist()]
        np.testing.assert_allclose(values, given.predict(X), rtol=1e-12)


def test_constants_make_room_in_text() -> None:
    law = "{a}*sin(pi*{b}) + exp(1)*{c}"
    assert equation(law, ("a", "t", "x")).text() == "a*sin(pi*t) + exp(1)*x"
    assert equation(law, ("pi", "t", "E")).text() == "exp(1)*E + pi*sin(acos(-1)*t)"
    # Whether or not this equation uses the input: a reader knows its inputs.
    assert equation("{a}*pi + {b}", ("a", "b", "pi")).text() == "acos(-1)*a + b"


def test_forms_of_stored_equations_make_room_as_well() -> None:
    form = equation("2.5*sin(pi*{a})", ("pi", "b", "c")).form_text
    assert form == "c[0]*sin(acos(-1)*pi)"


def test_inputs_make_room_in_latex() -> None:
    law = "sin(pi*{a}) + exp({b}) + {c}"
    assert equation(law, ("x", "t", "beta")).latex() == r"\beta + e^{t} + \sin{\left(\pi x \right)}"
    assert r"\mathtt{pi}" in equation(law, ("pi", "t", "x")).latex()
    assert r"\mathtt{e}" in equation(law, ("e", "t", "x")).latex()
    both = equation("{a} + {b} + {c}", ("x1", "x_1", "y")).latex()
    assert both == r"\mathtt{x1} + \mathtt{x\_1} + y"


def test_constants_that_are_no_numbers_are_shown() -> None:
    given = equation("0.4*exp(1.3*{a}) + 0.1*{b} - 0.7*{c}", ("a", "b", "c"))
    broken = given.with_constants([math.nan, math.inf, -math.inf, 1.5])
    assert "nan" in broken.text()
    assert "inf" in broken.text()
    assert r"\mathrm{nan}" in broken.latex()
    assert r"\infty" in broken.latex()
    assert "math.nan" in broken.to_python()
    assert np.isnan(broken.predict(np.ones((2, 3)))).all()


def test_every_function_that_can_be_read_can_be_printed_and_read_again() -> None:
    for name in sorted(FUNCTIONS):
        arity = {"min": 3, "max": 3, "Min": 3, "Max": 3}.get(name, ARITY[name][0])
        text = f"{name}({', '.join('abc'[:arity])})" if name != "where" else "where(a < b, a, c)"
        given = Equation.of(parse(text, "abc"), ("a", "b", "c"), OPERATORS)
        again = Equation.of(parse(given.text(17), "abc"), ("a", "b", "c"), OPERATORS)
        assert from_sympy([again.form], "abc", 0) == from_sympy([given.form], "abc", 0), name
