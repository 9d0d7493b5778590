"""When does an equation count as the law? Decided by script, from values alone.

An equation is *exact* if it agrees with the law on the wider ranges of `laws_data.py`, to 1e-3 in
relative L2. It has the law's *structure* if it does so after its constants were fitted again, to
exact samples from inside of the ranges: what noise or a network has done to constants is forgiven,
and a term too many is only if the fit does away with it. It is *nearer* if it is no further from
the law, inside, than the network that it was searched in.

A finding ("v and c matter only through v/c") is right if the law has it: where inputs are moved so
that it says what becomes of the output, the law is off by no more than 1e-6 of its spread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from laws_data import Array, Law

from symcompile import Equation
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import fit_constants
from symcompile.regression.structure.moves import asked
from symcompile.regression.structure.statement import Statement

# Relative L2 error up to which two agree.
SAME = 1e-3
# Share of the spread up to which a law has what is found of it.
HAS = 1e-6
# Equations may be undefined at one of so many points: at the rim, by rounding or overflow.
UNDEFINED = 1 / 200
POINTS, FITTED = 2000, 500
# The constants are fitted from where they are, and from so much besides; seconds for each fit.
STARTS, FIT_SECONDS = (0.0, 0.01, 0.1, 0.5), 3.0


@dataclass(frozen=True)
class Verdict:
    """How far an equation is from the law: relative L2 errors, infinite where it is not defined.

    Attributes:
        inside: inside of the ranges.
        wide: on the wider ranges.
        refitted: there too, with its constants fitted to the law; not above `wide`.
        network: of the network that it was searched in, inside; None without one.
    """

    inside: float = math.inf
    wide: float = math.inf
    refitted: float = math.inf
    network: float | None = None

    @property
    def exact(self) -> bool:
        return self.wide < SAME

    @property
    def structure(self) -> bool:
        return self.refitted < SAME

    @property
    def nearer(self) -> bool:
        return self.network is not None and self.inside <= self.network

    def hit(self, mode: str) -> bool:
        """What counts where samples are exact, where they are noisy, and through a network."""
        return self.exact if mode == "direct" else self.structure or self.nearer


class Judge:
    """Compares equations with one law, at points that no search has seen."""

    def __init__(self, law: Law, network: float | None = None) -> None:
        """`network` is the error of the network that was searched in."""
        self.law, self.network = law, network
        rng = law.generator(0, "judge")
        self.inside, self.wide = law.draw(rng, POINTS), law.draw_wide(rng, POINTS)
        self.truth_inside, self.truth_wide = law.values(self.inside), law.values(self.wide)
        self._fitted = Dataset(self.inside[:FITTED], self.truth_inside[:FITTED])

    def verdict(self, equation: Equation) -> Verdict:
        inside = error(equation, self.inside, self.truth_inside)
        wide = refitted = error(equation, self.wide, self.truth_wide)
        if not wide < SAME:
            refitted = min(wide, self._refitted(equation))
        return Verdict(inside, wide, refitted, self.network)

    def falsehoods(self, found: Iterable[Statement]) -> tuple[tuple[str, float], ...]:
        """What is claimed, and by how much the law breaks it; infinite where that can't be told."""
        rows = []
        for statement in found:
            errors = [math.inf]
            if statement.claim is not None:
                spread = {0: float(self.truth_inside.std())}
                values = lambda X: self.law.values(X)[:, None]  # noqa: E731
                results = asked([(statement.claim, 0)], self.inside, values, spread)
                errors = [result[1] for result in results if result is not None] or errors
            rows.append((statement.text, errors[0]))
        return tuple(rows)

    def on_front(self, front: Iterable[Equation], mode: str) -> bool:
        """Whether any of them would have been a hit; those with the lowest loss are asked first."""
        ranked = sorted(front, key=lambda equation: equation.loss)
        return any(self.verdict(equation).hit(mode) for equation in ranked)

    def _refitted(self, equation: Equation) -> float:
        """The lowest error on the wider ranges, from several starts."""
        rng = np.random.default_rng(0)
        lowest = math.inf
        for spread in STARTS if equation.constants else ():
            factors = 1.0 + spread * rng.normal(size=len(equation.constants))
            start = equation.with_constants(np.multiply(equation.constants, factors))
            deadline = time.monotonic() + FIT_SECONDS
            fit = fit_constants(start, self._fitted, 300, 1e-12, deadline)
            found = equation.with_constants(fit.constants)
            lowest = min(lowest, error(found, self.wide, self.truth_wide))
            if lowest < SAME:
                break
        return lowest


def error(equation: Equation, X: Array, truth: Array) -> float:
    """Relative L2 error at X [n, n_inputs]; infinite where the equation is often not defined."""
    with np.errstate(all="ignore"):
        return relative_l2(equation.predict(X), truth)


def relative_l2(values: Array, truth: Array) -> float:
    """|values - truth| over |truth|, both [n]; infinite if too many values are not finite."""
    finite = np.isfinite(values)
    if np.mean(~finite) > UNDEFINED:
        return math.inf
    with np.errstate(all="ignore"):
        distance = np.linalg.norm((values - truth)[finite]) / np.linalg.norm(truth[finite])
    return float(distance) if math.isfinite(distance) else math.inf
