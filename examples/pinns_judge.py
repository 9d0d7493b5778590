"""Compile one trained network, and judge its equation by the law, the network and the truth."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pinns_laws import FAMILIES, SAME, Array, Family, fit
from pinns_training import around_choice, train_and_choose

from symcompile import Compiled, Equation, Target, symcompile
from symcompile.pinns import PROBLEMS, Pinn, Problem, grid

# Times beyond the domain, as multiples of its length.
BEYOND = (1.0, 2.0)
# The share of the true frequency by which the oscillator's may be off.
FREQUENCY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Trained:
    """The equation of a PINN after the ten points and the differential equation trained it.

    Attributes:
        implied: its physical constant, None for another form.
        learned: the differential equation's constant, trained along with it; None without one.
        errors: mean squared error against the truth, inside and beyond the domain.
    """

    equation: Equation
    right_form: bool
    constants: tuple[float, ...]
    implied: float | None
    learned: float | None
    errors: tuple[float, float]
    seconds: float


@dataclass(frozen=True)
class Result:
    """One network compiled.

    Attributes:
        kind: "PINN", or "NN" for the same network without physics.
        right_form: whether the chosen equation is of the law's family.
        off: largest relative difference of its first two constants from those of the law when this
            is fitted straight to the network.
        constants: those of the family, fitted to the equation; of no meaning for another form.
        learned: the differential equation's constant in the model, None where it has none.
        fitted: the physical constant of the law when this is fitted straight to the network.
        implied: the physical constant of the equation, None for another form.
        errors: mean squared error against the truth inside the domain, of equation and network.
        beyond: the same at times beyond the domain.
        seconds: of the compilation.
        trained: what training made of it; None where it was not asked for.
    """

    problem: str
    seed: int
    kind: str
    equation: Equation
    right_form: bool
    off: float
    constants: tuple[float, ...]
    learned: float | None
    fitted: float
    implied: float | None
    errors: tuple[float, float]
    beyond: tuple[float, float]
    seconds: float
    trained: Trained | None = None

    @property
    def reached(self) -> bool:
        """The right form, no further from the truth than the network; and of the oscillator the
        amplitude, the phase, and the frequency within 0.1 %."""
        good = self.right_form and self.errors[0] <= self.errors[1]
        return good and complete(self.problem, self.constants)

    @property
    def reached_by_training(self) -> bool:
        """The same of the equation that was trained."""
        one = self.trained
        good = one is not None and one.right_form and one.errors[0] <= self.errors[1]
        return good and one is not None and complete(self.problem, one.constants)

    def to_json(self) -> dict[str, Any]:
        trained = self.trained
        return {
            "problem": self.problem,
            "seed": self.seed,
            "kind": self.kind,
            "equation": self.equation.text(12),
            "complexity": self.equation.complexity,
            "right_form": self.right_form,
            "reached": self.reached,
            "off": self.off if self.right_form else None,
            "constants": self._by_name(self.constants) if self.right_form else None,
            "constant": {
                "name": FAMILIES[self.problem].physical[0],
                "model": self.learned,
                "law_fitted_to_network": self.fitted,
                "equation": self.implied,
            },
            "mse": {"equation": self.errors[0], "network": self.errors[1]},
            "mse_beyond": {"equation": self.beyond[0], "network": self.beyond[1]},
            "seconds": round(self.seconds, 2),
            "trained": trained
            and {
                "equation": trained.equation.text(12),
                "right_form": trained.right_form,
                "constants": self._by_name(trained.constants) if trained.right_form else None,
                "reached": self.reached_by_training,
                "constant": trained.implied,
                "learned": trained.learned,
                "mse": trained.errors[0],
                "mse_beyond": trained.errors[1],
                "seconds": round(trained.seconds, 2),
            },
        }

    def _by_name(self, constants: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(FAMILIES[self.problem].names, constants, strict=True))


def complete(problem: str, constants: tuple[float, ...]) -> bool:
    """Whether constants of the family have all that the truth has."""
    if problem != "oscillator":
        return True
    _, frequency, amplitude, phase = constants
    off = abs(frequency / FAMILIES[problem].truth[1] - 1)
    return off <= FREQUENCY_TOLERANCE and abs(amplitude - 1) > SAME and phase != 0


def judge(
    name: str,
    seed: int,
    kind: str,
    model: Pinn,
    *,
    train: bool = False,
    executor: Executor | None = None,
    **options: Any,
) -> Result:
    """Compile a trained network, and compare equation and network with the law.

    Args:
        train: also train the equation of a PINN in the network's place.
        executor: where the searches run; by default as many at a time as there are cores.
        options: go to the engine.
    """
    problem, family = PROBLEMS[name], FAMILIES[name]
    start = time.perf_counter()
    target = Target(".", domain=problem.domain, operators=family.operators)
    compiled = symcompile(
        model, target, engine="operon", engine_options=options, executor=executor, progress=False
    )
    seconds = time.perf_counter() - start
    equation = compiled.equations["."][0]
    points, later = grid(problem), points_beyond(problem)
    right, found = right_form(family, points, equation)
    best, _ = fit(family, points, outputs(model, points), family.free)
    off = max(abs(a / b - 1) for a, b in zip(found[:2], best[:2], strict=True))
    return Result(
        name,
        seed,
        kind,
        equation,
        right,
        off,
        found,
        float(model.coefficient.detach()) if model.coefficient is not None else None,
        family.constant(best),
        family.constant(found) if right else None,
        _errors(problem, points, equation, model),
        _errors(problem, later, equation, model),
        seconds,
        _trained(compiled, problem, seed) if train and kind == "PINN" else None,
    )


def right_form(family: Family, points: Array, equation: Equation) -> tuple[bool, tuple[float, ...]]:
    """Whether the family gives the equation again, and with which constants."""
    found, residual = fit(family, points, equation.predict(points), len(family.truth))
    return residual < SAME, found


def _trained(compiled: Compiled, problem: Problem, seed: int) -> Trained:
    start = time.perf_counter()
    equation, learned, _ = train_and_choose(compiled, around_choice(compiled), problem, seed)
    seconds = time.perf_counter() - start
    points, later = grid(problem), points_beyond(problem)
    family = FAMILIES[problem.name]
    right, found = right_form(family, points, equation)
    inside, outside = (mse(equation.predict(p), problem.truth_at(p)) for p in (points, later))
    implied = family.constant(found) if right else None
    return Trained(equation, right, found, implied, learned, (inside, outside), seconds)


def outputs(model: Pinn, points: Array) -> Array:
    """What the network gives [n] at points [n, n_inputs]."""
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(points).float())[:, 0].double().numpy())


def points_beyond(problem: Problem) -> Array:
    """The grid of the domain with its times moved to BEYOND."""
    low, high = problem.domain["t"]
    later = tuple(low + share * (high - low) for share in BEYOND)
    return grid(replace(problem, domain={**problem.domain, "t": later}))


def _errors(
    problem: Problem, points: Array, equation: Equation, model: Pinn
) -> tuple[float, float]:
    truth = problem.truth_at(points)
    return mse(equation.predict(points), truth), mse(outputs(model, points), truth)


def mse(values: Array, truth: Array) -> float:
    return float(np.mean((values - truth) ** 2))
