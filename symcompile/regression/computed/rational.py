"""Rational functions: `y = p/q` for sparse polynomials p and q, without a search.

`p - y*q = 0` is linear in the coefficients, and the smallest singular vector solves it. Divided by
the denominator found last, errors of that are errors of y (Sanathanan and Koerner 1963). Terms are
then taken away one by one, each time the one without which the least is lost, and every sum on the
way is a candidate: which of them is the law, their description decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.surrogate import error

# Degrees of numerator and denominator, in turn, as long as there are no more terms than this.
DEGREES, MOST_TERMS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3)), 80
_ROUNDS, _TRIED = 4, 8
# Sums of more terms than this are longer than an equation should be.
_LONGEST = 12


@dataclass(frozen=True)
class Quotient:
    """Coefficients of the monomials above and below, and the error as a share of the spread."""

    above: tuple[tuple[sympy.Expr, float], ...]
    below: tuple[tuple[sympy.Expr, float], ...]
    error: float

    @property
    def size(self) -> int:
        return len(self.above) + len(self.below)

    def build(self) -> sympy.Expr:
        above, below = (
            sympy.Add(*(sympy.Float(value) * term for term, value in part))
            for part in (self.above, self.below)
        )
        return above / below


def quotients(
    problem: Problem,
    exact: float,
    of_degrees: Sequence[tuple[int, int]] = DEGREES,
    deadline: float = math.inf,
) -> Iterator[Quotient]:
    """Quotients of all sizes up to the longest, of rising degree; ends after one that is exact."""
    n = len(problem.variables)
    for degrees in of_degrees:
        count = sum(math.comb(n + degree, n) for degree in degrees)
        if count > MOST_TERMS or time.monotonic() >= deadline:
            return
        low = math.inf
        with suppress(np.linalg.LinAlgError):  # numbers beyond those of float64
            for quotient in _Fit(problem, degrees).eliminated(deadline):
                low = min(low, quotient.error)
                yield quotient
        if low <= exact:
            return


class _Fit:
    """One pair of degrees."""

    def __init__(self, problem: Problem, degrees: tuple[int, int]) -> None:
        self.problem, self.spread = problem, problem.spread
        X = np.array([v.values for v in problem.variables])
        X = X / np.abs(X).max(axis=1, keepdims=True)
        scale = [float(np.abs(v.values).max()) for v in problem.variables]
        self.terms: list[tuple[sympy.Expr, float]] = []
        columns, self.above = [], 0
        for degree in degrees:
            for powers in _monomials(len(X), degree):
                columns.append(np.prod(X[list(powers)], axis=0) if powers else np.ones(X.shape[1]))
                expr = sympy.Mul(*(problem.variables[k].expr for k in powers))
                self.terms.append((expr, math.prod(scale[k] for k in powers)))
            self.above = self.above or len(columns)
        self.columns = np.array(columns).T
        y = problem.core[:, None]
        self.size = float(np.abs(problem.core).max())
        self.system = np.hstack(
            [self.columns[:, : self.above] * self.size, -y * self.columns[:, self.above :]]
        )

    def eliminated(self, deadline: float = math.inf) -> Iterator[Quotient]:
        """From all terms to two, or as far as that comes by the deadline."""
        active = list(range(len(self.terms)))
        weight = self.problem.weight
        coefficients = self.solved(active, weight)
        for _ in range(_ROUNDS):
            weight = self.weights(active, coefficients)
            coefficients = self.solved(active, weight)
        while active and time.monotonic() < deadline:
            if len(active) <= _LONGEST:
                weight = self.weights(active, coefficients)
                coefficients = self.solved(active, weight)
                quotient = self.quotient(active, coefficients)
                if quotient is not None:
                    yield quotient
            active = self.shorter(active, weight, coefficients)
            if active:
                coefficients = self.solved(active, weight)

    def weights(self, active: list[int], coefficients: Array) -> Array:
        """Of a size that stays: coefficients have that of one over the last weights, and where
        variables depend on each other what is below may be rounding beside them, time and again."""
        below = np.abs(self.below(active, coefficients))
        most = float(below.max())
        if not most > 0:
            return self.problem.weight
        return np.asarray(self.problem.weight / np.maximum(below / most, 1e-6))

    def below(self, active: list[int], coefficients: Array) -> Array:
        places = [k for k, term in enumerate(active) if term >= self.above]
        return np.asarray(self.columns[:, [active[k] for k in places]] @ coefficients[places])

    def solved(self, active: list[int], weight: Array) -> Array:
        """Coefficients [n_active]: the right singular vector of the smallest singular value."""
        A = self.system[:, active] * weight[:, None]
        norms = np.maximum(np.linalg.norm(A, axis=0), 1e-300)
        R = np.linalg.qr(A / norms, mode="r")
        return np.asarray(np.linalg.svd(R)[2][-1] / norms)

    def shorter(self, active: list[int], weight: Array, coefficients: Array) -> list[int]:
        """Without the term that is missed least, of those that weigh least; empty where no term is
        left to be taken without leaving nothing above or below."""
        A = self.system[:, active] * weight[:, None]
        norms = np.maximum(np.linalg.norm(A, axis=0), 1e-300)
        gram = (A / norms).T @ (A / norms)
        best, low = [], math.inf
        for k in np.argsort(np.abs(coefficients) * norms)[:_TRIED].tolist():
            rest = [j for j in range(len(active)) if j != k]
            sides = {active[j] >= self.above for j in rest}
            if len(sides) < 2:
                continue
            left = float(np.linalg.eigvalsh(gram[np.ix_(rest, rest)])[0])
            if left < low:
                best, low = [active[j] for j in rest], left
        return best

    def quotient(self, active: list[int], coefficients: Array) -> Quotient | None:
        below = self.below(active, coefficients)
        places = [k for k, term in enumerate(active) if term < self.above]
        above = self.columns[:, [active[k] for k in places]] @ coefficients[places] * self.size
        if not (below > 0).all() and not (below < 0).all():
            return None
        errors = self.problem.weight * (above / below - self.problem.core)
        parts: list[list[tuple[sympy.Expr, float]]] = [[], []]
        first = max(abs(c) for c, t in zip(coefficients, active, strict=True) if t >= self.above)
        for value, term in zip((coefficients / first).tolist(), active, strict=True):
            expr, scale = self.terms[term]
            factor = self.size if term < self.above else 1.0
            parts[term >= self.above].append((expr, value * factor / scale))
        share = error(errors) / self.spread
        return Quotient(tuple(parts[0]), tuple(parts[1]), share) if math.isfinite(share) else None


def _monomials(n: int, degree: int) -> Iterator[tuple[int, ...]]:
    for total in range(degree + 1):
        yield from combinations_with_replacement(range(n), total)
