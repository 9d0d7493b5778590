"""Same function or not, by values: where both are defined, point by point, few points or many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from equations_compared import box, equation, law_pair

from symcompile.diff.equations import law
from symcompile.diff.equations.law import (
    ENOUGH,
    around,
    compare_values,
    differ_anywhere,
    laws,
)
from symcompile.expressions.evaluation import Array


def line(low: float, high: float, n: int = 200) -> Array:
    return np.column_stack([np.linspace(low, high, n), np.linspace(1, 2, n), np.linspace(2, 1, n)])


@pytest.mark.parametrize(
    ("old", "new", "points", "same"),
    [
        ("x*(y + 1)", "x*y + x", box(), True),
        ("x*(y + 1)", "x*y + 1.0001*x", box(), False),
        ("x + 1e-12*sin(y)", "x", box(), True),
        ("x + 1e-7*sin(y)", "x", box(), False),
        # Rounding of a large sum that cancels.
        ("(x - 1)**3", "x**3 - 3*x**2 + 3*x - 1", line(0.5, 1.5), True),
        # Another law where it is small, hidden by where it is large.
        ("exp(40*x)", "exp(40*x) + 0.001*y", line(0, 2), False),
        # Defined on one side only.
        ("log(x)", "log(abs(x))", line(-1, 2), False),
        ("sqrt(x)", "sqrt(abs(x))", line(-2, -1), None),
        ("log(x**2)", "2*log(abs(x))", line(-1, 2), True),
        ("Max(x, 0.5)", "Max(x, 0.6)", line(0.7, 2), True),
    ],
)
def test_same(old: str, new: str, points: Array, same: bool | None) -> None:
    one, other = law_pair(old, new)
    assert compare_values(one, other, points).same is same
    assert compare_values(other, one, points).same is same


def test_only_points_where_both_are_finite_count() -> None:
    found = compare_values(*law_pair("log(x)", "2*log(x)"), line(-1, 1, 201))
    assert found.points == 100
    assert math.isfinite(found.difference)


def test_difference_is_finite_for_a_law_that_is_zero() -> None:
    found = compare_values(*law_pair("0*x", "2.5*y"), line(0, 1))
    assert found.difference == pytest.approx(5.0)


@pytest.mark.parametrize("n", [1, 2, 3, ENOUGH - 1])
def test_few_points_are_joined_by_others_around_them(n: int) -> None:
    points = box(n)
    found = compare_values(*law_pair("x*y", "x + y"), points)
    assert found.points > ENOUGH
    assert compare_values(*law_pair("x*(y + 1)", "x*y + x"), points).same is True


def test_many_points_are_taken_as_they_are() -> None:
    assert compare_values(*law_pair("x*y", "x + y"), box(300)).points == 300


def test_points_around_keep_signs_and_stay_between() -> None:
    points = np.array([[1e-6, -5.0, 0.0], [3.0, -5.0, 0.0]])
    found = around(points)
    assert found.shape[1] == 3
    assert (found[:, 0] >= 1e-6).all()
    assert (found[:, 0] <= 3.0).all()
    assert found[:, 1].max() < 0
    assert np.ptp(found, axis=0).min() > 0
    assert np.array_equal(found, around(points))


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ("x*(y + 1)", "x*y + x", False),
        ("x*y", "x*y + 0.001", True),
        ("log(x - 5)", "log(x - 5)*1.5", True),
        ("log(x)", "log(abs(x))", False),  # may be the same: where both are defined they are
    ],
)
def test_differ_anywhere(old: str, new: str, differ: bool) -> None:
    one, other = law_pair(old, new)
    assert differ_anywhere(one, other) is differ
    assert differ_anywhere(other, one) is differ


def test_a_large_equation_is_evaluated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = law_pair("x*sin(y) + log(t)", "x")
    values, peaks = one.values(box())
    monkeypatch.setattr(law, "_HELD", 50)
    parts, part_peaks = one.values(box())
    assert np.array_equal(values, parts)
    assert np.array_equal(peaks, part_peaks)


def test_peak_is_the_largest_number_on_the_way() -> None:
    one, _ = law_pair("cos(1000.5*x)", "x")
    values, peaks = one.values(np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    assert np.abs(values).max() <= 1
    assert peaks.tolist() == [1000.5, 2001.0]


def test_columns_are_found_by_name() -> None:
    old, new = laws(equation("x/y", ("x", "y")), equation("x/y", ("y", "x")))
    assert compare_values(old, new, box()[:, :2]).difference == 0.0
    wider, narrow = laws(equation("x/t"), equation("x/t", ("x", "t")))
    assert compare_values(wider, narrow, box()).difference == 0.0
    assert (wider.columns, narrow.columns) == (3, 3)


def test_pieces_of_a_large_equation_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = law_pair("floor(3*x) + sign(y - 1.5)", "x")
    points, shapes = box(200), []
    whole = one.pieces(points)
    traced = law.trace
    monkeypatch.setattr(law, "_HELD", 100)
    monkeypatch.setattr(law, "trace", lambda p, X, c: shapes.append(len(X)) or traced(p, X, c))
    np.testing.assert_array_equal(one.pieces(points), whole)
    assert max(shapes) * len(one.program.instructions) <= 100
    assert len(law.at_jumps(one, points)) > 0
