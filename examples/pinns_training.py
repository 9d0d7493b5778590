"""Train equations in the network's place: the same ten points, the same differential equation.

A compiled network is an ordinary module whose constants can be trained, so whatever trained the
network can train its equation. A network that learned the law to 1 % has an equation that is off by
1 %; the equation, with three or four constants instead of two thousand, can be right to the last
digit. How low the loss of training falls also tells which equation of the front is the law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from symcompile import Compiled, Equation, ParetoFront
from symcompile.pinns import Problem, observations

# Equations of the front up to this much more complex than the chosen one are trained.
FURTHER = 4
STEPS = 150


class Trained(NamedTuple):
    """An equation after training; the differential equation's constant if it has one to learn."""

    equation: Equation
    constant: float | None
    loss: float


def around_choice(compiled: Compiled) -> list[Equation]:
    """The chosen equation and its neighbours on the front, simpler ones included."""
    limit = compiled.equations["."][0].complexity + FURTHER
    return [e for e in compiled.fronts["."][0] if e.sympy.free_symbols and e.complexity <= limit]


def train_and_choose(
    compiled: Compiled, candidates: Sequence[Equation], problem: Problem, seed: int
) -> Trained:
    """Train each equation in the model's place, and choose by the loss of training.

    The compiled model keeps the equation that is returned.
    """
    trained = [train_equation(compiled, one, problem, seed) for one in candidates]
    measured = [replace(t.equation, loss=t.loss, holdout_loss=t.loss) for t in trained]
    variance = float(np.var(observations(problem, seed)[1]))
    best = ParetoFront.of(measured, variance).best
    chosen = trained[next(i for i, one in enumerate(measured) if one is best)]
    compiled.choose(".", chosen.equation)
    return chosen


def train_equation(compiled: Compiled, equation: Equation, problem: Problem, seed: int) -> Trained:
    """Put an equation in the model's place and train its constants, in float64."""
    compiled.choose(".", equation)
    compiled.trainable_constants(True)
    module = compiled.module.double()
    parameters = list(module.parameters())
    constant = None
    if problem.coefficient is not None:
        start = problem.coefficient.start
        constant = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        parameters.append(constant)
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=STEPS,
        tolerance_grad=1e-12,
        tolerance_change=1e-20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(module, problem, seed, constant)
        loss.backward()
        return loss

    optimizer.step(closure)
    loss = float(closure().detach())
    known = None if constant is None else float(constant.detach())
    return Trained(compiled.equations["."][0], known, loss)


def objective(module: nn.Module, problem: Problem, seed: int, constant: Tensor | None) -> Tensor:
    """The loss that `train_pinn` trains networks with, for any module and in its precision."""
    points, values = map(torch.from_numpy, observations(problem, seed))
    at_physics = points if problem.physics_at is None else torch.from_numpy(problem.physics_at)
    loss = (module(points)[:, 0] - values).square().mean()
    physics = residual(problem, derivatives(module, problem, at_physics), constant)
    loss = loss + problem.physics_weight * physics.square().mean()
    for condition in problem.conditions:
        face = points.clone()
        face[:, problem.inputs.index(condition.input)] = condition.at
        wanted = torch.from_numpy(problem.truth_at(face.numpy())) if condition.of == "u" else 0.0
        off = derivatives(module, problem, face)[condition.of] - wanted
        loss = loss + problem.condition_weight * off.square().mean()
    return loss


def residual(problem: Problem, parts: dict[str, Tensor], constant: Tensor | None) -> Tensor:
    """The differential equation's residual [n] from derivatives by name."""
    total = torch.zeros_like(parts["u"])
    for name, factor in problem.terms.items():
        total = total + factor * parts[name]
    if problem.coefficient is not None and constant is not None:
        for name, factor in problem.coefficient.multiplies.items():
            total = total + constant**problem.coefficient.power * factor * parts[name]
    return total


def derivatives(module: nn.Module, problem: Problem, points: Tensor) -> dict[str, Tensor]:
    """Value, first and pure second derivatives [n] at points [n, n_inputs], by name."""
    points = points.clone().requires_grad_(True)
    value = module(points)[:, 0]
    parts = {"u": value}
    first = _slopes(value, points)
    for column, name in enumerate(problem.inputs):
        slope = first[:, column]
        parts |= {f"u_{name}": slope, f"u_{name}{name}": _slopes(slope, points)[:, column]}
    return parts


def _slopes(value: Tensor, points: Tensor) -> Tensor:
    """Derivatives [n, n_inputs] of value [n]; zero where a value does not depend on its point."""
    if not value.requires_grad:
        return torch.zeros_like(points)
    (found,) = torch.autograd.grad(
        value.sum(), points, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return found
