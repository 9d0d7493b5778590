"""Constants of two equations of one form: paired at the least change, or not at all."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy
from equations_compared import tree

from symcompile.diff.equations.pairing import Pairing, change, cheapest, pair
from symcompile.diff.equations.shape import Constant, shape

x, y = sympy.symbols("x y")


def paired(old: str, new: str) -> Pairing:
    found = pair(tree(old), tree(new))
    assert found is not None
    return found


def values(found: Pairing) -> set[tuple[float, float]]:
    return {(one.old, one.new) for one in found.coefficients()}


PAIRED = [
    ("0.1*x + 0.2*y", "0.2*x + 0.1*y", {(0.1, 0.2), (0.2, 0.1)}),
    ("1.5*sin(2.5*x) + 3.5*sin(0.5*x)", "3.6*sin(0.51*x) + 1.6*sin(2.6*x)",
     {(1.5, 1.6), (2.5, 2.6), (3.5, 3.6), (0.5, 0.51)}),
    ("1.5*x**2 + 2.5*x**3", "2.4*x**2 + 1.6*x**3", {(1.5, 2.4), (2.5, 1.6)}),
    ("1.5*x**2.5 + 2.5*x**3.5", "2.6*x**3.6 + 1.6*x**2.6",
     {(1.5, 1.6), (2.5, 2.6), (3.5, 3.6)}),
    ("x**2 + 1.5*x**3", "1.6*x**3 + x**2.001", {(2.0, 2.001), (1.5, 1.6)}),
    ("Max(1.5*x, 2.5*x)", "Max(2.6*x, 1.6*x)", {(1.5, 1.6), (2.5, 2.6)}),
    ("1.5*exp(2.5*x)*exp(3.5*y)", "1.6*exp(2.6*x)*exp(3.6*y)",
     {(1.5, 1.6), (2.5, 2.6), (3.5, 3.6)}),
    ("where(x < 0.5, 1.5, 2.5)", "where(x < 0.6, 2.5, 1.5)", {(0.5, 0.6), (1.5, 2.5), (2.5, 1.5)}),
    ("2*x - 3*y", "2*x + 3*y", {(-3.0, 3.0)}),
    ("x - 1.5*y", "x + 1.5*y", {(-1.5, 1.5)}),
    ("-x + y", "1.5*x + y", {(-1.0, 1.5)}),
    ("2**x", "2.5**x", {(2.0, 2.5)}),
    ("x + 3", "x + 4", {(3.0, 4.0)}),
]  # fmt: skip

NOT_PAIRED = [
    ("x - y", "x + y"),
    ("x + 1", "x - 1"),
    ("1", "-1"),
    ("x**2", "x**3"),
    ("sqrt(x)", "x**(1/3)"),
    ("2**x", "3**x"),
    ("x/y", "x*y**2"),
    ("x**2 + x**3", "x**2 + x**4"),
    ("sin(x) - sin(2.5*x)", "sin(x) + sin(2.5*x)"),
    ("x", "x + 0.5"),
    ("x", "x**1.5"),
]


@pytest.mark.parametrize(("old", "new", "expected"), PAIRED)
def test_the_least_change_both_ways(old: str, new: str, expected: set[tuple[float, float]]) -> None:
    assert values(paired(old, new)) == expected
    assert {(b, a) for a, b in values(paired(new, old))} == expected
    assert paired(old, new).cost == pytest.approx(paired(new, old).cost)


@pytest.mark.parametrize(("old", "new"), NOT_PAIRED)
def test_other_laws_do_not_pair(old: str, new: str) -> None:
    assert pair(tree(old), tree(new)) is None
    assert pair(tree(new), tree(old)) is None


def test_ordered_arguments_stay_in_order() -> None:
    found = paired("where(x < 0.5, 1.5*x, 2.5*x)", "where(x < 0.5, 2.5*x, 1.5*x)")
    assert values(found) == {(0.5, 0.5), (1.5, 2.5), (2.5, 1.5)}


def test_equal_terms_are_paired_first() -> None:
    found = paired("1.5*sin(2.5*x) + 9.5*sin(7.5*x)", "1.5*sin(2.5*x) + 1.6*sin(2.4*x)")
    assert values(found) == {(1.5, 1.5), (2.5, 2.5), (9.5, 1.6), (7.5, 2.4)}


def test_no_assignment_costs_less() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.uniform(1, 2, (2, 5, 2))

    def law(rows: np.ndarray) -> sympy.Expr:
        return sympy.Add(*(sympy.Float(a) * sympy.sin(sympy.Float(b) * x) for a, b in rows))

    found = pair(shape(law(old)), shape(law(new)))
    assert found is not None

    def cost(order: tuple[int, ...]) -> float:
        pairs = zip(old.ravel(), new[list(order)].ravel(), strict=True)
        return sum(change(Constant(a, False), Constant(b, False)) for a, b in pairs)

    assert found.cost == pytest.approx(min(map(cost, itertools.permutations(range(5)))))
    assert found.ambiguous


def test_a_large_group_is_paired_in_order_of_its_constants() -> None:
    def law(scale: float) -> sympy.Expr:
        rates = [sympy.Float((k + 1) * scale) for k in range(400)]
        return sympy.Add(*(sympy.sin(rate * x) for rate in rates))

    old, new = shape(law(1.0)), shape(law(1.0001))
    found = pair(old, new)
    assert found is not None
    assert found.ambiguous
    assert found.largest == pytest.approx(0.0001, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "ambiguous"),
    [
        ("1.5*sin(x) + 2.5*cos(x)", "1.6*sin(x) + 2.6*cos(x)", False),
        ("1.5*sin(2*x) + 2.5*sin(3.5*x)", "1.5*sin(2*x) + 2.6*sin(3.5*x)", False),
        ("1.5*sin(2*x) + 2.5*sin(3.5*x)", "1.6*sin(2*x) + 2.6*sin(3.5*x)", True),
    ],
)
def test_ambiguous_where_there_was_a_choice(old: str, new: str, ambiguous: bool) -> None:
    assert paired(old, new).ambiguous is ambiguous


def test_same_means_every_bit() -> None:
    assert paired("2*x + 1.5", "2.0*x + 1.5").same
    assert not paired("1.5*x", f"{math.nextafter(1.5, 2)!r}*x").same


def test_exact_numbers_that_stay_are_no_coefficients() -> None:
    found = paired("2*x**2 + 1.5*y", "2*x**2 + 1.6*y")
    assert len(found.pairs) > 2
    assert values(found) == {(1.5, 1.6)}


def test_a_constant_in_several_places_is_one() -> None:
    (one,) = paired("2.5*x + 2.5*y", "2.6*x + 2.6*y").coefficients()
    assert (one.old, one.new, one.place) == (2.5, 2.6, "#*x, #*y")
    assert len(paired("2.5*x + 2.5*y", "2.5*x + 2.6*y").coefficients()) == 2
    (many,) = paired("2.5*(x + y + t + x*y)", "2.6*x + 2.6*y + 2.6*t + 2.6*x*y").coefficients()
    assert many.place.endswith(", ...")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1.0, 1.0, 0.0),
        (1.0, 2.0, 0.5),
        (-1.0, 1.0, 2.0),
        (0.0, 1.0, 1.0),
        (0.0, -0.0, 0.0),
        (math.nan, math.nan, 2.0),
        (math.inf, math.inf, 2.0),
        (math.nan, 1.0, 2.0),
        (math.inf, 1.0, 2.0),
        (1e308, -1e308, 2.0),
    ],
)
def test_change_is_relative_to_the_larger_one(a: float, b: float, expected: float) -> None:
    assert change(Constant(a), Constant(b)) == change(Constant(b), Constant(a)) == expected


def test_cheapest_takes_the_first_of_equals() -> None:
    one, other = paired("1.5*x", "1.6*x"), paired("2.5*x", "2.6*x")
    assert cheapest([None, one, other]) is other
    assert cheapest([one, one, None]) is one
    assert cheapest([None]) is None
