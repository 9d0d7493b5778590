"""Units: what goes together in them, and that nothing else is on a front."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from test_custom import OPERATORS
from test_driver import QUICK
from test_pysr_engine import fit, real_pysr, search
from torch import nn

from symcompile import SymCompileError, Target, distill, load, symcompile
from symcompile.errors import EngineError, ExpressionError, TargetError
from symcompile.expressions.complexity import spellable
from symcompile.expressions.dimensions import FREE, Dimensions
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import VOCABULARY
from symcompile.expressions.parser import parse
from symcompile.expressions.slots import slot
from symcompile.expressions.units import Units, exponents
from symcompile.regression.engines.pysr import PySREngine
from symcompile.regression.engines.pysr_settings import units as pysr_units

__all__ = ["real_pysr", "search"]

NAMES = ("x", "t", "v", "m", "k")
GIVEN = Units({"x": "m", "t": "s", "v": "km/h", "m": "kg", "k": "1"})
DIMENSIONS, _ = GIVEN.of_inputs(NAMES, 1)
PURE = Units(GIVEN.inputs, dimensionless_constants=True).of_inputs(NAMES, 1)[0]


def read(text: str) -> sympy.Expr:
    """Constants are called c0, c1."""
    expr = parse(text, [*NAMES, "c0", "c1"])
    return expr.xreplace({sympy.Symbol(f"c{k}"): slot(k) for k in range(2)})


def test_units_are_read() -> None:
    assert exponents("units", "m/s") == {"length": 1, "time": -1}
    assert exponents("units", "N*m") == {"length": 2, "mass": 1, "time": -2}
    assert exponents("units", "m**0.5") == {"length": Fraction(1, 2)}
    assert exponents("units", "rad") == exponents("units", "1") == exponents("units", " ") == {}
    assert DIMENSIONS.bases == ("length", "mass", "time")
    assert dict(DIMENSIONS.inputs)["v"] == (12, 0, -12)


@pytest.mark.parametrize(
    "unit", ["foo", "m + s", "3*m", "__import__('os')", "m" * 300, 3, None, "m**(1/5)", "m**"]
)
def test_what_is_no_unit(unit: object) -> None:
    with pytest.raises(ExpressionError, match=r"^units of 'x' is .*expected"):
        exponents("units of 'x'", unit)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("v*t", "length"),
        ("x + v*t", "length"),
        ("x/t - v", "length*time^-1"),
        ("sqrt(x*x + v**2*t**2)", "length"),
        ("sqrt(x)", "length^(1/2)"),
        ("m*v**2/2", "length^2*mass*time^-2"),
        ("exp(k)*x", "length"),
        ("exp(-v*t/x)", "no dimension"),
        ("c0*t", "any dimension"),
        ("x + c0*t", "length"),
        ("x + c0", "length"),
        ("sin(c0*t + c1)*x", "length"),
        ("x*(1 + k)", "length"),
        ("x**k", None),
        ("k**k", "no dimension"),
        ("max(x, v*t)", "length"),
        ("atan2(x, v*t)", "no dimension"),
        ("hypot(x, v*t)", "length"),
        ("where(x > v*t, x, v*t)", "length"),
        ("x + t", None),
        ("x + 1", None),
        ("exp(t)", None),
        ("sin(c0 + t)", None),
        ("x**c0", None),
        ("max(x, t)", None),
        ("where(x > t, x, v*t)", None),
        ("floor(x)", None),
        ("abs(-x)", "length"),
        ("sign(x)", "no dimension"),
    ],
)
def test_check(text: str, dimension: str | None) -> None:
    problem = DIMENSIONS.check(read(text))
    assert (problem is None) is (dimension is not None), problem
    if dimension is not None:
        assert DIMENSIONS.text(DIMENSIONS.of(read(text))) == dimension


def test_what_is_wrong_is_said() -> None:
    assert DIMENSIONS.check(read("x + t")) == "t + x adds time and length"
    assert DIMENSIONS.check(read("exp(t)")) == "exp(t) is of what has time"
    wanted = DIMENSIONS.for_output((12, 0, -12))
    assert wanted.check(read("x*t")) == ("t*x is of length*time, the output of length*time^-1")
    assert wanted.check(read("c0*t")) is None
    assert wanted.check(read("x/t")) is None
    assert DIMENSIONS.check(read("c0*x").subs("x", "q")) == "no unit is known of q"


def test_constants_may_be_pure_numbers() -> None:
    assert PURE.check(read("x + c0*t")) == "c[0]*t + x adds length and time"
    assert PURE.check(read("c0*x + c1*v*t")) is None
    assert PURE.check(read("exp(c0*t)")) is not None
    assert PURE.for_output((12, 0, 0)).check(slot(0)) is not None
    assert PURE.check(read("x*2.5 + v*t")) is None
    # A number with a point in it is a constant.
    assert DIMENSIONS.check(read("x + 2.5")) is None


def test_an_operator_of_ones_own_goes_by_its_definition() -> None:
    lorentz = OPERATORS.custom[0].head
    v, k = sympy.Symbol("v"), sympy.Symbol("k")
    assert DIMENSIONS.check(lorentz(k)) is None
    assert DIMENSIONS.check(lorentz(v)) is not None


@pytest.mark.parametrize("name", VOCABULARY)
def test_one_operation_at_a_time_says_the_same(name: str) -> None:
    """What builds forms from small to large gets what a form of the whole gets."""
    row = VOCABULARY[name]
    x, t, k = sympy.symbols("x t k")
    for args in [(x, x), (x, t), (k, k), (x, k), (k, x), (slot(0), x), (slot(0), slot(1))]:
        known = [DIMENSIONS.of(arg) for arg in args[: row.arity]]
        expr = row.build(*args[: row.arity])
        expected = None if DIMENSIONS.check(expr) else DIMENSIONS.of(expr)
        if args[0] != args[-1] or row.arity == 1:  # x - x is no sum any more
            assert DIMENSIONS.combine(name, *known) == expected, args
    assert DIMENSIONS.none != FREE


def test_plain_data() -> None:
    free = replace(DIMENSIONS, inputs=(("k", FREE),))  # a feature with a constant in it
    for dimensions in (DIMENSIONS, PURE.for_output((12, 0, -12)), free):
        assert Dimensions.from_json(json.loads(json.dumps(dimensions.to_json()))) == dimensions
        operators = OperatorSet(OperatorSet.of(None).costs, dimensions=dimensions)
        described = {"operators": operators.to_dict(), "limits": operators.limits()}
        assert OperatorSet.described(json.loads(json.dumps(described))) == operators
    stored = DIMENSIONS.to_json()
    for damage in (
        {"inputs": {"x": [1]}},
        {"bases": 3},
        {"output": "m"},
        {"inputs": [1]},
        {"bases": ["a b", "c", "d"]},
    ):
        with pytest.raises(ExpressionError, match="not stored dimensions"):
            Dimensions.from_json(stored | damage)
        with pytest.raises(EngineError, match="not stored dimensions"):
            OperatorSet.described({"limits": {"dimensions": stored | damage}})


# --- searches ------------------------------------------------------------------------------------

X = np.random.default_rng(0).uniform(1.0, 3.0, (300, 2))
Y = X[:, 1] ** 2 + X[:, 0]
FALL: dict[str, Any] = QUICK | {"max_complexity": 15, "operators": ["+", "*", "exp", "square"]}


def test_no_front_breaks_them() -> None:
    names = ["x", "t"]
    free = distill(X, Y, **FALL, names=names)[0]
    given = {"units": {"x": "m", "t": "s"}, "output_units": "m"}
    front = distill(X, Y, **FALL, names=names, **given)[0]
    dimensions, (output,) = Units(given["units"], "m").of_inputs(names, 1)
    wanted = dimensions.for_output(output)
    assert any(wanted.check(equation.form) for equation in free)
    assert len(front) > 1
    assert all(wanted.check(equation.form) is None for equation in front)
    assert str(free.best.form) == "t**2 + x"
    assert str(front.best.form) == "c[0]*t**2 + x"
    assert front.best.constants == pytest.approx([1.0], abs=1e-6)


def test_of_several_outputs_each_has_its_own() -> None:
    Y2 = np.column_stack([X[:, 0] * X[:, 1], X[:, 0] + 2.0 * X[:, 1] ** 2])
    options = FALL | {"dimensionless_constants": True}
    units = ["m", "m**0.5"]
    fronts = distill(X, Y2, **options, units=units, output_units={0: "m**1.5", 1: "m"})
    assert fronts[0].best.text() == "x0*x1"
    assert fronts[1].best.text() == "x0 + 2*x1**2"
    wrong = distill(X, Y2, **options, units=units, output_units=["kg", "m"])
    assert not len(wrong[0])


class Fall(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] + x[:, 1:] ** 2


def test_a_compiled_model(tmp_path: Path) -> None:
    """Of features the dimensions follow from those of the inputs."""
    target = Target(
        "0",
        names=("x", "t"),
        features={"x": "x", "s": "t**2 + 0.01"},
        units={"x": "m", "t": "s"},
        output_units={0: "m"},
    )
    data = torch.tensor(X, dtype=torch.float32)
    compiled = symcompile(nn.Sequential(Fall()), target, data, **FALL)
    compiled.save(tmp_path / "model.symc")
    for one in (compiled, load(tmp_path / "model.symc")):
        operators = one._blocks["0"].operators
        assert operators.dimensions is not None
        assert dict(operators.dimensions.inputs) == {"x": (12, 0), "s": (0, 24)}
        again = one.recording.regions["0"].target
        assert again.units == {"x": "m", "t": "s"}
        assert again.output_units == {0: "m"}
        assert all(spellable(equation.form, operators) for equation in one.fronts["0"][0])
        assert "units       x length, s time^2: all equations" in str(one.report)
    with pytest.raises(TargetError, match="target '0': feature 's': t \\+ x adds"):
        symcompile(
            nn.Sequential(Fall()),
            Target("0", names=("x", "t"), features={"s": "x + t"}, units=["m", "s"]),
            data,
            **FALL,
        )
    with pytest.raises(TargetError, match="target '0': units= are of inputs and outputs"):
        symcompile(nn.Sequential(Fall()), Target("0", reduce=1, units=["m", "s"]), data, **FALL)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"units": {"x0": "m"}}, "units has none of 'x1': give all, '1' for what is a pure number"),
    ({"units": {"x0": "m", "x1": "s", "q": "s"}}, "units names 'q': the inputs are x0, x1"),
    ({"units": ["m"]}, "1 units for 2 inputs: expected one for each of x0, x1"),
    ({"units": "m"}, "units is 'm': expected {'x': 'm', ...}"),
    ({"units": {"x0": "m", "x1": "foo"}}, "units of 'x1' is 'foo' .*expected a unit such as"),
    ({"output_units": "m"}, "output_units goes with the units of the inputs: add units="),
    ({"dimensionless_constants": True}, "dimensionless_constants goes with the units"),
    ({"units": ["m", "s"], "output_units": {3: "m"}}, "names output 3: there are 1, from 0"),
    ({"units": ["m", "s"], "output_units": ["m", "m"]}, "expected a unit, or one for each of 1"),
    ({"units": ["m", "s"], "dimensionless_constants": 3}, "is 3: expected True or False"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SymCompileError, match=message):
        distill(X, Y, **options)


def test_a_target_says_which_it_is() -> None:
    with pytest.raises(TargetError, match="target 'net': units of 'x' is 'foo'"):
        Target("net", units={"x": "foo"})


# --- PySR ----------------------------------------------------------------------------------------


def test_pysr_is_told(search: Any) -> None:
    search.rows = [(1, 0.5, "x0"), (3, 0.2, "x0 * x1"), (5, 0.1, "(x0 * x1) + 1.5")]
    dimensions, (output,) = Units(["m/s", "s"], "m", True).of_inputs(["v", "t"], 1)
    operators = OperatorSet(
        OperatorSet.of(["+", "*"]).costs, dimensions=dimensions.for_output(output)
    )
    front = fit(PySREngine(operators), names=["v", "t"])
    assert [equation.text() for equation in front] == ["t*v"]
    assert list(search.call["X_units"]) == ["m^(1//1)*s^(-1//1)", "s^(1//1)"]
    assert list(search.call["y_units"]) == ["m^(1//1)"]
    assert search.options.dimensionless_constants_only is True
    fit(PySREngine())
    assert search.call["X_units"] is search.call["y_units"] is None
    assert search.options.dimensionless_constants_only is False


def test_pysr_is_not_told_of_what_it_does_not_know() -> None:
    dimensions, _ = Units(["pixel", "s"]).of_inputs(["a", "b"], 1)
    assert pysr_units(dimensions, ["a", "b"]) == {}
    assert pysr_units(None, ["a", "b"]) == {}
