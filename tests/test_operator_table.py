"""What has to hold for every row of the operator table, at every point of its cases."""

import json
import math

import numpy as np
import pytest
import sympy
from operator_cases import CASES, OperatorCase
from sympy.codegen import cfunctions

from symcompile.errors import ExpressionError
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import bounds, jacobian, trace
from symcompile.expressions.fold import compiled
from symcompile.expressions.operator import Head
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS, VOCABULARY
from symcompile.expressions.parser import FUNCTIONS, parse
from symcompile.expressions.size_limits import check_equation
from symcompile.expressions.slots import slot
from symcompile.fidelity.domain_check import check
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.target import Target

EVERY = OperatorSet.of(list(VOCABULARY))
x, y = sympy.symbols("x0 x1")
# Those that a search may use and that programs have an operation for, by their cases.
NAMED = [case for case in CASES if case.name in VOCABULARY]
every_case = pytest.mark.parametrize("case", NAMED, ids=lambda case: case.name)


def equation_of(case: OperatorCase) -> Equation:
    return Equation.of(case.expr, case.symbols, EVERY)


def points_of(case: OperatorCase) -> np.ndarray:
    return np.array([*case.points, *case.kinks, *case.steep])


def test_every_function_has_a_case() -> None:
    named = {case.name for case in NAMED}
    assert {name for name, row in VOCABULARY.items() if row.op == name} <= named


@every_case
def test_values_are_those_of_the_definition(case: OperatorCase) -> None:
    """In sympy's arithmetic of arbitrary precision, which knows no rounding of ours."""
    points = np.array(case.points) if case.name == "round" else points_of(case)
    found = equation_of(case).predict(points)
    for value, point in zip(found, points, strict=True):
        at = dict(zip((x, y), map(sympy.Float, point, [50] * len(point)), strict=False))
        if case.name == "atan2" and not point.any():
            assert value == 0.0  # which sympy does not define
            continue
        expected = float(case.expr.xreplace(at).evalf(30))
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-30, err_msg=str(point))


@every_case
def test_slopes_by_constants_are_those_of_differences(case: OperatorCase) -> None:
    shifted = case.expr.xreplace({x: x + slot(0)})
    program = Equation(shifted, case.symbols, (0.0,), 1).program
    # Not next to a pole or a step.
    X = np.array([p for p in case.points if all(v == 0 or 1e-3 < abs(v) < 40 for v in p)])
    X = X[~np.isclose(np.abs(X), np.pi / 2).any(axis=1) & ~np.isclose(X, 0.5 - 1e-16).any(axis=1)]
    _, found = jacobian(program, X, [0.0])
    step = 1e-6
    up, down = (jacobian(program, X, [shift])[0] for shift in (step, -step))
    scale = 1 + np.abs(up) + np.abs(found[:, 0])
    np.testing.assert_allclose(found[:, 0] / scale, (up - down) / (2 * step) / scale, atol=2e-5)


@every_case
def test_no_value_leaves_its_bounds(case: OperatorCase) -> None:
    equation, X = equation_of(case), points_of(case)
    for low, high in ((X.min(axis=0), X.max(axis=0)), *((row, row) for row in X)):
        inside = X[((low <= X) & (high >= X)).all(axis=1)]
        with np.errstate(all="ignore"):
            values = trace(equation.program, inside, equation.constants)
        box = list(zip(low.tolist(), high.tolist(), strict=True))
        for value, (lower, upper) in zip(
            values, bounds(equation.program, box, equation.constants), strict=True
        ):
            known = np.asarray(value, dtype=float)
            known = known[~np.isnan(known)]
            assert (lower <= known).all()
            assert (known <= upper).all()


@every_case
def test_text_latex_and_files_say_the_same(case: OperatorCase) -> None:
    equation = equation_of(case)
    again = Equation.of(parse(equation.text(17), case.symbols), case.symbols, EVERY)
    stored = json.loads(json.dumps(equation.to_json()))
    check_equation(stored)
    read = Equation.from_json(stored)
    assert again.form == equation.form == read.form
    assert read.program == equation.program
    assert equation.complexity == again.complexity
    assert equation.latex()


@every_case
def test_python_computes_it(case: OperatorCase) -> None:
    equation = equation_of(case)
    space: dict = {}
    exec(equation.to_python(), space)
    points = [*case.points, *case.kinks]
    points = [p for p in points if max(map(abs, p)) < 1e100]  # Python raises where numpy overflows
    found = [space["equation"](*map(float, point)) for point in points]
    expected = equation.predict(np.array(points))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("op", [op for op, row in OPERATORS.items() if row.domain])
def test_where_it_is_undefined_is_told(op: str) -> None:
    row = OPERATORS[op]
    names = ("x0", "x1")[: row.arity]
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), len(names)),), (TensorOutput(1, scalar=True),)
    )
    region = Region("op", Target("op"), interface, names)
    equation = Equation.of(row.build(*(x, y)[: row.arity]), names, EVERY)
    X = np.random.default_rng(0).uniform(-4.0, 4.0, (300, len(names)))
    X[0] = 0.0
    assert [one.problem for one in check(equation, region, X, 0)] in (
        [hazard.problem] for hazard in row.domain
    )


def test_every_definition_is_made_of_operators() -> None:
    known = {*OPERATORS, "input", "number", "atan32", "fmod"}
    for row in OPERATORS.values():
        for text in filter(None, (row.definition, row.onnx_spelled)):
            assert {one.op for one in compiled(text)} <= known


def test_our_own_functions_have_derivatives_and_no_surprises() -> None:
    for row in OPERATORS.values():
        if not issubclass(row.build if isinstance(row.build, type) else int, Head):
            continue
        args = (x, y)[: row.arity]
        made = row.build(*args)
        assert made.func(*made.args) == made
        assert made.args == args
        at = {x: sympy.Float(0.7), y: sympy.Float(1.9)}
        assert math.isfinite(made.xreplace(at).evalf())
        if row.op not in ("mod", "round"):
            assert math.isfinite(made.diff(x).xreplace(at).doit().evalf())


@pytest.mark.parametrize(("a", "b"), [(7, 3), (-7, 3), (7, -3), (-7, -3), (-0.5, 2), (6, 3)])
def test_mod_has_pythons_sign_everywhere(a: float, b: float) -> None:
    for written in (sympy.Mod(x, y), parse("mod(x0, x1)", ["x0", "x1"])):
        equation = Equation.of(written, ["x0", "x1"], EVERY)
        assert str(equation) == "mod(x0, x1)"
        assert equation.predict(np.array([[a, b]], dtype=float))[0] == a % b
    assert float(parse(f"mod({a}, {b})", [])) == a % b
    assert float(parse(f"round({a} / 2)", [])) == round(a / 2)
    assert FUNCTIONS["Mod"] is FUNCTIONS["mod"]


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        (cfunctions.log2(x + 2), "log2(x0 + 2)"),
        (cfunctions.log10(x + 2), "log10(x0 + 2)"),
        (cfunctions.log1p(x), "log1p(x0)"),
        (cfunctions.Cbrt(x), "cbrt(x0)"),
        (cfunctions.Sqrt(x + 2), "sqrt(x0 + 2)"),
        (cfunctions.hypot(x, y), "hypot(x0, x1)"),
        (2.5 * cfunctions.log2(cfunctions.hypot(x, 0.5 * y)), "2.5*log2(hypot(x0, 0.5*x1))"),
    ],
)
def test_what_sympy_calls_as_c_does_is_read_as_ours(theirs: sympy.Expr, text: str) -> None:
    ours = Equation.of(parse(text, ["x0", "x1"]), ["x0", "x1"], EVERY)
    found = Equation.of(theirs, ["x0", "x1"], EVERY)
    assert found.form == ours.form
    assert found.program == ours.program
    assert Equation.of(parse(str(theirs), ["x0", "x1"]), ["x0", "x1"], EVERY).form == ours.form


def test_what_is_no_real_number_is_refused() -> None:
    for text in ("log1p(-2)", "acosh(0.5)", "atanh(2)", "log2(-1)", "mod(1, 0)"):
        with pytest.raises(ExpressionError, match=r"not a finite real number|can't read"):
            parse(text, [])
