"""Values and gradients of every operator, lowered to torch float64, against mpmath at 90 digits."""

import math

import mpmath
import numpy as np
import pytest
import sympy
import torch
from operator_cases import CASES, OperatorCase, vocabulary_cases

from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.operators import OPERATORS as TABLE
from symcompile.expressions.operators import VOCABULARY
from symcompile.lowering.block import lower, without_guards
from symcompile.lowering.torch_rules import STEEP
from symcompile.modules.region import Interface, Parameter, Region, TensorInput, TensorOutput
from symcompile.target import Target

OPERATORS = OperatorSet.of(["+", "*"])
ALL = (*CASES, *vocabulary_cases())
# One rounding of each operation, and torch's own few units in the last place.
RTOL = 1e-13


def block(case: OperatorCase, dtype: torch.dtype = torch.float64):
    names = case.symbols
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), len(names)),), (TensorOutput(1, scalar=True),)
    )
    region = Region("op", Target("op"), interface, names)
    equation = Equation.of(case.expr, names, OPERATORS)
    return lower(region, {0: equation}, dtype=dtype).module


def value_and_gradient(case: OperatorCase, points) -> tuple[np.ndarray, np.ndarray]:
    X = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    y = block(case)(X)
    (slopes,) = torch.autograd.grad(y.sum(), X, allow_unused=True, materialize_grads=True) \
        if y.requires_grad else (torch.zeros_like(X),)  # fmt: skip
    return y.detach().numpy(), slopes.numpy()


def function_of(case: OperatorCase):
    # Floats of an expression are what they are in float64.
    exact_floats = {f: sympy.Rational(float(f)) for f in case.expr.atoms(sympy.Float)}
    symbols = [sympy.Symbol(n) for n in case.symbols]
    return sympy.lambdify(symbols, case.expr.xreplace(exact_floats), "mpmath")


def exact(case: OperatorCase, point: tuple[float, ...]) -> float:
    with mpmath.workdps(90):
        return float(function_of(case)(*map(mpmath.mpf, point)))


def exact_slopes(case: OperatorCase, point: tuple[float, ...]) -> list[float]:
    with mpmath.workdps(90):
        function = function_of(case)
        at = [mpmath.mpf(v) for v in point]
        return [float(_slope(function, at, k)) for k in range(len(at))]


def _slope(function, at, k: int):
    def along(v):
        return function(*at[:k], v, *at[k + 1 :])

    # A step in proportion to the point stays inside of its domain; at 0 the step is to the right.
    step = abs(at[k]) * mpmath.mpf(10) ** -35 if at[k] else mpmath.mpf(10) ** -70
    low = at[k] - step if at[k] else at[k]
    return (along(at[k] + step) - along(low)) / (at[k] + step - low)


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_values_and_gradients(case):
    values, slopes = value_and_gradient(case, case.points)
    for point, value, slope in zip(case.points, values, slopes, strict=True):
        expected, expected_slope = exact(case, point), exact_slopes(case, point)
        np.testing.assert_allclose(value, expected, rtol=RTOL, atol=1e-15, err_msg=str(point))
        np.testing.assert_allclose(
            slope, expected_slope, rtol=1e-12, atol=1e-15, err_msg=str(point)
        )


def slopes_of(case: OperatorCase, X: torch.Tensor) -> torch.Tensor:
    X = X.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(block(case, X.dtype)(X).sum(), X)
    return slopes


CASE = {case.name: case for case in CASES}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_of_sigmoid_keeps_its_digits_in_both_tails(dtype):
    at = [v for v in (0.0, 7.7, 20.0, 50.0, 87.0, 300.0, 700.0) if v < 88 or dtype.itemsize > 4]
    at = torch.tensor([sign * v for v in at for sign in (1, -1)], dtype=dtype)
    expected = 1 / (2 * torch.cosh(at.double() / 2)) ** 2
    found = slopes_of(CASE["sigmoid"], at[:, None])[:, 0].double()
    torch.testing.assert_close(found, expected, rtol=100 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slopes_of_angles_and_lengths_do_not_square_their_arguments(dtype):
    info = torch.finfo(dtype)
    sizes = [info.tiny * 4, info.tiny**0.7, 1e-23, 1e-20, 1.0, 1e20, info.max**0.7, info.max / 8]
    directions = torch.tensor([[0.0, -1], [1, 1], [-1, 0], [3, -4], [-0.0, -1]], dtype=dtype)
    X = torch.cat([size * directions for size in sizes])
    y, x = X.double().T
    size = torch.hypot(y, x)
    expected = torch.stack([x / size / size, -y / size / size], dim=1)
    found = slopes_of(CASE["atan2"], X).double()
    torch.testing.assert_close(found, expected, rtol=16 * info.eps, atol=0)
    found = slopes_of(CASE["hypot"], X).double()
    torch.testing.assert_close(found, X.double() / size[:, None], rtol=16 * info.eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["atan2", "hypot", "distance"])
def test_slopes_next_to_zero_are_finite(name, dtype):
    info = torch.finfo(dtype)
    values = [0.0, -0.0, info.smallest_normal * info.eps, info.tiny / 3, info.tiny, 1e-23, -1e-20]
    X = torch.cartesian_prod(*[torch.tensor(values, dtype=dtype)] * 2)
    assert slopes_of(CASE[name], X).isfinite().all()


def test_second_slopes_of_angles_and_cube_roots():
    X = torch.tensor([[0.3, -0.7], [-2.0, 1e-3], [1.5, 0.0], [-0.9, 4.0]], dtype=torch.float64)
    for name in ("atan2", "cbrt", "sigmoid"):
        at = X[:, : len(CASE[name].symbols)].clone().requires_grad_()
        assert torch.autograd.gradgradcheck(block(CASE[name]), (at,))


@pytest.mark.parametrize("name", [n for n, row in VOCABULARY.items() if row.arity == 1])
def test_each_of_nested_functions_takes_as_many_nodes(name):
    sizes, expr = [], sympy.Symbol("x0")
    for _ in range(5):
        expr = VOCABULARY[name].build(expr + 1)
        sizes.append(len(block(OperatorCase(name, expr, ())).graph.nodes))
    assert max(np.diff(sizes)) <= 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cube_roots_to_the_last_digit(dtype):
    info = torch.finfo(dtype)
    powers = torch.arange(math.log10(info.tiny) + 1, math.log10(info.max), 0.37, dtype=dtype)
    sizes = [*(10**powers).tolist(), info.smallest_normal * info.eps, info.max, 0.0, math.inf]
    X = torch.tensor([sign * size for size in sizes for sign in (1, -1)], dtype=dtype)
    expected = torch.from_numpy(np.cbrt(X.double().numpy()))
    for module in (block(CASE["cbrt"], dtype), without_guards(block(CASE["cbrt"], dtype))):
        found = module(X[:, None])
        torch.testing.assert_close(found.double(), expected, rtol=1.5 * info.eps, atol=0)
        assert torch.equal(found.signbit(), X.signbit())


ZEROS = [(a, b) for a in (0.0, -0.0, 1.0, -1.0) for b in (0.0, -0.0, 1.0, -1.0)]
ONE_ZERO = [(0.0,), (-0.0,)]


# Not of mod, which jumps at each of its zeros.
SIGNED = [
    c for c in CASES if c.name in VOCABULARY and c.name != "mod" and not VOCABULARY[c.name].nary
]


@pytest.mark.parametrize("case", SIGNED, ids=lambda c: c.name)
def test_zeros_have_the_sign_that_predictions_give_them(case):
    points = ZEROS if len(case.symbols) == 2 else ONE_ZERO
    expected = Equation.of(case.expr, case.symbols, OPERATORS).predict(np.array(points))
    for module in (block(case), without_guards(block(case))):
        found = module(torch.tensor(points, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-15)
        known = ~np.isnan(expected)
        assert (np.signbit(found) == np.signbit(expected))[known].all()


@pytest.mark.parametrize("case", [c for c in ALL if c.kinks], ids=lambda c: c.name)
def test_subgradients_at_kinks(case):
    points = list(case.kinks)
    values, slopes = value_and_gradient(case, points)
    expected = [exact(case, point) for point in points]
    np.testing.assert_allclose(values, expected, rtol=RTOL, atol=0)
    np.testing.assert_array_equal(slopes, [case.kinks[p] for p in points])


@pytest.mark.parametrize("case", [c for c in ALL if c.steep], ids=lambda c: c.name)
def test_infinite_slopes_are_large_and_never_nan(case):
    values, slopes = value_and_gradient(case, case.steep)
    expected = [exact(case, point) for point in case.steep]
    np.testing.assert_allclose(values, expected, rtol=RTOL, atol=0)
    assert np.isfinite(slopes).all()
    assert (abs(slopes) >= STEEP / 10).all()
    sign = -1 if case.name == "acos" else 1
    assert (np.sign(slopes) == sign).all()


@pytest.mark.parametrize("case", [c for c in ALL if c.poles], ids=lambda c: c.name)
def test_poles_are_not_hidden(case):
    values, _ = value_and_gradient(case, list(case.poles))
    np.testing.assert_array_equal(values, list(case.poles.values()))


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_guards_do_not_change_values(case):
    module = block(case)
    points = [*case.points, *case.kinks, *case.steep, *case.poles]
    X = torch.tensor(points, dtype=torch.float64)
    plain = without_guards(module)
    assert torch.equal(
        torch.nan_to_num(module(X), nan=math.pi), torch.nan_to_num(plain(X), nan=math.pi)
    )


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_single_precision(case):
    moderate = [p for p in case.points if all(v == 0 or 1e-3 < abs(v) < 30 for v in p)]
    X = torch.tensor(moderate, dtype=torch.float32)
    got = block(case, torch.float32)(X)
    assert got.dtype == torch.float32
    wanted = block(case)(X.double())
    torch.testing.assert_close(got.double(), wanted, rtol=2e-5, atol=2e-6)


def test_every_operation_of_a_program_is_tried():
    used = {
        i.op for c in CASES for i in Equation.of(c.expr, c.symbols, OPERATORS).program.instructions
    }
    assert used >= {*TABLE, "number", "slot", "input"}
