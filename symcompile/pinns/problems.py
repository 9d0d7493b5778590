"""Differential equations whose solution is known. Equations, sampling, loss weights, learning rates
and epochs follow Tan, Soubki and Cranmer, arXiv 2602.21307."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

N_OBSERVATIONS, SEED = 10, 290402


@dataclass(frozen=True)
class Coefficient:
    """A physical constant that is learned along with the network.

    It enters the residual as `coefficient ** power` times the derivatives in `multiplies`.
    """

    name: str
    truth: float
    start: float
    power: int
    multiplies: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Condition:
    """An initial or boundary condition, on the face of the domain where `input` equals `at`.

    `of` is "u", which has to match the truth there, or a derivative such as "u_t", which has to
    vanish.
    """

    input: str
    at: float
    of: str = "u"


@dataclass(frozen=True)
class Problem:
    """A differential equation `residual = 0` for u, its solution, and how a network learns it.

    Derivatives go by names: u_t for the first, u_tt for the second. `terms` weighs those with known
    factors in the residual. `truth` takes one array per input. Where `observed_at` (points with
    data) is None, ten points are drawn uniformly from the domain; where `physics_at` (points
    where the residual counts) is None, those with data serve. Both are arrays `[n, n_inputs]`.
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
PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _ALL}


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
