"""The laws of heat, wave and damped oscillator, with free constants, and what the paper found.

An equation has the right form if the family of its law, with an amplitude and a phase, gives the
equation again to six digits when its constants are fitted to it; nobody judges by eye.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

# Relative L2 difference below which two functions are the same.
SAME = 1e-6

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Family:
    """A law with free constants.

    Attributes:
        law: maps points [n_inputs, n] and constants to values [n].
        truth: the constants of the truth, where fits start.
        names: names of the constants.
        free: how many of them, from the first, the truth itself leaves free.
        operators: what the search may use.
        physical: name of the constant that is compared with the truth, and how it follows from the
            first two: the one of the differential equation where that has one to learn.
        paper: the equation that the paper reports (arXiv 2602.21307), as text and as constants.
    """

    law: Callable[..., Array]
    truth: tuple[float, ...]
    names: tuple[str, ...]
    free: int
    operators: tuple[str, ...]
    physical: tuple[str, Callable[[float, float], float]]
    paper: tuple[str, tuple[float, ...]]

    def constant(self, constants: Sequence[float]) -> float:
        """The physical constant that constants of the family imply."""
        return float(self.physical[1](*constants[:2]))


_WAVES = ("+", "*", "inv", "sin", "cos", "exp")

FAMILIES = {
    "heat": Family(
        lambda p, decay, k, amplitude=1.0: amplitude * np.exp(-decay * p[1]) * np.sin(k * p[0]),
        (0.2 * np.pi**2, np.pi, 1.0),
        ("decay", "wave number", "amplitude"),
        2,
        ("+", "*", "inv", "sin", "exp"),
        # u_t = -decay u and u_xx = -k^2 u.
        ("alpha", lambda decay, k: decay / k**2),
        ("sin(3.144*x)*exp(-1.981*t)", (1.981, 3.144)),
    ),
    "wave": Family(
        lambda p, k, w, amplitude=1.0, phase=0.0: (
            amplitude * np.sin(k * p[0]) * np.cos(w * p[1] + phase)
        ),
        (np.pi, 0.67 * np.pi, 1.0, 0.0),
        ("wave number", "frequency", "amplitude", "phase"),
        2,
        _WAVES,
        # u_tt = -w^2 u and u_xx = -k^2 u.
        ("c", lambda k, w: w / k),
        ("sin(3.147*x)*cos(2.105*t)", (3.147, 2.105)),
    ),
    "oscillator": Family(
        lambda p, d, w, amplitude=1.0, phase=0.0: (
            amplitude * np.exp(-d * p[0]) * np.cos(w * p[0] + phase)
        ),
        (2.0, math.sqrt(396.0), 1.00504, -0.1002),
        ("damping", "frequency", "amplitude", "phase"),
        4,
        _WAVES,
        ("frequency", lambda d, w: w),
        ("exp(-2.000*t)*cos(-19.625*t)", (2.0, 19.625)),
    ),
}


def fit(family: Family, points: Array, values: Array, free: int) -> tuple[tuple[float, ...], float]:
    """The first constants of the family, fitted to values [n], and the relative L2 residual; those
    of the truth, and infinite, where a value is not finite."""
    if not np.isfinite(values).all():
        return family.truth[:free], np.inf

    def residuals(constants: Array) -> Array:
        return family.law(points.T, *constants) - values

    found = least_squares(residuals, family.truth[:free], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    size = np.linalg.norm(residuals(found)) / np.linalg.norm(values)
    return tuple(float(value) for value in found), float(size)
