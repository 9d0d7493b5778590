"""The parts of the Lorenz experiment: data, network, coordinates, rollouts and rules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import sympy
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def part(name: str) -> ModuleType:
    """A module of `examples/`, which import each other as scripts do."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


data, network, law = part("lorenz_data"), part("lorenz_network"), part("lorenz_law")
rollouts = part("lorenz_rollouts")
LATENT = sympy.symbols("h0 h1 h2")


@pytest.fixture(scope="module")
def seen() -> object:
    return data.observe(290402, steps=4000, train=3000)


def test_rates_are_those_that_eulers_method_used(seen: object) -> None:
    np.testing.assert_allclose(seen.zdot, data.derivative(seen.z), atol=1e-9)
    np.testing.assert_allclose(seen.z[0], data.START)
    assert seen.x.shape == seen.xdot.shape == (4000, 10)


def test_the_data_has_the_papers_scale() -> None:
    """Its variance of xdot is about 8640."""
    assert data.observe(290402).xdot.var() == pytest.approx(8640, rel=0.02)


def test_the_decoder_undoes_the_encoder() -> None:
    torch.manual_seed(0)
    model = network.LatentDynamics().double()
    h = torch.randn(20, 3, dtype=torch.float64)
    weight, bias = model.encoder.weight, model.encoder.bias
    x = (h - bias) @ torch.linalg.pinv(weight.T)
    torch.testing.assert_close(model.encoder(x), h)
    torch.testing.assert_close(model(x) @ weight.T, model.mlp(h))


@pytest.mark.parametrize("rows", [700, 2000, 4000])
def test_gradients_by_hand_are_those_of_autograd(seen: object, rows: int) -> None:
    torch.manual_seed(1)
    model = network.LatentDynamics()
    x, xdot = (torch.from_numpy(a[:rows]).float() for a in (seen.x, seen.xdot))
    value = network.loss(model, x, xdot)
    value.backward()
    by_hand = network._ByHand(model)
    found = by_hand.gradients(torch.cat([x, torch.ones(rows, 1), xdot], 1))
    assert found == pytest.approx(float(value.detach()), rel=1e-5)
    for linear, weight in zip(by_hand.linears, by_hand.weights, strict=True):
        own = torch.cat([linear.weight.grad, linear.bias.grad[:, None]], 1)
        assert torch.linalg.norm(weight.grad - own) < 1e-4 * torch.linalg.norm(own)


def test_training_lowers_the_loss_and_keeps_the_best(seen: object) -> None:
    torch.manual_seed(2)
    model = network.LatentDynamics()
    x, xdot = (torch.from_numpy(a[:3000]).float() for a in (seen.x, seen.xdot))
    before = float(network.loss(model, x, xdot).detach())
    history = network.train(model, x, xdot, epochs=30, batch=500, seed=0)
    after = float(network.loss(model, x, xdot).detach())
    assert len(history) == 30
    assert after < 0.5 * before
    assert after <= 1.05 * min(history)


def mixed_equations(matrix: np.ndarray, shift: np.ndarray) -> list[sympy.Expr]:
    """The Lorenz equations for h, where z = h M + m."""
    z = [
        sum(h * w for h, w in zip(LATENT, column, strict=True)) + m
        for column, m in zip(matrix.T, shift, strict=True)
    ]
    rates = [
        data.SIGMA * (z[1] - z[0]),
        z[0] * (data.RHO - z[2]) - z[1],
        z[0] * z[1] - data.BETA * z[2],
    ]
    inverse = np.linalg.inv(matrix)
    return [sum(r * w for r, w in zip(rates, column, strict=True)) for column in inverse.T]


@pytest.fixture(scope="module")
def mixture() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(3, 3)) + 2 * np.eye(3), rng.normal(size=3)


def test_the_law_is_read_in_the_best_fitting_coordinates(
    seen: object, mixture: tuple[np.ndarray, np.ndarray]
) -> None:
    matrix, shift = mixture
    h = (seen.z - shift) @ np.linalg.inv(matrix)
    coordinates = law.Coordinates.fitted(h, seen.z)
    np.testing.assert_allclose(coordinates.matrix, matrix)
    np.testing.assert_allclose(coordinates.state(h), seen.z, atol=1e-9)
    field = coordinates.field(mixed_equations(matrix, shift))
    np.testing.assert_allclose(field, law.true_field(), atol=1e-8)
    compared = law.Comparison.of(field, seen.z)
    assert compared.right
    assert compared.off < 1e-8
    assert law.written(field) == [
        "x' = -10.0*x + 10.0*y",
        "y' = -1.0*x*z + 28.0*x - 1.0*y",
        "z' = 1.0*x*y - 2.7*z",
    ]


@pytest.mark.parametrize(
    ("change", "right", "off", "spurious"),
    [
        ((1, 0, -10.5), True, 0.05, 0.0),  # x in x'
        ((6, 0, 0.1), False, 0.0, 0.2),  # xz in x', which the truth lacks
        ((3, 2, -0.0), False, 1.0, 0.0),  # z missing in z'
    ],
)
def test_a_wrong_law_is_told(
    seen: object, change: tuple[int, int, float], right: bool, off: float, spurious: float
) -> None:
    field = law.true_field()
    field[change[:2]] = change[2]
    compared = law.Comparison.of(field, seen.z)
    assert compared.right == right
    assert compared.off == pytest.approx(off, abs=1e-9)
    assert (compared.spurious > 0.1) == (spurious > 0.1)


def test_monomials_and_polynomials_agree(seen: object) -> None:
    field = np.random.default_rng(4).normal(size=(10, 3))
    expressions = law.polynomials(field, LATENT)
    values = np.stack([sympy.lambdify(LATENT, e)(*seen.z.T) for e in expressions], axis=1)
    np.testing.assert_allclose(law.monomials(seen.z) @ field, values, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(law.coefficients(expressions, LATENT), field)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(h0 + 2*h1)*(h2 - 1) + h0", 2),
        ("h0*h1*h2", 3),
        ("(h0 - h1)*(h0 + h1) - h0**2 + h1**2 + h2", 1),
        ("exp(h0)", None),
    ],
)
def test_the_degree_is_that_of_the_expanded_polynomial(text: str, expected: int | None) -> None:
    assert law.degree(sympy.sympify(text)) == expected


def test_a_cubic_has_no_place_in_the_quadratic_table() -> None:
    with pytest.raises(ValueError, match="not quadratic"):
        law.coefficients([LATENT[0] ** 3], LATENT)


def test_sparse_regression_finds_the_exact_law(seen: object) -> None:
    pytest.importorskip("pysindy")
    found, threshold = law.sparse_regression(seen.z, seen.zdot)
    np.testing.assert_allclose(found, law.true_field(), atol=1e-6)
    assert threshold == max(law.THRESHOLDS)


def test_the_true_field_repeats_the_data(seen: object) -> None:
    path = rollouts.integrate(data.derivative, seen.z[1000:1002], 500)
    np.testing.assert_allclose(path[:, 0], seen.z[1000:1500], atol=1e-6)


def test_a_rollout_is_measured_against_the_truth(seen: object) -> None:
    begin = rollouts.starts(seen.z, seed=0, n=8)
    true = rollouts.integrate(data.derivative, begin, 400)
    size = float(np.sqrt(seen.z.var(axis=0).sum()))
    exact = rollouts.roll_out(data.derivative, true, size)
    assert (exact.error, exact.diverged) == (0.0, 0)
    assert exact.valid == pytest.approx(400 * data.DT * rollouts.LYAPUNOV)
    close = rollouts.roll_out(lambda z: 1.01 * data.derivative(z), true, size)
    away = rollouts.roll_out(lambda z: z * z * z, true, size)
    assert 0.0 < close.error < away.error
    assert exact.valid > close.valid > away.valid
    assert away.diverged == 8
    assert np.isfinite(away.over_time).all()
