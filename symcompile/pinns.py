"""Three physics-informed networks whose closed-form solution is known: heat, wave, oscillator.

A physics-informed network (PINN) sees a few data points and the differential equation; where it
succeeds, symbolic regression can read the solution off it. Equations, sampling, loss weights,
learning rates and epochs follow Tan, Soubki and Cranmer, arXiv 2602.21307.

Training is written out in NumPy: with 32 units and 40 points a step in torch is mostly dispatch
and takes four times as long. Derivatives travel through the network as *series*, arrays
`[1 + 2 d, n, width]` that hold, for every point and unit, the value, the d first and the d pure
second derivatives by the d inputs (forward-mode Taylor propagation). One matrix product per layer
carries all of them; a reverse sweep over the same arrays gives the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array: TypeAlias = NDArray[Any]
Layers: TypeAlias = list[tuple[Array, Array]]

HIDDEN, N_OBSERVATIONS, SEED = (32, 32, 32), 10, 290402


@dataclass(frozen=True)
class Coefficient:
    """A physical constant that is learned along with the network: it enters the residual as
    `coefficient ** power` times the derivatives in `multiplies`."""

    name: str
    truth: float
    start: float
    power: int
    multiplies: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Condition:
    """An initial or boundary condition where `input` equals `at`: `of` is "u", which has to match
    the truth there, or a derivative such as "u_t", which has to vanish."""

    input: str
    at: float
    of: str = "u"


@dataclass(frozen=True)
class Problem:
    """A differential equation `residual = 0` for u, its solution, and how a network learns it.

    Derivatives go by names, u_t and u_tt; `terms` weighs those with known factors. `truth` takes
    one array per input. Where `observed_at` (points `[n, n_inputs]` with data) is None, ten are
    drawn uniformly from the domain; where `physics_at` (those with a residual) is, the same serve.
    """

    name: str
    equation: str
    domain: Mapping[str, tuple[float, float]] = field(hash=False)
    truth: Callable[..., Array]
    truth_text: str
    terms: Mapping[str, float] = field(hash=False)
    coefficient: Coefficient | None
    conditions: tuple[Condition, ...]
    epochs: int
    learning_rate: float = 1e-3
    plain_learning_rate: float = 1e-3
    physics_weight: float = 1.0
    condition_weight: float = 5.0
    observed_at: Array | None = field(default=None, compare=False, repr=False)
    physics_at: Array | None = field(default=None, compare=False, repr=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of the network's columns."""
        return tuple(self.domain)

    @property
    def slots(self) -> tuple[str, ...]:
        """What each row of a series holds: ("u", "u_x", "u_t", "u_xx", "u_tt") for (x, t)."""
        return ("u", *(f"u_{i}" for i in self.inputs), *(f"u_{i}{i}" for i in self.inputs))

    def truth_at(self, points: Array) -> Array:
        """The exact solution `[n]` at points `[n, n_inputs]`."""
        return np.asarray(self.truth(*points.T))


_UNIT_SQUARE = {"x": (0.0, 1.0), "t": (0.0, 1.0)}
_START = Condition("t", 0.0)
_ENDS = (Condition("x", 0.0), Condition("x", 1.0))


def _oscillator(t: Array) -> Array:
    damping, frequency = 2.0, np.sqrt(400.0 - 2.0**2)
    phase = np.arctan(-damping / frequency)
    return np.asarray(np.exp(-damping * t) * np.cos(phase + frequency * t) / np.cos(phase))


_ALL = (
    Problem(
        name="heat",
        equation="u_t = alpha u_xx",
        domain=_UNIT_SQUARE,
        truth=lambda x, t: np.exp(-(np.pi**2) * 0.2 * t) * np.sin(np.pi * x),
        truth_text="exp(-0.2 pi^2 t) sin(pi x)",
        terms={"u_t": 1.0},
        coefficient=Coefficient("alpha", 0.2, start=0.0, power=1, multiplies={"u_xx": -1.0}),
        conditions=(_START, *_ENDS),
        epochs=3000,
    ),
    Problem(
        name="wave",
        equation="u_tt = c^2 u_xx",
        domain=_UNIT_SQUARE,
        truth=lambda x, t: np.sin(np.pi * x) * np.cos(0.67 * np.pi * t),
        truth_text="sin(pi x) cos(0.67 pi t)",
        terms={"u_tt": 1.0},
        coefficient=Coefficient("c", 0.67, start=0.5, power=2, multiplies={"u_xx": -1.0}),
        conditions=(_START, Condition("t", 0.0, of="u_t"), *_ENDS),
        epochs=5000,
    ),
    Problem(
        name="oscillator",
        equation="u_tt + 4 u_t + 400 u = 0",
        domain={"t": (0.0, 1.0)},
        truth=_oscillator,
        truth_text="1.00504 exp(-2 t) cos(19.8997 t - 0.1002)",
        terms={"u_tt": 1.0, "u_t": 4.0, "u": 400.0},
        coefficient=None,
        conditions=(),
        epochs=20000,
        learning_rate=1e-4,
        physics_weight=1e-4,
        observed_at=np.linspace(0.0, 1.0, 500)[:200:20, None],
        physics_at=np.linspace(0.0, 1.0, 30)[:, None],
    ),
)
PROBLEMS = {problem.name: problem for problem in _ALL}


def observations(problem: Problem, seed: int = SEED) -> tuple[Array, Array]:
    """The points `[n, n_inputs]` and true values `[n]` that `train_pinn` sees for this seed."""
    points = problem.observed_at
    if points is None:
        low, high = np.array(list(problem.domain.values())).T
        points = np.random.default_rng(seed).uniform(low, high, (N_OBSERVATIONS, len(low)))
    return points, problem.truth_at(points)


def grid(problem: Problem, n: int = 100) -> Array:
    """An even grid over the domain, n points along each input: `[n ** n_inputs, n_inputs]`."""
    axes = [np.linspace(low, high, n) for low, high in problem.domain.values()]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


class Pinn(nn.Module):
    """Three hidden layers of 32 tanh units. The problem's learnable constant, `coefficient`, is one
    of the differential equation: `forward` does not use it."""

    coefficient: nn.Parameter | None

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        widths = (len(problem.inputs), *HIDDEN)
        hidden = [(nn.Linear(*pair), nn.Tanh()) for pair in pairwise(widths)]
        self.net = nn.Sequential(*chain(*hidden), nn.Linear(widths[-1], 1))
        start = None if problem.coefficient is None else torch.tensor(problem.coefficient.start)
        self.coefficient = None if start is None else nn.Parameter(start)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map points `[n, n_inputs]` to the solution `[n, 1]`."""
        return self.net(inputs)  # type: ignore[no-any-return]


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
    with torch.no_grad():
        for parameter, view in zip(model.parameters(), parameters.views, strict=True):
            parameter.copy_(torch.from_numpy(view))
    return model


def grid_error(model: nn.Module, problem: Problem, n: int = 100) -> float:
    """Mean squared error of a model against the truth on `grid(problem, n)`."""
    points = grid(problem, n)
    parameter = next(model.parameters(), torch.empty(0))
    with torch.no_grad():
        predicted = model(torch.as_tensor(points).to(parameter)).squeeze(-1).cpu().numpy()
    return float(np.mean((predicted - problem.truth_at(points)) ** 2))


def derivatives(model: Pinn, points: Array) -> Array:
    """The network's value, first and second derivatives `[1 + 2 d, n]` at points `[n, d]`, in the
    order of `Problem.slots` and the precision of the model's parameters."""
    parameters = _Parameters.of(model)
    return _propagate(_input_series(points, parameters.flat.dtype), parameters.layers)[0]


class _Parameters(NamedTuple):
    """A vector of all parameters (or of their gradient), and views of each."""

    flat: Array
    views: list[Array]
    coefficient: Array | None
    layers: Layers

    @classmethod
    def of(cls, model: Pinn) -> _Parameters:
        """A copy of the model's parameters, in the order of `model.parameters()`."""
        arrays = [parameter.detach().numpy() for parameter in model.parameters()]
        flat = np.concatenate([array.ravel() for array in arrays])
        pieces = np.split(flat, np.cumsum([array.size for array in arrays])[:-1])
        views = [piece.reshape(array.shape) for piece, array in zip(pieces, arrays, strict=True)]
        own = int(model.coefficient is not None)
        layers = list(zip(views[own::2], views[own + 1 :: 2], strict=True))
        return cls(flat, views, views[0] if own else None, layers)


class _Objective(NamedTuple):
    """The loss: weighted squares of `u - target`, plus weighted squares of the residual.

    `series` `[1 + 2 d, n, d]` holds the points; the first `n_physics` are those with a residual,
    `(known + coefficient ** power * learned) @ u`, both `[1 + 2 d]`. `target` and `weight`
    `[1 + 2 d, n]` cover data, initial and boundary conditions alike.
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
        faces = ((_on_face(problem, observed, c), c.of) for c in problem.conditions)
        blocks = [(at_physics, "u", 0.0), *blocks]
        blocks += [(face, of, problem.condition_weight) for face, of in faces]

    def by_slot(factors: Mapping[str, float]) -> Array:
        return np.array([factors.get(slot, 0.0) for slot in problem.slots], np.float32)

    points, start = np.concatenate([block[0] for block in blocks]), 0
    weight, target = np.zeros((2, len(problem.slots), len(points)), np.float32)
    for block, of, block_weight in blocks:
        columns = slice(start, start := start + len(block))
        weight[problem.slots.index(of), columns] = block_weight / len(block)
    target[0] = problem.truth_at(points)
    series, n_physics = _input_series(points, np.float32), len(at_physics) if physics else 0
    physics_weight = problem.physics_weight / len(at_physics)
    learned = problem.coefficient or Coefficient("none", 0.0, 0.0, power=0, multiplies={})
    factors = by_slot(problem.terms), by_slot(learned.multiplies), learned.power
    return _Objective(series, target, weight, n_physics, physics_weight, *factors)


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


def _input_series(points: Array, dtype: Any) -> Array:
    """The series `[1 + 2 d, n, d]` of the inputs themselves: first derivatives are unit vectors."""
    n, d = points.shape
    series = np.zeros((1 + 2 * d, n, d), dtype)
    series[0] = points
    series[1 : 1 + d] = np.eye(d)[:, None, :]
    return series


def _propagate(series: Array, layers: Layers) -> tuple[Array, list[tuple[Array, ...]], Array]:
    """`u` `[1 + 2 d, n]`; of each tanh layer the series before and after the matrix product, tanh
    of the affine value z and its two derivatives `[n, width]`; and the last layer's inputs, by
    tanh(z)' = tanh'(z) z' and tanh(z)'' = tanh'(z) z'' + tanh''(z) z'^2."""
    d = len(series) // 2
    steps: list[tuple[Array, ...]] = []
    for weight, bias in layers[:-1]:
        affine = _matmul(series, weight.T)
        value = np.tanh(affine[0] + bias)
        slope = 1 - value * value
        bend = -2 * value * slope
        steps.append((series, affine, value, slope, bend))
        series = slope * affine
        series[0] = value
        series[1 + d :] += bend * np.square(affine[1 : 1 + d])
    weight, bias = layers[-1]
    u = series @ weight[0]
    u[0] += bias
    return u, steps, series


def _propagate_back(
    by_u: Array, steps: list[tuple[Array, ...]], last: Array, layers: Layers, gradient: Layers
) -> None:
    """Turn the loss's gradient `[1 + 2 d, n]` by u into that by the layers' weights and biases."""
    (weight, _), (by_weight, by_bias) = layers[-1], gradient[-1]
    by_weight[0] = by_u.ravel() @ _rows(last)
    by_bias[0] = by_u[0].sum()
    by_outputs, d = by_u[:, :, None] * weight[0], len(by_u) // 2
    for i, (series, affine, value, slope, bend) in reversed(list(enumerate(steps))):
        first = affine[1 : 1 + d]
        by_second = by_outputs[1 + d :] * first
        by_affine = slope * by_outputs
        by_affine[0] += bend * (by_outputs[1:] * affine[1:]).sum(0)
        by_affine[0] += slope * (6 * value * value - 2) * (by_second * first).sum(0)
        by_affine[1 : 1 + d] += 2 * bend * by_second
        by_weight, by_bias = gradient[i]
        np.matmul(_rows(by_affine).T, _rows(series), out=by_weight)
        np.sum(by_affine[0], axis=0, out=by_bias)
        if i:
            by_outputs = _matmul(by_affine, layers[i][0])


def _rows(series: Array) -> Array:
    """A series `[1 + 2 d, n, width]` as a matrix `[(1 + 2 d) * n, width]`."""
    return series.reshape(-1, series.shape[-1])


def _matmul(series: Array, matrix: Array) -> Array:
    """Multiply a whole series by a matrix in one product, which NumPy would do slice by slice."""
    return np.asarray((_rows(series) @ matrix).reshape(*series.shape[:-1], -1))


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
