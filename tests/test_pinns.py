"""The three physics-informed networks of `symcompile.pinns`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from symcompile import pinns
from symcompile.pinns import (
    PROBLEMS,
    Pinn,
    Problem,
    derivatives,
    grid,
    grid_error,
    observations,
    train_pinn,
)

every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())


def random_pinn(problem: Problem) -> Pinn:
    torch.manual_seed(7)
    return Pinn(problem).double()


def autograd_slots(model: Pinn, problem: Problem, points: Tensor) -> dict[str, Tensor]:
    """Value and derivatives `[n]` by slot name, by differentiating twice with autograd."""
    points = points.clone().requires_grad_()
    u = model(points)[:, 0]
    (first,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    found = {"u": u}
    for i, name in enumerate(problem.inputs):
        (second,) = torch.autograd.grad(first[:, i].sum(), points, create_graph=True)
        found[f"u_{name}"] = first[:, i]
        found[f"u_{name}{name}"] = second[:, i]
    return found


def reference_residual(problem: Problem, u: dict[str, Tensor], constant: Tensor) -> Tensor:
    if problem.name == "heat":
        return u["u_t"] - constant * u["u_xx"]
    if problem.name == "wave":
        return u["u_tt"] - constant**2 * u["u_xx"]
    return u["u_tt"] + 4 * u["u_t"] + 400 * u["u"]


def reference_loss(model: Pinn, problem: Problem) -> Tensor:
    """The training loss as the paper words it, term by term."""
    points, values = (torch.from_numpy(part) for part in observations(problem, seed=3))
    loss = (model(points)[:, 0] - values).square().mean()
    oscillates = problem.name == "oscillator"
    at = torch.linspace(0, 1, 30)[:, None].double() if oscillates else points
    constant = torch.zeros(()) if model.coefficient is None else model.coefficient
    residual = reference_residual(problem, autograd_slots(model, problem, at), constant).square()
    if oscillates:
        return loss + 1e-4 * residual.mean()
    x, t = points.T
    start = autograd_slots(model, problem, torch.stack([x, 0 * t], 1))
    initial = (start["u"] - torch.sin(torch.pi * x)).square().mean()
    if problem.name == "wave":
        initial = initial + start["u_t"].square().mean()
    ends = [model(torch.stack([0 * x + end, t], 1)).square().mean() for end in (0, 1)]
    return loss + residual.mean() + 5 * initial + 5 * sum(ends)


@every_problem
def test_derivatives_equal_autograd(problem: Problem) -> None:
    model = random_pinn(problem)
    points = np.random.default_rng(0).uniform(-1, 2, (17, len(problem.inputs)))
    expected = autograd_slots(model, problem, torch.from_numpy(points))
    found = derivatives(model, points)
    assert found.shape == (len(problem.slots), 17)
    for slot, row in zip(problem.slots, found, strict=True):
        np.testing.assert_allclose(row, expected[slot].detach(), rtol=0, atol=1e-12)


@every_problem
def test_loss_and_gradient_equal_autograd(problem: Problem) -> None:
    model = random_pinn(problem)
    if model.coefficient is not None:
        model.coefficient.data.fill_(0.7)
    loss = reference_loss(model, problem)
    expected = torch.autograd.grad(loss, list(model.parameters()))

    objective = pinns._objective(problem, observations(problem, seed=3)[0], physics=True)
    parameters, gradient = pinns._Parameters.of(model), pinns._Parameters.of(model)
    found = pinns._loss_and_gradient(objective, parameters, gradient)

    # The objective holds its points in float32.
    assert found == pytest.approx(loss.item(), rel=1e-6)
    flat = torch.cat([part.flatten() for part in expected]).numpy()
    np.testing.assert_allclose(gradient.flat, flat, rtol=0, atol=1e-6 * np.abs(flat).max())


def test_adam_equals_torch() -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=9), rng.normal(size=(20, 9))
    reference = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.Adam([reference], lr=1e-2)
    adam = pinns._Adam(start, 1e-2)
    for gradient in gradients:
        reference.grad = torch.from_numpy(gradient)
        optimizer.step()
        adam.step(gradient)
    np.testing.assert_allclose(start, reference.detach(), rtol=0, atol=1e-12)


@every_problem
def test_truth_solves_the_equation_and_conditions(problem: Problem) -> None:
    points = 0.1 + 0.8 * grid(problem, n=5)
    step = 1e-4

    def slots_of_truth(points: np.ndarray) -> dict[str, np.ndarray]:
        value = problem.truth_at(points)
        found = {"u": value}
        for name, shift in zip(problem.inputs, step * np.eye(len(problem.inputs)), strict=True):
            after, before = problem.truth_at(points + shift), problem.truth_at(points - shift)
            found[f"u_{name}"] = (after - before) / (2 * step)
            found[f"u_{name}{name}"] = (after - 2 * value + before) / step**2
        return found

    u = slots_of_truth(points)
    residual = sum(factor * u[slot] for slot, factor in problem.terms.items())
    if (learned := problem.coefficient) is not None:
        for slot, factor in learned.multiplies.items():
            residual += learned.truth**learned.power * factor * u[slot]
    np.testing.assert_allclose(residual, 0, atol=5e-3)
    for condition in problem.conditions:
        if condition.of != "u":
            face = pinns._on_face(problem, points, condition)
            np.testing.assert_allclose(slots_of_truth(face)[condition.of], 0, atol=1e-6)


@every_problem
def test_data_points_follow_the_seed(problem: Problem) -> None:
    points, values = observations(problem, seed=1)
    assert points.shape == (10, len(problem.inputs))
    assert values.shape == (10,)
    np.testing.assert_array_equal(points, observations(problem, seed=1)[0])
    drawn = problem.name != "oscillator"
    assert drawn != np.array_equal(points, observations(problem, seed=2)[0])


@pytest.mark.parametrize("physics", [True, False])
@every_problem
def test_training_lowers_the_loss(problem: Problem, physics: bool) -> None:
    losses: list[float] = []
    model = train_pinn(
        problem, physics=physics, epochs=300, progress=lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 100
    assert losses[-1] < 0.98 * losses[0]
    if model.coefficient is not None and problem.coefficient is not None:
        assert (model.coefficient.item() != problem.coefficient.start) is physics


def test_training_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    undisturbed = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (
        train_pinn(PROBLEMS["heat"], seed=seed, epochs=50).state_dict() for seed in (5, 5, 6)
    )
    assert torch.equal(torch.rand(3), undisturbed)
    assert list(first) == [
        "coefficient",
        *(f"net.{layer}.{part}" for layer in (0, 2, 4, 6) for part in ("weight", "bias")),
    ]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@every_problem
def test_zero_epochs_give_the_seeded_initial_network(problem: Problem) -> None:
    model = train_pinn(problem, seed=7, epochs=0)
    torch.manual_seed(7)
    expected = Pinn(problem)
    points = torch.rand(4, len(problem.inputs))
    assert torch.equal(model(points), expected(points))
    assert model(points).shape == (4, 1)


@every_problem
def test_grid_error_of_zero_is_the_mean_square_of_the_truth(problem: Problem) -> None:
    model = Pinn(problem)
    for parameter in model.parameters():
        parameter.data.zero_()
    expected = np.mean(problem.truth_at(grid(problem, n=20)) ** 2)
    assert grid_error(model, problem, n=20) == pytest.approx(expected)


def test_a_trained_heat_network_reaches_the_published_accuracy() -> None:
    problem = PROBLEMS["heat"]
    model = train_pinn(problem)
    assert problem.coefficient is not None
    assert model.coefficient is not None
    assert model.coefficient.item() == pytest.approx(problem.coefficient.truth, rel=0.1)
    assert grid_error(model, problem) < 3e-5
