"""Intervals must hold every value that a program takes inside of the box."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symcompile.expressions.evaluation import bounds, trace
from symcompile.expressions.intervals import EVERYTHING, excludes_zero
from symcompile.expressions.parser import parse
from symcompile.expressions.program import from_sympy

BOXES = [((-2.0, 3.0), (0.5, 4.0)), ((0.1, 0.2), (-7.0, -6.5)), ((-1e-3, 1e-3), (-1.0, 1.0))]
FORMS = [
    "x*y - 3*x + y", "x/y", "1/(x*y)", "x**2", "x**3 - y**4", "abs(x)*y", "abs(x)**y", "x**-3",
    "sin(3*x)", "cos(5*y)", "tan(x)", "tan(y)", "exp(x - y)", "log(abs(y))", "log(x)", "sqrt(x)",
    "sqrt(abs(x) + 1)", "tanh(x)*erf(y)", "asin(x/4)", "acos(x/4)", "atan(9*x)", "sinh(x)",
    "cosh(x)", "min(x, y, 1)", "max(x, -y)", "sign(x)*floor(y) + ceil(x)", "exp(exp(y))",
    "where(x > y, x, y**2)", "where((x < 1), 1/x, log(y))", "exp(800*x)", "2**y", "-x", "pi*x",
]  # fmt: skip


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("text", FORMS)
def test_no_value_leaves_its_interval(text: str, box: tuple[tuple[float, float], ...]) -> None:
    program = from_sympy([parse(text, ["x", "y"])], ["x", "y"], 0)
    low, high = np.array(box).T
    X = low + np.random.default_rng(0).random((4000, 2)) * (high - low)
    X = np.concatenate([X, [[a, b] for a in box[0] for b in box[1]]])
    with np.errstate(all="ignore"):
        values = trace(program, X, ())
    for value, (lower, upper) in zip(values, bounds(program, box, ()), strict=True):
        inside = np.asarray(value, dtype=float)
        inside = inside[~np.isnan(inside)]
        assert (inside >= lower).all()
        assert (inside <= upper).all()


ENDING_AT_ZERO = [
    "x/y", "1/y", "-1/y", "y**-1", "y**-2", "y**-3", "1/abs(y)", "1/(y*y)", "abs(x)**y", "x**(1/3)",
    "y**x", "log(y)", "log1p(y)", "atan2(x, y)", "atan2(y, x)", "mod(x, y)", "mod(y, x)", "sqrt(y)",
    "cbrt(y)", "sign(y)", "hypot(x, y)", "min(1/y, 3)", "max(1/y, -3)", "exp(1/y)", "atan(1/y)",
]  # fmt: skip


@pytest.mark.parametrize("end", [(-19.7, 0.0), (-19.7, -0.0), (0.0, 0.4), (-0.0, 0.4), (0.0, 0.0)])
@pytest.mark.parametrize("text", ENDING_AT_ZERO)
def test_a_zero_at_an_end_has_either_sign(text: str, end: tuple[float, float]) -> None:
    program = from_sympy([parse(text, ["x", "y"])], ["x", "y"], 0)
    for other in ((0.0, 0.035), (-2.5, -0.0), (1.0, 18.0), (-3.0, 2.0)):
        box = (other, end)
        columns = [[*np.linspace(*side, 9), *((0.0, -0.0) if 0.0 in side else ())] for side in box]
        X = np.array([(x, y) for x in columns[0] for y in columns[1]])
        with np.errstate(all="ignore"):
            value = np.asarray(trace(program, X, ())[program.outputs[0]], dtype=float)
        lower, upper = bounds(program, box, ())[program.outputs[0]]
        value = value[~np.isnan(value)]
        assert (value >= lower).all(), (box, lower)
        assert (value <= upper).all(), (box, upper)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x**2", (0.0, 9.0)),
        ("x**3", (-8.0, 27.0)),
        ("abs(x)", (0.0, 3.0)),
        ("sin(x)", (-1.0, 1.0)),
        ("cos(x/4)", (math.cos(0.75), 1.0)),
        ("sqrt(x**2 + y**2) + 0.5", (1.0, 5.5)),
        ("1/y", (0.25, 2.0)),
        ("1/x", EVERYTHING),
        ("max(x, 0)", (0.0, 3.0)),
    ],
)
def test_intervals_of_plain_forms_are_tight(text: str, expected: tuple[float, float]) -> None:
    program = from_sympy([parse(text, ["x", "y"])], ["x", "y"], 0)
    found = bounds(program, BOXES[0], ())[program.outputs[0]]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_constants_count_as_points() -> None:
    from symcompile.expressions.slots import slot

    program = from_sympy([slot(0) + slot(1)], ["x"], 2)
    low, high = bounds(program, [(0.0, 1.0)], (2.0, -5.0))[-1]
    assert low <= -3.0 <= high
    assert high - low < 1e-13
    assert excludes_zero((low, high))
    assert not excludes_zero((-1.0, 0.0))
