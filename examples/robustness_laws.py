"""Five laws to be found again from samples, and the rule that says whether they were.

Three are what physics-informed networks have learned (seed 290402), two are forces as the message
of a graph network carries them: a fixed combination 0.8 fx - 0.6 fy of both components.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy
import torch
from force_laws import FEATURES, SOFTENING
from force_laws import LAWS as FORCES
from pinns_judge import outputs, right_form
from pinns_laws import FAMILIES, SAME, Array
from scipy.optimize import least_squares

from symcompile import Equation
from symcompile.pinns import PROBLEMS, Pinn, grid, train_pinn

NETWORKS = tuple(FAMILIES)
# The message, and how far its two factors may be off.
MESSAGE, FACTORS_OFF = (0.8, -0.6), 0.05
# Terms below this share of the output's standard deviation don't count.
SMALL = 0.01


@dataclass(frozen=True)
class Law:
    """What is searched for.

    Attributes:
        names: the inputs.
        draw: n samples [n, n_inputs] from a generator.
        values: the outputs [n] at samples.
        operators: by level: those of the recipe, and only those that the law needs.
        loss: what the compiler is told to fit by.
        found: whether an equation is this law.
    """

    names: tuple[str, ...]
    draw: Callable[[np.random.Generator, int], Array]
    values: Callable[[Array], Array]
    operators: dict[str, tuple[str, ...]]
    loss: str
    found: Callable[[Equation], bool]


def law(name: str) -> Law:
    """One of "heat", "wave", "oscillator", "r^-2", "spring"."""
    return _network(name) if name in NETWORKS else _force(name)


_NEEDED = {
    "heat": ("+", "*", "sin", "exp"),
    "wave": ("+", "*", "sin", "cos"),
    "oscillator": ("+", "*", "cos", "exp"),
}


def _network(name: str) -> Law:
    problem, family = PROBLEMS[name], FAMILIES[name]
    low, high = np.array(list(problem.domain.values())).T
    return Law(
        problem.inputs,
        lambda rng, n: rng.uniform(low, high, (n, len(low))),
        lambda X: outputs(trained(name), X),
        {"recipe": family.operators, "needed": _NEEDED[name]},
        "squared",
        lambda equation: right_form(family, grid(problem, 50), equation)[0],
    )


@cache
def trained(name: str) -> Pinn:
    """The network of the recipe's own seed; trained once in a process."""
    torch.set_num_threads(1)
    return train_pinn(PROBLEMS[name])


def _force(name: str) -> Law:
    return Law(
        FEATURES,
        pairs,
        lambda X: np.asarray(np.stack(FORCES[name].force(*X.T)).T @ MESSAGE),
        {"recipe": ("+", "*", "inv", "exp", "log"), "needed": ("+", "*", "inv")},
        "auto",
        lambda equation: is_message(equation, name),
    )


def pairs(rng: np.random.Generator, n: int) -> Array:
    """Pairs of particles as the simulator starts them: FEATURES [n, 7]."""
    delta = rng.normal(size=(n, 2)) - rng.normal(size=(n, 2))
    masses, charges = np.exp(rng.normal(size=(n, 2))), rng.normal(size=(n, 2))
    return np.column_stack([delta, np.hypot(*delta.T) + SOFTENING, masses, charges])


# The radial part from r, m1, m2, and from constants that are 0 for the textbook form: distances may
# be softened, up to twice as much as in the simulator, and a spring's length of 1 may be off.
_RADIAL: dict[str, Callable[..., Array]] = {
    "r^-2": lambda r, m1, m2, s, t: -m1 * m2 / ((r - s) ** 2 * (r - t)),
    "spring": lambda r, m1, m2, s, t: -2.0 * (r - 1.0 - s) / (r - t),
}
_LIMITS = {"r^-2": (2 * SOFTENING, 2 * SOFTENING), "spring": (FACTORS_OFF, 2 * SOFTENING)}


def is_message(equation: Equation, name: str) -> bool:
    """Whether an equation, without its smallest terms, is a dx radial + b dy radial to six digits,
    each component with constants of its own, and a and b within 5 %."""
    X = pairs(np.random.default_rng(0), 2000)
    # Where particles nearly touch, the softening is all that is left.
    X = X[X[:, 2] > 0.2]
    dx, dy, r, m1, m2, *_ = X.T
    values = without_small_terms(equation, X)
    if not np.isfinite(values).all() or not values.any():
        return False
    size = 1.0 / np.sqrt(np.median(values**2) + values**2)

    def residuals(constants: Array) -> Array:
        a, b, s_x, s_y, t = constants
        radial = _RADIAL[name]
        along_x, along_y = (radial(r, m1, m2, s, t) for s in (s_x, s_y))
        return size * (a * dx * along_x + b * dy * along_y - values)

    start = [*MESSAGE, 0.0, 0.0, 0.0]
    found = least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    if np.linalg.norm(residuals(found)) > SAME * np.linalg.norm(size * values):
        return False
    off = np.abs(found[:2] / MESSAGE - 1.0).max()
    inner, outer = _LIMITS[name]
    return bool(off <= FACTORS_OFF and np.abs(found[2:4]).max() <= inner and abs(found[4]) <= outer)


def without_small_terms(equation: Equation, X: Array) -> Array:
    """Values [n] at X [n, n_inputs] of the expanded equation, less every term whose root mean
    square is below 1 % of the standard deviation of the whole."""
    terms = sympy.Add.make_args(sympy.expand(equation.sympy))
    parts = sympy.lambdify(sympy.symbols(equation.symbols), terms)(*X.T)
    parts = [np.broadcast_to(np.asarray(part, dtype=float), len(X)) for part in parts]
    least = SMALL * np.sum(parts, axis=0).std()
    kept = [part for part in parts if np.sqrt(np.mean(part**2)) >= least]
    return np.asarray(np.sum(kept, axis=0)) if kept else np.zeros(len(X))
