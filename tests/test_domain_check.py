"""Poles and domain errors: found where they are, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.domain_check import check
from symcompile.fidelity.outcome import DomainIssue
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.target import Target

UNIT = np.random.default_rng(0).uniform(0, 1, (1000, 2))


def region(
    names: tuple[str, ...] = ("a", "b"),
    features: dict[str, str] | None = None,
    projection: Projection | None = None,
    dtype: str = "float32",
) -> Region:
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), len(names)),), (TensorOutput(1),)
    )
    target = Target("edge", features=features)
    return Region("edge", target, interface, names, dtype, projection_in=projection)


def issues(
    text: str, X: Array = UNIT, of: Region | None = None, **seen: Any
) -> tuple[DomainIssue, ...]:
    of = of or region()
    equation = Equation.of(parse(text, of.variables), of.variables, OperatorSet.of(None))
    return check(equation, of, X, 0, **seen)


@pytest.mark.parametrize(
    ("text", "operation", "problem"),
    [
        ("1/(a - 0.5)", "1/(a - 0.5)", "denominator"),
        ("b + a/(a - 0.5)**2", "a/(a - 0.5)**2", "denominator"),
        ("1/cbrt(a - 0.5)", "1/cbrt(a - 0.5)", "denominator"),
        ("1/sinh(a - 0.5)", "1/sinh(a - 0.5)", "denominator"),
        ("atanh(2*a)", "atanh(2*a)", "atanh"),
        ("log1p(-2*a)", "log1p(-2*a)", "log1p"),
        ("exp(1/(a - 0.5))", "1/(a - 0.5)", "denominator"),
        ("1/(1/(a - 0.5) + 3)", "1/(a - 0.5)", "denominator"),
        ("log(a - 0.3)", "log(a - 0.3)", "log"),
        ("sqrt(a - b)", "sqrt(a - b)", "square root"),
        ("tan(4*a)", "tan(4*a)", "tan"),
        ("asin(a + b)", "asin(a + b)", "asin"),
        ("acos(2*a)", "acos(2*a)", "acos"),
        ("(a - 0.5)**0.3", "(a - 0.5)**0.3", "power"),
        ("exp(200*a)", "exp(200*a)", "overflows"),
        ("1/sigmoid(2000*a - 2000)", "1/sigmoid(2000*a - 2000)", "overflows"),
        ("where(a > 0.5, log(a - 0.6), b)", "log(a - 0.6)", "log"),
    ],
)
def test_trouble_on_recorded_samples_is_found(text: str, operation: str, problem: str) -> None:
    (issue,) = issues(text)
    assert issue.on_data
    assert issue.operation == operation
    assert problem in issue.problem


@pytest.mark.parametrize(
    "text",
    [
        "a + 3*b",
        "1/(a + b + 0.1)",
        "1/((a - 0.5)**2 + (b - 0.3)**2 + 0.01)",
        "1/exp(a)",
        "1/sin(a + 0.1)",
        "log(a + 0.1)",
        "sqrt(a)",
        "tan(a)",
        "(a - 0.5)**3 + (a - 0.5)**-0.0",
        "exp(80*a)",
        "1/sign(a - 0.5)",  # a jump, no zero between
        "sin(a - 0.5)/(a - 0.5)",  # bounded on both sides of 0/0
        "where(a > 0.5, log(a - 0.4), b)",  # the branch is not taken where it is undefined
        "where(a > 0.5, 1/(a - 0.4), 1/(a - 0.6))",
        "sqrt(max(a - b, 0))",
        "1/max(a - 0.5, 0.01)",
    ],
)
def test_sound_equations_raise_nothing(text: str) -> None:
    assert issues(text) == ()


def test_the_pole_between_samples_is_pinned_down() -> None:
    X = np.array([[0.1, 0.0], [0.9, 1.0]])
    (issue,) = issues("b/(a - 0.3137)", X)
    assert issue.on_data
    assert issue.where["a"] == pytest.approx(0.3137, abs=1e-9)
    (issue,) = issues("1/(a - 0.3137)", X)
    assert issue.where == {"a": issue.where["a"]}  # b plays no part


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("1/((a - 0.51)**2 + (b - 0.32)**2)", {"a": 0.51, "b": 0.32}),  # touches zero
        ("log(a + b - 0.2)", None),
        ("1/(a + b - 0.3)", None),
    ],
)
def test_trouble_inside_of_the_box_gets_a_witness(
    text: str, point: dict[str, float] | None
) -> None:
    """Samples on a line a + b = 1; the trouble lies elsewhere in their box."""
    a = np.linspace(0, 1, 401)
    (issue,) = issues(text, np.stack([a, 1 - a], axis=1))
    assert not issue.on_data
    if point:
        assert issue.where == pytest.approx(point, abs=1e-4)
    elif "log" in text:
        assert issue.where["a"] + issue.where["b"] <= 0.2
    else:
        assert issue.where["a"] + issue.where["b"] == pytest.approx(0.3, abs=1e-9)


def test_a_narrow_region_of_trouble_is_searched_for() -> None:
    """The logarithm is undefined on 0.002 % of the box only."""
    a = np.linspace(0, 1, 101)
    X = np.stack([a, np.full_like(a, 0.9)], axis=1)
    X[0] = [0.0, 0.0]
    (issue,) = issues("log((a - 0.7)**2 + (b - 0.4)**2 - 6e-6)", X)
    assert not issue.on_data
    assert (issue.where["a"] - 0.7) ** 2 + (issue.where["b"] - 0.4) ** 2 <= 6e-6


def test_features_are_looked_through() -> None:
    """r is never below 0.01, so only the division by dx is in trouble."""
    of = region(
        ("x0", "x1", "y0", "y1"),
        {"dx": "x0 - x1", "r": "sqrt(dx**2 + (y0 - y1)**2) + 0.01"},
    )
    X = np.random.default_rng(1).normal(size=(400, 4))
    assert issues("dx/r**3", X, of) == ()
    (issue,) = issues("dx/r**3 + 1/dx", X, of)
    assert (issue.operation, issue.on_data) == ("1/dx", True)
    assert issue.where["x0"] == pytest.approx(issue.where["x1"], abs=1e-9)
    assert set(issue.where) == {"x0", "x1"}


def test_trouble_in_a_feature_counts() -> None:
    of = region(("a", "b"), {"s": "sqrt(a - 0.5)", "t": "1/(b - 0.5)"})
    (issue,) = issues("3*s", UNIT, of)  # t is not used
    assert (issue.operation, issue.on_data) == ("sqrt(a - 0.5)", True)


def test_projected_inputs_are_looked_through() -> None:
    components = np.array([[0.6, 0.8]])
    of = region(projection=Projection(np.array([0.5, 0.5]), components))
    (issue,) = issues("1/(z0 - 0.1)", UNIT, of)
    point = np.array([[issue.where["a"], issue.where["b"]]])
    assert of.variable_values(point)[0, 0] == pytest.approx(0.1, abs=1e-9)
    assert issues("1/(z0 - 1.0)", UNIT, of) == ()


def test_overflow_depends_on_the_type_of_the_block() -> None:
    assert issues("exp(20*a)", of=region(dtype="float16"))[0].problem.startswith("overflows")
    assert issues("exp(20*a)", of=region(dtype="float32")) == ()
    assert issues("exp(200*a)", of=region(dtype="float32")) != ()
    assert issues("exp(200*a)", of=region(dtype="float64")) == ()


def test_same_seed_same_issues() -> None:
    a = np.linspace(0, 1, 51)
    X = np.stack([a, 1 - a], axis=1)
    assert issues("log(a + b - 0.2)", X) == issues("log(a + b - 0.2)", X)


def test_rows_that_are_not_finite_and_empty_recordings_are_left_out() -> None:
    assert issues("1/(a - 0.5)", np.array([[np.nan, 1.0], [0.1, 1.0], [0.2, 0.0]])) == ()
    assert issues("1/(a - 0.5)", np.empty((0, 2))) == ()


def test_the_type_that_a_block_computes_in_counts() -> None:
    assert issues("exp(200*a)")[0].on_data
    assert issues("exp(200*a)", dtype="float64") == ()
    assert issues("exp(20*a)", of=region(dtype="float16"), dtype="float32") == ()


def test_what_does_the_block_no_harm_is_no_trouble_on_data() -> None:
    """Its values and slopes were seen to be finite: 1/(1 + inf) is zero, and so is its slope."""
    (issue,) = issues("1/(1 + exp(200*a))", sound=True)
    assert not issue.on_data
    assert issues("1/(1 + exp(200*a))")[0].on_data
    (pole,) = issues("1/(a - 0.5)", sound=True)  # no sample meets it, but it lies between them
    assert pole.on_data
