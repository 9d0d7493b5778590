"""What blocks are measured to be against their reference, where their equations are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.expressions.parser import parse
from symcompile.fidelity.controls import Controls, LinearMap, controls
from symcompile.fidelity.derivatives import Function, autograd
from symcompile.fidelity.metrics import agreement
from symcompile.fidelity.outcome import Fidelity
from symcompile.fidelity.reference import OptionalMeasurements, Reference, shell
from symcompile.fidelity.refusal import refusal
from symcompile.lowering.block import lower
from symcompile.modules.region import (
    Interface,
    Parameter,
    Projection,
    Region,
    TensorInput,
    TensorOutput,
)
from symcompile.modules.region_call import on_rows
from symcompile.modules.samples import Samples
from symcompile.target import Target

RNG = np.random.default_rng(0)
X_FIT, X_HOLDOUT = RNG.uniform(-1, 2, (400, 2)), RNG.uniform(-1, 2, (100, 2))


class Rows(NamedTuple):
    X: Array
    Y: Array


class Block(nn.Module):
    """y0 = x0 sin(x1), y1 = x0^2 + 3, one row at a time."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        a, b = rows[:, 0], rows[:, 1]
        return torch.stack([a * torch.sin(b), a**2 + 3], dim=1)


def true(X: Array) -> Array:
    return np.stack([X[:, 0] * np.sin(X[:, 1]), X[:, 0] ** 2 + 3], axis=1)


FIT, HOLDOUT = Rows(X_FIT, true(X_FIT)), Rows(X_HOLDOUT, true(X_HOLDOUT))


def region(
    n_outputs: int = 2,
    features: dict[str, str] | None = None,
    projection_in: Projection | None = None,
    projection_out: Projection | None = None,
    n_inputs: int = 2,
) -> Region:
    interface = Interface(
        (Parameter("x"),), (TensorInput("x", (), n_inputs),), (TensorOutput(n_outputs),)
    )
    names = tuple(f"x{k}" for k in range(n_inputs))
    target = Target("edge", features=features)
    return Region(
        "edge",
        target,
        interface,
        names,
        dtype="float64",
        parameters=1234,
        projection_in=projection_in,
        projection_out=projection_out,
    )


def equations(of: Region, *texts: str, first: int = 0) -> dict[int, Equation]:
    operators = OperatorSet.of(None)
    return {
        first + k: Equation.of(parse(text, of.variables), of.variables, operators)
        for k, text in enumerate(texts)
    }


def installed(
    of: Region, given: Mapping[int, Equation], neural: nn.Module | None = None
) -> Function:
    """The equations as the block that gets installed."""
    dtype = getattr(torch, of.dtype)
    block = lower(of, given, dtype=dtype, neural=neural).module
    return autograd(on_rows(of, block), dtype, constant=0.0)


def measured(
    of: Region,
    given: Mapping[int, Equation],
    fit: Rows = FIT,
    holdout: Rows = HOLDOUT,
    *,
    neural: Function | None = None,
    baseline: Controls | None = None,
    rest: nn.Module | None = None,
) -> Fidelity:
    X, Y = (np.concatenate(arrays) for arrays in zip(fit, holdout, strict=True))
    held_out = np.arange(len(X)) >= len(fit.X)
    reference = Reference(of, Samples(X, Y, held_out), baseline or controls(*fit), neural)
    block = installed(of, given, rest)
    return reference.complete(reference.measure(given, block), block, OptionalMeasurements())


def test_the_exact_law_is_perfect_in_every_respect() -> None:
    of = region()
    neural = autograd(Block(), torch.float64)
    found = measured(of, equations(of, "x0*sin(x1)", "x0**2 + 3"), neural=neural)
    for row in (*found.outputs.values(), found.total):
        assert row is not None
        assert row.equation.relative_l2 < 1e-14
        assert row.extrapolation.relative_l2 < 1e-14
        assert row.gradient < 1e-14
        assert row.beats_linear
    assert found.parameters_removed == 1234
    assert found.domain == ()


def test_metrics_are_those_of_held_out_samples() -> None:
    of = region()
    found = measured(of, equations(of, "0.9*x0*sin(x1)", "x0 + 3"))
    truth = true(X_HOLDOUT)
    predicted = np.stack([0.9 * truth[:, 0], X_HOLDOUT[:, 0] + 3], axis=1)
    assert found.outputs[0].equation.relative_l2 == pytest.approx(0.1, rel=1e-12)
    for output in (0, 1):
        expected = agreement(predicted[:, output], truth[:, output])
        got = found.outputs[output].equation
        assert (got.r2, got.relative_l2, got.max_error) == pytest.approx(
            (expected.r2, expected.relative_l2, expected.max_error), rel=1e-12
        )
    assert found.total is not None
    assert found.total.equation.relative_l2 == pytest.approx(
        np.linalg.norm(predicted - truth) / np.linalg.norm(truth), rel=1e-12
    )
    mean = np.broadcast_to(true(X_FIT).mean(axis=0), truth.shape)
    assert found.outputs[1].mean == agreement(mean[:, 1], truth[:, 1])
    ones = np.hstack([X_FIT, np.ones((len(X_FIT), 1))])
    plane = np.linalg.lstsq(ones, true(X_FIT), rcond=None)[0]
    linear = np.hstack([X_HOLDOUT, np.ones((len(X_HOLDOUT), 1))]) @ plane
    assert found.outputs[0].linear.relative_l2 == pytest.approx(
        agreement(linear[:, 0], truth[:, 0]).relative_l2, rel=0.02
    )


def test_without_the_neural_block_only_recorded_samples_are_measured() -> None:
    of = region()
    row = measured(of, equations(of, "x0", "x1")).outputs[0]
    assert math.isnan(row.gradient)
    assert math.isnan(row.extrapolation.relative_l2)
    assert math.isfinite(row.equation.relative_l2)


def test_an_equation_worse_than_a_plane_is_known_as_such() -> None:
    of = region(1)
    Y = 2 * X_FIT[:, :1] - X_FIT[:, 1:]
    held = 2 * X_HOLDOUT[:, :1] - X_HOLDOUT[:, 1:]
    samples = Rows(X_FIT, Y), Rows(X_HOLDOUT, held)
    assert not measured(of, equations(of, "2*x0"), *samples).outputs[0].beats_linear
    assert measured(of, equations(of, "2*x0 - x1"), *samples).outputs[0].equation.r2 == 1.0


def test_outputs_left_neural_are_left_out() -> None:
    of = region()
    found = measured(of, equations(of, "x0**2 + 3", first=1), rest=Block())
    assert set(found.outputs) == {1}
    assert found.parameters_removed == 0
    assert found.total is not None
    assert found.total.equation.relative_l2 < 1e-14


def test_projected_outputs_are_compared_in_real_ones() -> None:
    """One of two components is given by its equation, the other is not replaced."""
    components = np.array([[0.6, 0.8], [-0.8, 0.6]])
    of = region(projection_out=Projection(np.array([0.2, 3.5]), components))
    first = "0.6*(x0*sin(x1) - 0.2) + 0.8*(x0**2 - 0.5)"
    second = "-0.8*(x0*sin(x1) - 0.2) + 0.6*(x0**2 - 0.5)"
    neural = autograd(Block(), torch.float64)
    for texts in ([first], [first, second]):
        found = measured(of, equations(of, *texts), neural=neural, rest=Block())
        assert found.total is not None
        assert found.total.equation.relative_l2 < 1e-14
        assert found.total.gradient < 1e-13
        assert found.outputs[0].gradient < 1e-13
    wrong = measured(of, equations(of, "0*x0", second))
    assert wrong.total is not None
    truth, z = true(X_HOLDOUT), of.equation_values(X_HOLDOUT, true(X_HOLDOUT))
    expected = np.linalg.norm(z[:, 0]) / np.linalg.norm(truth)  # components are orthonormal
    assert wrong.total.equation.relative_l2 == pytest.approx(expected, rel=1e-12)
    assert wrong.outputs[0].equation.relative_l2 == 1.0


def test_the_linear_map_of_a_linear_block_is_exact_whatever_is_projected() -> None:
    """It is the map of the block itself: projected onto a component it scored 0.6 here."""
    rng = np.random.default_rng(0)
    weight, X = rng.normal(size=(3, 2)), rng.normal(size=(500, 3))
    fit, holdout = Rows(X[:400], X[:400] @ weight + 1), Rows(X[400:], X[400:] @ weight + 1)
    axes = np.linalg.svd(fit.Y - fit.Y.mean(axis=0))[2]
    of = region(
        n_inputs=3,
        projection_in=Projection(fit.X.mean(axis=0), np.eye(3)[:1]),
        projection_out=Projection(fit.Y.mean(axis=0), axes[:1]),
    )
    linear = autograd(lambda rows: rows @ torch.from_numpy(weight) + 1, torch.float64)
    found = measured(of, equations(of, "0.5*z0"), fit, holdout, neural=linear)
    assert found.total is not None
    assert found.total.linear.relative_l2 < 1e-8
    assert not found.total.beats_linear
    assert refusal(found, None, True, region=of) is not None
    X, Y = holdout
    rebuilt = of.projection_out.reconstruct(of.projection_out.project(Y))  # type: ignore[union-attr]
    outputs, inputs = found.projections["outputs"], found.projections["inputs"]
    assert outputs.relative_l2 == pytest.approx(np.linalg.norm(Y - rebuilt) / np.linalg.norm(Y))
    spread = ((Y - Y.mean(axis=0)) ** 2).sum()
    assert outputs.variance == pytest.approx(1 - ((Y - rebuilt) ** 2).sum() / spread)
    kept = fit.X.mean(axis=0) + (X - fit.X.mean(axis=0)) * [1, 0, 0]
    lost = np.linalg.norm((X - kept) @ weight) / np.linalg.norm(Y)
    assert inputs.relative_l2 == pytest.approx(lost)
    assert 0.2 < inputs.variance < 0.5
    alone = measured(of, equations(of, "0.5*z0"), fit, holdout).projections["inputs"]
    assert (alone.variance, math.isnan(alone.relative_l2)) == (inputs.variance, True)


@pytest.mark.parametrize("projected", [False, True])
def test_gradients_run_through_features_and_projection(projected: bool) -> None:
    """Against central differences of the whole chain."""
    projection = Projection(np.array([0.1, -0.2, 0.3]), np.linalg.qr(np.eye(3) + 0.3)[0][:2])
    first = "z0" if projected else "x2"
    second = "z1" if projected else "x0"
    of = region(
        features={"p": f"{first}*{second}", "r": f"sqrt(p**2 + {second}**2 + 1)"},
        projection_in=projection if projected else None,
        n_inputs=3,
    )
    found = equations(of, "sin(p)/r + min(p, r)", "exp(0.3*r)*abs(p) + where(p > 0, r, p*r)")
    X = np.random.default_rng(2).normal(size=(50, 3))

    def values(X: Array) -> Array:
        variables = of.variable_values(X)
        return np.stack([found[key].predict(variables) for key in (0, 1)], axis=1)

    step = 1e-6 * np.eye(3)
    expected = np.stack(
        [(values(X + step[k]) - values(X - step[k])) / 2e-6 for k in range(3)], axis=2
    )
    smooth = np.abs(of.variable_values(X)[:, 0]) > 1e-4  # away from the kinks
    got = installed(of, found).gradient(X)
    np.testing.assert_allclose(got[smooth], expected[smooth], rtol=1e-6, atol=1e-8)


def test_autograd_gives_values_and_derivatives_of_each_row() -> None:
    neural, gradient = autograd(Block(), torch.float64, n_outputs=2)
    a, b = X_HOLDOUT.T
    np.testing.assert_allclose(neural(X_HOLDOUT), true(X_HOLDOUT), rtol=1e-15)
    slopes = gradient(X_HOLDOUT)
    np.testing.assert_allclose(slopes[:, 0], np.stack([np.sin(b), a * np.cos(b)], axis=1))
    np.testing.assert_allclose(slopes[:, 1], np.stack([2 * a, 0 * a], axis=1))


def test_a_block_without_derivatives_has_no_gradient_figure() -> None:
    def steps(rows: torch.Tensor) -> torch.Tensor:
        return torch.floor(rows.detach())

    of = region()
    found = measured(of, equations(of, "x0", "x1"), neural=autograd(steps, torch.float32))
    assert math.isnan(found.outputs[0].gradient)
    assert math.isfinite(found.outputs[0].extrapolation.relative_l2)


@pytest.mark.parametrize("width", [1, 2, 7, 40])
def test_the_shell_lies_around_the_recorded_box(width: int) -> None:
    X = np.random.default_rng(width).normal(size=(200, width)) * 5 + 3
    low, high = X.min(axis=0), X.max(axis=0)
    rows = shell(X, 3000, seed=1)
    beyond = (rows < low) | (rows > high)
    assert rows.shape == (3000, width)
    assert beyond.any(axis=1).all()
    slack = 1e-12 * np.abs(X).max()
    assert (rows >= low - 0.2 * (high - low) - slack).all()
    assert (rows <= high + 0.2 * (high - low) + slack).all()
    assert (rows < low).any(axis=0).all()
    assert (rows > high).any(axis=0).all()
    np.testing.assert_array_equal(rows, shell(X, 3000, seed=1))


def test_inputs_that_never_vary_stay_where_they_are() -> None:
    X = np.stack([np.linspace(0, 1, 50), np.full(50, 7.0)], axis=1)
    assert set(shell(X, 200)[:, 1]) == {7.0}
    assert shell(X[:, 1:], 200).shape == (0, 1)


def test_the_shell_keeps_linear_relations() -> None:
    """Four inputs computed from two: nothing outside of their plane is asked for."""
    plane = RNG.normal(size=(2, 4))
    rows = shell(RNG.normal(size=(300, 2)) @ plane + 5, 500)
    outside = np.linalg.svd(rows - 5)[1][2:]
    assert len(rows) == 500
    assert outside.max() < 1e-10


def test_gradients_of_many_inputs_are_compared_along_recorded_rows() -> None:
    """300 inputs on a plane: a slope across the plane does not count, one along it does."""
    plane = np.linalg.qr(RNG.normal(size=(300, 3)))[0].T
    X = RNG.normal(size=(400, 2)) @ plane[:2]
    of = region(1, n_inputs=300)
    projection = Projection(np.zeros(300), plane)
    of = replace(of, projection_in=projection)  # z0 and z1 along the plane, z2 across

    def gradient(X: Array) -> Array:  # of 3 z0
        return np.broadcast_to(3 * plane[0], (len(X), 1, 300))

    Y = 3 * (X @ plane[:1].T)
    samples = Rows(X[:300], Y[:300]), Rows(X[300:], Y[300:])

    def figure(text: str) -> float:
        neural = Function(lambda X: 3 * (X @ plane[:1].T), gradient)
        found = measured(of, equations(of, text), *samples, neural=neural)
        return found.outputs[0].gradient

    assert figure("3*z0 + 50*z2") < 1e-9
    assert figure("2.7*z0") == pytest.approx(0.1, rel=1e-6)


def test_gradients_are_free_of_units_and_of_directions_never_taken() -> None:
    """x1 is -1000 x0 throughout: only the derivative along that line can be compared."""
    a = RNG.uniform(-1, 1, 200)
    X = np.stack([a, -1000 * a], axis=1)
    of = region(1)

    def gradient(X: Array) -> Array:  # of 3 x0 + 0 x1
        return np.broadcast_to(np.array([3.0, 0.0]), (len(X), 1, 2))

    def figure(text: str) -> float:
        samples = Rows(X[:150], 3 * X[:150, :1]), Rows(X[150:], 3 * X[150:, :1])
        neural = Function(lambda X: 3 * X[:, :1], gradient)
        found = measured(of, equations(of, text), *samples, neural=neural)
        return found.outputs[0].gradient

    assert figure("-0.003*x1") < 1e-9  # the same function of such inputs
    assert figure("3*x0 + 1000*x0 + x1") < 1e-9
    assert figure("2.7*x0") == pytest.approx(0.1, rel=1e-9)
    assert figure("-0.0027*x1") == pytest.approx(0.1, rel=1e-9)


def test_given_controls_are_used_as_they_are() -> None:
    zero = LinearMap(np.zeros((2, 2)), np.zeros(2))
    of = region()
    found = measured(of, equations(of, "x0", "x1"), baseline=Controls(zero, zero))
    assert found.outputs[0].linear.relative_l2 == 1.0
