"""Three physics-informed networks whose closed-form solution is known: heat, wave, oscillator.

A physics-informed network (PINN) sees a handful of data points and the differential equation; where
it succeeds, symbolic regression can read the solution off it. Imports nothing of the compiler.
"""

from symcompile.pinns.problems import (
    PROBLEMS,
    Coefficient,
    Condition,
    Problem,
    grid,
    observations,
)
from symcompile.pinns.training import Pinn, derivatives, grid_error, train_pinn

__all__ = [
    "PROBLEMS",
    "Coefficient",
    "Condition",
    "Pinn",
    "Problem",
    "derivatives",
    "grid",
    "grid_error",
    "observations",
    "train_pinn",
]
