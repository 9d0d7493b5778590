"""The four force laws of the graph-network experiments, as numbers and as expressions.

Particles i (which receives) and j (which sends) lie in a plane, delta = x_i - x_j = (dx, dy) apart.
Their distance enters softened, d = |delta| + 0.01. The force on i is the exact gradient of the pair
potential, F = -U'(d) delta / |delta|, as in Tan, Soubki and Cranmer, arXiv 2602.21307.

A search sees d as its feature r, so the textbook form has r below delta too. It differs from the
gradient by the factor 1 - 0.01 / d, 0.6 % for the median pair of the simulator's first step. What
differs more are the few pairs that nearly touch, and forces of 1/d and 1/d^2 owe most of their
variance to these: over 5000 pairs the two forms differ by 1 % of the standard deviation for
springs, but by 10 to 20 % for 1/d and by 20 to 50 % for 1/d^2. So compare structures, not values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy

# Added to every distance, so that no force is infinite.
SOFTENING = 0.01
# What a search over edges sees; r is d.
FEATURES = ("dx", "dy", "r", "m1", "m2", "q1", "q2")


@dataclass(frozen=True)
class Law:
    """A pair potential and its force.

    Attributes:
        name: what tables call it.
        potential: U(d) as text.
        slope: U'(d), from d, m1, m2, q1 and q2.
    """

    name: str
    potential: str
    slope: Callable[[Any, Any, Any, Any, Any], Any]

    def force(
        self, dx: Any, dy: Any, d: Any, m1: Any, m2: Any, q1: Any, q2: Any
    ) -> tuple[Any, Any]:
        """The force on the receiver: both components, of the type of the arguments.

        The arguments are floats, NumPy arrays, torch tensors or sympy expressions of one shape, and
        d is |delta| + SOFTENING. Of particles in the same place, 0 / 0: they push nowhere certain.
        """
        along = -self.slope(d, m1, m2, q1, q2) / (d - SOFTENING)
        return along * dx, along * dy

    def expressions(self) -> tuple[sympy.Expr, sympy.Expr]:
        """The textbook form in the symbols of FEATURES: -U'(r) dx / r and -U'(r) dy / r."""
        dx, dy, r, m1, m2, q1, q2 = sympy.symbols(FEATURES)
        along = -self.slope(r, m1, m2, q1, q2) / r
        return along * dx, along * dy


LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Law("r^-1", "m1 m2 ln d", lambda d, m1, m2, q1, q2: m1 * m2 / d),
        Law("r^-2", "-m1 m2 / d", lambda d, m1, m2, q1, q2: m1 * m2 / d**2),
        Law("spring", "(d - 1)^2", lambda d, m1, m2, q1, q2: 2 * (d - 1)),
        Law("charge", "q1 q2 / d", lambda d, m1, m2, q1, q2: -q1 * q2 / d**2),
    )
}
