"""Recover the closed-form solutions that physics-informed networks learned from ten points.

    python examples/pinns.py            heat, wave and damped oscillator, six seeds each
    python examples/pinns.py --quick    one seed each

An equation has the right form if the law's own family, with an amplitude and a phase, gives the
equation again to six digits when its constants are fitted to it; nobody judges by eye. Decay, wave
number and frequency are compared with those of the law fitted straight to the network, and both the
equation and the network with the truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares

from symcompile import Equation, Target, symcompile
from symcompile.pinns import PROBLEMS, Pinn, grid, grid_error, train_pinn

SEEDS = (290402, 0, 1, 2, 3, 4)
SAME = 1e-6

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Family:
    """A law with free constants.

    Attributes:
        law: maps points [n_inputs, n] and constants to values [n].
        start: where fits start: the constants of the truth.
        names: names of the constants.
        free: how many of them, from the first, the truth itself leaves free.
        operators: what the search may use.
    """

    law: Callable[..., Array]
    start: tuple[float, ...]
    names: tuple[str, ...]
    free: int
    operators: tuple[str, ...]


FAMILIES = {
    "heat": Family(
        lambda p, decay, k, amplitude=1.0: amplitude * np.exp(-decay * p[1]) * np.sin(k * p[0]),
        (0.2 * np.pi**2, np.pi, 1.0),
        ("decay", "wave number", "amplitude"),
        2,
        ("+", "*", "inv", "sin", "exp"),
    ),
    "wave": Family(
        lambda p, k, w, amplitude=1.0, phase=0.0: (
            amplitude * np.sin(k * p[0]) * np.cos(w * p[1] + phase)
        ),
        (np.pi, 0.67 * np.pi, 1.0, 0.0),
        ("wave number", "frequency", "amplitude", "phase"),
        2,
        ("+", "*", "inv", "sin", "cos", "exp"),
    ),
    "oscillator": Family(
        lambda p, d, w, amplitude, phase: amplitude * np.exp(-d * p[0]) * np.cos(w * p[0] + phase),
        (2.0, np.sqrt(396.0), 1.00504, -0.1002),
        ("damping", "frequency", "amplitude", "phase"),
        4,
        ("+", "*", "inv", "sin", "cos", "exp"),
    ),
}


@dataclass(frozen=True)
class Result:
    """One network compiled."""

    problem: str
    seed: int
    equation: Equation
    right_form: bool
    off: float
    constants: tuple[float, ...]
    errors: tuple[float, float]
    seconds: float


def run(name: str, seed: int) -> Result:
    """Train a network on one problem, compile it, and judge the equation."""
    problem, family = PROBLEMS[name], FAMILIES[name]
    model = train_pinn(problem, seed=seed)
    start = time.perf_counter()
    target = Target(".", domain=problem.domain, operators=family.operators)
    compiled = symcompile(model, target, engine="operon", progress=False)
    seconds = time.perf_counter() - start
    equation = compiled.equations["."][0]
    points = grid(problem)
    values, truth = equation.predict(points), problem.truth_at(points)
    found, residual = fit(family, points, values, len(family.start))
    best, _ = fit(family, points, outputs(model, points), family.free)
    off = max(abs(a / b - 1) for a, b in zip(found[:2], best[:2], strict=True))
    errors = float(np.mean((values - truth) ** 2)), grid_error(model, problem)
    return Result(name, seed, equation, residual < SAME, off, found, errors, seconds)


def fit(family: Family, points: Array, values: Array, free: int) -> tuple[tuple[float, ...], float]:
    """The first constants of the family, fitted to values [n], and the relative L2 residual."""

    def residuals(constants: Array) -> Array:
        return family.law(points.T, *constants) - values

    found = least_squares(residuals, family.start[:free], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    size = np.linalg.norm(residuals(found)) / np.linalg.norm(values)
    return tuple(float(value) for value in found), float(size)


def outputs(model: Pinn, points: Array) -> Array:
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(points).float())[:, 0].double().numpy())


def table(results: list[Result]) -> str:
    rows = [
        f"{'problem':<11}{'seed':>7}  {'form':<6}{'constants off':>14}{'MSE equation':>14}"
        f"{'MSE network':>13}{'seconds':>9}  equation"
    ]
    for r in results:
        rows.append(
            f"{r.problem:<11}{r.seed:>7}  {'right' if r.right_form else 'WRONG':<6}{r.off:>13.2%} "
            f"{r.errors[0]:>14.2e}{r.errors[1]:>13.2e}{r.seconds:>9.1f}  {r.equation.text(5)}"
        )
    for name in dict.fromkeys(r.problem for r in results):
        mine = [r for r in results if r.problem == name]
        rows.append(
            f"{name}: right form {sum(r.right_form for r in mine)} of {len(mine)}, constants within"
            f" {max(r.off for r in mine):.2%} of the law fitted to the network, at most"
            f" {max(r.seconds for r in mine):.0f} s"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed each")
    seeds = SEEDS[:1] if parser.parse_args().quick else SEEDS
    print(table([run(name, seed) for name in FAMILIES for seed in seeds]))


if __name__ == "__main__":
    main()
