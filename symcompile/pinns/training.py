"""A network for a differential equation, and its training in NumPy.

With 32 units and 40 points a training step in torch is mostly dispatch, and the same step written
out in NumPy takes about a quarter of the time. The derivatives that the equation needs travel
through the network as *series*, arrays `[1 + 2 d, n, width]` that hold, for every point and unit,
the value, the d first and the d pure second derivatives with respect to the d inputs (forward-mode
Taylor propagation). One matrix product per layer carries all of them; a reverse sweep over the same
arrays gives the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from symcompile.pinns.problems import SEED, Array, Condition, Problem, grid, observations

HIDDEN = (32, 32, 32)
Layers: TypeAlias = list[tuple[Array, Array]]


class Pinn(nn.Module):
    """Three hidden layers of 32 tanh units, and the problem's learnable constant if it has one.

    The constant, `coefficient`, belongs to the differential equation: `forward` does not use it.
    """

    net: nn.Sequential
    coefficient: nn.Parameter | None

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        widths = (len(problem.inputs), *HIDDEN)
        hidden = [(nn.Linear(*pair), nn.Tanh()) for pair in pairwise(widths)]
        self.net = nn.Sequential(*chain(*hidden), nn.Linear(widths[-1], 1))
        learned = problem.coefficient
        self.register_parameter(
            "coefficient", None if learned is None else nn.Parameter(torch.tensor(learned.start))
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map points `[n, n_inputs]` to the solution `[n, 1]`."""
        solution: Tensor = self.net(inputs)
        return solution


def train_pinn(
    problem: Problem,
    *,
    seed: int = SEED,
    physics: bool = True,
    epochs: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Pinn:
    """Train a network on ten points of the truth and, unless `physics` is off, on the equation.

    The same seed gives the same data points and initial weights with and without physics, and the
    same trained network every time on one machine. `epochs` defaults to the problem's own.
    `progress` is called with the number of epochs done and the loss, about a hundred times.
    """
    epochs = problem.epochs if epochs is None else epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Pinn(problem)
    objective = _objective(problem, observations(problem, seed)[0], physics)
    parameters, gradient = _Parameters.of(model), _Parameters.of(model)
    adam = _Adam(parameters.flat, problem.learning_rate if physics else problem.plain_learning_rate)
    report_every = max(1, epochs // 100)
    for epoch in range(1, epochs + 1):
        loss = _loss_and_gradient(objective, parameters, gradient)
        adam.step(gradient.flat)
        if progress is not None and (epoch % report_every == 0 or epoch == epochs):
            progress(epoch, loss)
    parameters.store(model)
    return model


def grid_error(model: nn.Module, problem: Problem, n: int = 100) -> float:
    """Mean squared error of a model against the truth on `grid(problem, n)`."""
    points = grid(problem, n)
    parameter = next(model.parameters(), torch.empty(0))
    with torch.no_grad():
        predicted = model(torch.as_tensor(points).to(parameter)).squeeze(-1).cpu().numpy()
    return float(np.mean((predicted - problem.truth_at(points)) ** 2))


def derivatives(model: Pinn, points: Array) -> Array:
    """The network's value, first and second derivatives `[1 + 2 d, n]` at points `[n, d]`.

    The rows are in the order of `Problem.slots`; the precision is that of the model's parameters.
    """
    parameters = _Parameters.of(model)
    return _propagate(_input_series(points, parameters.flat.dtype), parameters.layers)[0]


class _Parameters(NamedTuple):
    """A vector of all parameters (or of their gradient), and views of its parts."""

    flat: Array
    parts: list[Array]
    coefficient: Array | None
    layers: Layers

    @classmethod
    def of(cls, model: Pinn) -> _Parameters:
        """A copy of the model's parameters, in the order of `model.parameters()`."""
        arrays = [parameter.detach().numpy() for parameter in model.parameters()]
        flat = np.concatenate([array.ravel() for array in arrays])
        pieces = np.split(flat, np.cumsum([array.size for array in arrays])[:-1])
        parts = [piece.reshape(one.shape) for piece, one in zip(pieces, arrays, strict=True)]
        own = int(model.coefficient is not None)
        layers = list(zip(parts[own::2], parts[own + 1 :: 2], strict=True))
        return cls(flat, parts, parts[0] if own else None, layers)

    def store(self, model: Pinn) -> None:
        """Write the values into a model that has the same parts."""
        with torch.no_grad():
            for parameter, part in zip(model.parameters(), self.parts, strict=True):
                parameter.copy_(torch.from_numpy(part))


class _Objective(NamedTuple):
    """The loss: weighted squares of `u - target`, plus weighted squares of the residual.

    `series` `[1 + 2 d, n, d]` holds the points; the first `n_physics` are those with a residual.
    `target` and `weight` `[1 + 2 d, n]` cover data, initial and boundary conditions alike.
    The residual is `(known + coefficient ** power * learned) @ u`, both `[1 + 2 d]`.
    """

    series: Array
    target: Array
    weight: Array
    n_physics: int
    physics_weight: float
    known: Array
    learned: Array
    power: int


def _objective(problem: Problem, observed: Array, physics: bool) -> _Objective:
    """What to fit where: points with a residual come first, then data, then each condition."""
    at_physics = observed if problem.physics_at is None else problem.physics_at
    blocks = [(observed, "u", 1.0)]
    if physics:
        faces = [(_on_face(problem, observed, c), c.of) for c in problem.conditions]
        blocks = [(at_physics, "u", 0.0), *blocks]
        blocks += [(face, of, problem.condition_weight) for face, of in faces]

    def by_slot(factors: Mapping[str, float]) -> Array:
        return np.array([factors.get(slot, 0.0) for slot in problem.slots], np.float32)

    points = np.concatenate([block[0] for block in blocks])
    weight, target = np.zeros((2, len(problem.slots), len(points)), np.float32)
    start = 0
    for block, of, block_weight in blocks:
        columns = slice(start, start := start + len(block))
        weight[problem.slots.index(of), columns] = block_weight / len(block)
    target[0] = problem.truth_at(points)
    learned = problem.coefficient
    return _Objective(
        series=_input_series(points, np.float32),
        target=target,
        weight=weight,
        n_physics=len(at_physics) if physics else 0,
        physics_weight=problem.physics_weight / len(at_physics),
        known=by_slot(problem.terms),
        learned=by_slot(learned.multiplies if learned else {}),
        power=learned.power if learned else 0,
    )


def _on_face(problem: Problem, points: Array, condition: Condition) -> Array:
    """Points `[n, d]` moved to the face of the domain where a condition holds."""
    moved = points.copy()
    moved[:, problem.inputs.index(condition.input)] = condition.at
    return moved


def _loss_and_gradient(
    objective: _Objective, parameters: _Parameters, gradient: _Parameters
) -> float:
    """The loss; its gradient overwrites `gradient`."""
    u, steps, last = _propagate(objective.series, parameters.layers)
    error = u - objective.target
    weighted = objective.weight * error
    loss, by_u, by_coefficient = float(np.vdot(weighted, error)), 2 * weighted, 0.0
    if objective.n_physics:
        u, power = u[:, : objective.n_physics], objective.power
        coefficient = 0.0 if parameters.coefficient is None else float(parameters.coefficient)
        factors = objective.known + coefficient**power * objective.learned
        residual = factors @ u
        slope = 2 * objective.physics_weight * residual
        loss += objective.physics_weight * float(residual @ residual)
        by_u[:, : objective.n_physics] += np.outer(factors, slope)
        by_coefficient = power * coefficient ** max(power - 1, 0)
        by_coefficient *= float(slope @ (objective.learned @ u))
    if gradient.coefficient is not None:
        gradient.coefficient[...] = by_coefficient
    _propagate_back(by_u, steps, last, parameters.layers, gradient.layers)
    return loss


# What the reverse sweep needs of one tanh layer: series `[1 + 2 d, n, width]` before and after the
# matrix product, tanh of the affine value, and its first two derivatives there `[n, width]`.
_TanhStep: TypeAlias = tuple[Array, Array, Array, Array, Array]


def _input_series(points: Array, dtype: Any) -> Array:
    """The series `[1 + 2 d, n, d]` of the inputs themselves: first derivatives are unit vectors."""
    n, d = points.shape
    series = np.zeros((1 + 2 * d, n, d), dtype)
    series[0] = points
    series[1 : 1 + d] = np.eye(d)[:, None, :]
    return series


def _propagate(series: Array, layers: Layers) -> tuple[Array, list[_TanhStep], Array]:
    """Carry a series through the network.

    Returns `u` `[1 + 2 d, n]`, a step for each tanh layer, and the last layer's input series. With
    z(x) the affine value, the chain rule reads tanh(z)' = tanh'(z) z' and
    tanh(z)'' = tanh'(z) z'' + tanh''(z) z'^2.
    """
    d = len(series) // 2
    steps = []
    for weight, bias in layers[:-1]:
        affine = _matmul(series, weight.T)
        value = np.tanh(affine[0] + bias)
        slope = 1 - value * value
        bend = -2 * value * slope
        steps.append((series, affine, value, slope, bend))
        first = affine[1 : 1 + d]
        series = slope * affine
        series[0] = value
        series[1 + d :] += bend * (first * first)
    weight, bias = layers[-1]
    u = series @ weight[0]
    u[0] += bias
    return u, steps, series


def _propagate_back(
    by_u: Array, steps: list[_TanhStep], last: Array, layers: Layers, gradient: Layers
) -> None:
    """Turn the loss's gradient `[1 + 2 d, n]` by u into that by the layers' weights and biases."""
    (weight, _), (by_weight, by_bias) = layers[-1], gradient[-1]
    by_weight[0] = by_u.ravel() @ _rows(last)
    by_bias[0] = by_u[0].sum()
    by_outputs = by_u[:, :, None] * weight[0]
    for i, step in reversed(list(enumerate(steps))):
        by_affine = _by_affine(by_outputs, step)
        by_weight, by_bias = gradient[i]
        np.matmul(_rows(by_affine).T, _rows(step[0]), out=by_weight)
        np.sum(by_affine[0], axis=0, out=by_bias)
        if i:
            by_outputs = _matmul(by_affine, layers[i][0])


def _by_affine(by_outputs: Array, step: _TanhStep) -> Array:
    """Pull a gradient `[1 + 2 d, n, next_width]` back through one tanh layer's chain rule."""
    _, affine, value, slope, bend = step
    d = len(by_outputs) // 2
    first = affine[1 : 1 + d]
    by_second = by_outputs[1 + d :] * first
    third = slope * (6 * value * value - 2)
    by_affine: Array = slope * by_outputs
    by_affine[0] += bend * (by_outputs[1:] * affine[1:]).sum(0)
    by_affine[0] += third * (by_second * first).sum(0)
    by_affine[1 : 1 + d] += 2 * bend * by_second
    return by_affine


def _rows(series: Array) -> Array:
    """A series `[1 + 2 d, n, width]` as a matrix `[(1 + 2 d) * n, width]`."""
    return series.reshape(-1, series.shape[-1])


def _matmul(series: Array, matrix: Array) -> Array:
    """Multiply a whole series by a matrix in one product, which NumPy would do slice by slice."""
    product: Array = _rows(series) @ matrix
    return product.reshape(*series.shape[:-1], -1)


class _Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) with torch's defaults, in place on one vector."""

    def __init__(self, parameters: Array, learning_rate: float) -> None:
        self.parameters, self.learning_rate, self.steps = parameters, learning_rate, 0
        self.mean, self.square = np.zeros_like(parameters), np.zeros_like(parameters)

    def step(self, gradient: Array, beta1: float = 0.9, beta2: float = 0.999) -> None:
        """Move the parameters against a gradient of their shape."""
        self.steps += 1
        self.mean += (1 - beta1) * (gradient - self.mean)
        self.square += (1 - beta2) * (gradient * gradient - self.square)
        rate = self.learning_rate / (1 - beta1**self.steps)
        scale = np.sqrt(self.square / (1 - beta2**self.steps)) + 1e-8
        self.parameters -= rate * self.mean / scale
