"""The Lorenz system, seen through ten random mixtures of its three coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

SIGMA, RHO, BETA = 10.0, 28.0, 2.7
DT = 0.01
START = (0.0, 1.0, 1.05)
STEPS, TRAIN = 160_000, 80_000
OBSERVED = 10

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """One trajectory and what is seen of it; the first `train` rows are for training.

    Attributes:
        z, zdot: states and their rates of change [n_steps, 3].
        mixing: the matrix L of x = z L, [3, 10].
        train: rows before this one are for training, the others for testing.
    """

    z: Array
    zdot: Array
    mixing: Array
    train: int

    @property
    def x(self) -> Array:
        return self.z @ self.mixing

    @property
    def xdot(self) -> Array:
        return self.zdot @ self.mixing


def derivative(z: Array) -> Array:
    """The Lorenz equations for states [..., 3]."""
    x, y, w = z[..., 0], z[..., 1], z[..., 2]
    return np.stack([SIGMA * (y - x), x * (RHO - w) - y, x * y - BETA * w], axis=-1)


def trajectory(steps: int) -> tuple[Array, Array]:
    """States of forward Euler and the rates of change between them, [steps, 3] each.

    The difference quotient of two states is the derivative that Euler's method used, so the rates
    are exact, not approximate.
    """
    states = np.empty((steps + 1, 3))
    x, y, w = START
    for step in range(steps + 1):
        states[step] = x, y, w
        x, y, w = (
            x + DT * SIGMA * (y - x),
            y + DT * (x * (RHO - w) - y),
            w + DT * (x * y - BETA * w),
        )
    return states[:-1], np.diff(states, axis=0) / DT


def observe(seed: int, steps: int = STEPS, train: int = TRAIN) -> Observations:
    """The trajectory through a mixing matrix of independent N(0, 1) numbers."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(3, OBSERVED, generator=generator).double().numpy()
    z, zdot = trajectory(steps)
    return Observations(z, zdot, mixing, train)
