"""Where a constant stands, in words of the equation."""

from __future__ import annotations

import pytest
import sympy
from equations_compared import tree

from symcompile.diff.equations.pairing import pair
from symcompile.diff.equations.place import MAX_CHARACTERS, spelled
from symcompile.diff.equations.shape import shape

PLACES = [
    ("2.5*x", ["#*x"]),
    ("2.5*x*sin(y)", ["#*x*sin(y)"]),
    ("2.5*x/y", ["#*x/y"]),
    ("2.5/x", ["#/x"]),
    ("2.5", ["#"]),
    ("x + 2.5", ["x + #"]),
    ("exp(-1.98*t)", ["exp(#*t)"]),
    ("1.2*exp(-1.98*t)", ["#*exp(-1.98*t)", "exp(#*t)"]),
    ("sin(3.14*x + 0.2)", ["sin(#*x + 0.2)", "sin(3.14*x + #)"]),
    ("sin(3.14*x - 0.25*y)", ["sin(#*x - 0.25*y)", "sin(#*y + 3.14*x)"]),
    ("sqrt(x + 2.5)", ["sqrt(x + #)"]),
    ("(x + 2.5)**2", ["(x + #)**2"]),
    ("y*(x + 2.5)", ["x + #"]),
    ("x**2.5", ["x**#"]),
    ("(x + y)**2.5", ["(x + y)**#"]),
    ("2.5**x", ["#**x"]),
    ("2.5**(1.5*x)", ["#**(1.5*x)", "2.5**(#*x)"]),
    ("(1.5*x)**y", ["(#*x)**(y)"]),
    ("Max(x, 2.5)", ["Max(#, x)"]),
    ("Max(1.5*x, y)", ["Max(#*x, y)", "Max(y, #*x)"]),
    ("where(x < 0.5, 1.5*x, 2.5)", ["#*x if x < 0.5", "x < #", "# otherwise"]),
    ("where(x < y, 1.5*x, 2.5)", ["#*x if x < y", "# otherwise"]),
    ("1.5*(t*(x + y))", ["#*t*(x + y)", "#*(x + y)*t"]),
]


def places(text: str) -> list[str]:
    found = pair(tree(text), tree(text))
    assert found is not None
    return [one.place for one in found.coefficients()]


@pytest.mark.parametrize(("text", "expected"), PLACES)
def test_place(text: str, expected: list[str]) -> None:
    found = places(text)
    assert set(found) <= set(expected)
    assert all(one.count("#") == 1 for one in found)


def test_places_are_short_and_show_the_hole() -> None:
    inner = sympy.Symbol("x")
    terms = [sympy.cos(sympy.Float(k + 0.5) * inner) for k in range(50)]
    long = sympy.Symbol("a" * 150)
    law = sympy.Float(1.5) * sympy.sin(sympy.Add(*terms, sympy.Float(2.5) * long)) + 0.5
    found = pair(shape(law), shape(law))
    assert found is not None
    texts = [one.place for one in found.coefficients()]
    assert len(texts) == 53
    assert max(map(len, texts)) <= MAX_CHARACTERS
    assert all("#" in one for one in texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x*y", "-x*y"),
        ("x - 2.5*y", "x - 2.5*y"),
        ("1/x", "1/x"),
        ("-sin(x)", "-sin(x)"),
        ("123456.789*x", "1.235e+05*x"),
        ("where(x < y, x, 2)", "Piecewise(x, x < y, 2, otherwise)"),
    ],
)
def test_spelled(text: str, expected: str) -> None:
    assert spelled(tree(text)) == expected
