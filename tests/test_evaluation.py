"""Values and derivatives of every operation, against mpmath and finite differences."""

import mpmath
import numpy as np
import pytest
import sympy

from symcompile.expressions.evaluation import evaluate, jacobian, slopes
from symcompile.expressions.fold import Instruction
from symcompile.expressions.operators import OPERATORS
from symcompile.expressions.program import Program, from_sympy
from symcompile.expressions.slots import slot

x = sympy.Symbol("x")
POINTS = np.array([-0.93, -0.4, -0.05, 0.11, 0.5, 0.97])
POSITIVE_ONLY = {"log", "log2", "log10", "sqrt"}
NUMBERS = {op: row.arity for op, row in OPERATORS.items() if not row.truth and op != "where"}


def unary_program(op: str) -> Program:
    """op(c0 * x0)"""
    code = (
        Instruction("input", (), 0),
        Instruction("slot", (), 0),
        Instruction("mul", (0, 1)),
        Instruction(op, (2,)),
    )
    return Program(code, (3,), 1, 1)


def binary_program(op: str) -> Program:
    """op(x0 + c0, c1 * x1)"""
    code = (
        Instruction("input", (), 0),
        Instruction("input", (), 1),
        Instruction("slot", (), 0),
        Instruction("slot", (), 1),
        Instruction("add", (0, 2)),
        Instruction("mul", (1, 3)),
        Instruction(op, (4, 5)),
    )
    return Program(code, (6,), 2, 2)


def assert_slopes(program: Program, X: np.ndarray, constants: list[float]) -> None:
    value, J = jacobian(program, X, constants)
    np.testing.assert_allclose(value, evaluate(program, X, constants)[:, 0])
    step = 1e-6
    for k in range(program.n_slots):
        up, down = list(constants), list(constants)
        up[k] += step
        down[k] -= step
        difference = (evaluate(program, X, up) - evaluate(program, X, down))[:, 0] / (2 * step)
        np.testing.assert_allclose(J[:, k], difference, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("op", sorted(op for op in NUMBERS if NUMBERS[op] == 1 and op != "power"))
def test_unary_value_and_slope(op: str) -> None:
    points = np.abs(POINTS) if op in POSITIVE_ONLY else POINTS
    points = points + 2.5 if op == "acosh" else points
    program, constants = unary_program(op), [0.83]
    reference = sympy.lambdify([x], OPERATORS[op].build(x), "mpmath")
    with mpmath.workdps(30):
        expected = [float(reference(mpmath.mpf(float(0.83 * p)))) for p in points]
    got = evaluate(program, points[:, None], constants)[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    assert_slopes(program, points[:, None], constants)


@pytest.mark.parametrize("op", sorted(op for op in NUMBERS if NUMBERS[op] == 2))
def test_binary_value_and_slope(op: str) -> None:
    rng = np.random.default_rng(0)
    X, constants = rng.uniform(0.2, 1.5, (40, 2)), [0.7, 1.3]
    a, b = X[:, 0] + 0.7, 1.3 * X[:, 1]
    expected = {
        "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "pow": a**b,
        "min": np.minimum(a, b), "max": np.maximum(a, b), "mod": a % b,
        "hypot": np.sqrt(a**2 + b**2), "atan2": np.arctan(a / b),
    }[op]  # fmt: skip
    got = evaluate(binary_program(op), X, constants)[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    assert_slopes(binary_program(op), X, constants)


def test_power_where_and_shared_subexpressions() -> None:
    x, y = sympy.symbols("x y")
    inner = sympy.sin(slot(0) * x + slot(1))
    form = sympy.Piecewise((inner**3 * slot(2) + y, x < slot(3)), (inner / y, True)) + inner
    program = from_sympy([form], ["x", "y"], 4)
    X = np.random.default_rng(1).uniform(0.3, 1.0, (50, 2))
    assert_slopes(program, X, [2.0, 0.3, 1.7, 0.6])


def test_invalid_operations_give_nan_or_infinity_without_a_warning() -> None:
    x = sympy.Symbol("x")
    program = from_sympy([sympy.log(x), 1 / x, sympy.sqrt(x)], ["x"], 0)
    values = evaluate(program, np.array([[-1.0], [0.0]]), ())
    assert np.isnan(values[0, 0])
    assert np.isnan(values[0, 2])
    assert np.isinf(values[1, 1])


def test_a_constant_equation_fills_every_row() -> None:
    program = from_sympy([slot(0)], ["x"], 1)
    assert evaluate(program, np.zeros((5, 1)), [2.5]).tolist() == [[2.5]] * 5
    value, J = jacobian(program, np.zeros((5, 1)), [2.5])
    assert value.tolist() == [2.5] * 5
    assert J.tolist() == [[1.0]] * 5


def test_slopes_by_inputs_are_those_of_differences() -> None:
    x, y = sympy.symbols("x y")
    form = sympy.sin(slot(0) * x) * y**2 + sympy.Abs(x - 1) / y + sympy.Max(x, y)
    program = from_sympy([form], ["x", "y", "z"], 1)
    X = np.random.default_rng(2).uniform(0.3, 0.9, (30, 3))
    expected = np.zeros(X.shape)
    for column in range(3):
        step = np.zeros(3)
        step[column] = 1e-6
        ends = (evaluate(program, X + sign * step, [1.7])[:, 0] for sign in (1, -1))
        expected[:, column] = np.subtract(*ends) / 2e-6
    np.testing.assert_allclose(slopes(program, X, [1.7]), expected, rtol=1e-6, atol=1e-8)


def test_a_step_has_no_slope() -> None:
    program = from_sympy([sympy.floor(sympy.Symbol("x")) + 2.0], ["x"], 0)
    assert slopes(program, np.array([[0.4], [1.6]]), ()).tolist() == [[0.0], [0.0]]
