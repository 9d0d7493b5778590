"""Solutions: laws of a problem in few variables, found in a table of small forms.

`h(y) = a*f + b*g + c` for h in y, 1/y, log y, ... and forms f, g of the table: small tables first,
larger ones only while none is exact.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.pairs import best_sums, best_thirds
from symcompile.regression.computed.table import Table
from symcompile.regression.computed.transforms import Transform, applicable
from symcompile.regression.least_squares import linear
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.surrogate import error

# Forms of a table; rows on which they are compared; sums of one size and transform that are kept.
SMALL, LARGE, ROWS, KEPT = (400, 3000), (12000,), 96, 3
# Forms of a table for sums of three.
THREE = SMALL[:1]
# Of each two sizes of forms so many sums are looked at; to be two of three terms a pair need not be
# among the best.
_LOOKED_AT, _BESIDE_A_THIRD = 12, 200
# Numbers that stand beside the variables, the second in larger tables only.
_NUMBERS = (sympy.S.One, sympy.Integer(2))
# The largest power of a factor, in halves.
_HALVES = 8
# What is left of the spread where a law is exact: linear systems are solved to about this.
EXACT = 1e-9


@dataclass(frozen=True)
class Solution:
    """A law of the core.

    Attributes:
        error: root mean square, in units of the output, as a share of the core's spread.
        size: nodes of its forms, constants and functions.
        build: makes its expression, in the inputs: only for the few that are of use.
        loses_sign: whether it is a root of a square that may change its sign elsewhere.
    """

    error: float
    size: int
    build: Callable[[], sympy.Expr]
    loses_sign: bool = False


class Sized(Protocol):
    """What is judged by its error and its size."""

    @property
    def error(self) -> float: ...
    @property
    def size(self) -> int: ...


_Sized = TypeVar("_Sized", bound=Sized)


def solutions(
    problem: Problem,
    operators: OperatorSet,
    sizes: Iterable[int] = SMALL,
    deadline: float = math.inf,
    terms: int = 2,
) -> list[Solution]:
    """Laws of a core with variables, the best few of each size, from tables of so many forms; ends
    with the table that has an exact one. Sums and products have up to two `terms`, or three."""
    found: list[Solution] = []
    for size in sizes:
        if time.monotonic() >= deadline:
            break
        found += _Search(problem, operators, size, terms).found(deadline)
        # A square has lost the sign that the core may have elsewhere. What errs no more than noise
        # may be a shorter sum of a larger table.
        errors = (s.error for s in found if not s.loses_sign)
        if min(errors, default=math.inf) <= EXACT:
            break
    return best_of_each_size(found, min(len(problem.core), ROWS))


def best_of_each_size(found: list[_Sized], rows: int) -> list[_Sized]:
    """The few best of each size, of those that no smaller one is better than beyond chance: the log
    of an error is known from n rows to within sqrt(1 / (2 * n))."""
    chance, few = math.exp(2.0 * math.sqrt(1.0 / rows)), KEPT
    kept, count, low = [], Counter[int](), math.inf
    for solution in sorted(found, key=lambda s: (s.size, s.error)):
        if count[solution.size] < few and solution.error < chance * max(low, EXACT):
            count[solution.size] += 1
            kept.append(solution)
        low = min(low, solution.error)
    return kept


class _Search:
    """One table, all transforms."""

    def __init__(self, problem: Problem, operators: OperatorSet, size: int, terms: int) -> None:
        self.problem, self.operators, self.terms = problem, operators, terms
        self.columns = np.array([variable.values for variable in problem.variables])
        self.rows = np.random.default_rng(0).permutation(len(problem.core))[:ROWS]
        exprs = [variable.expr for variable in problem.variables]
        with np.errstate(all="ignore"):
            numbers = _NUMBERS if size > SMALL[0] else _NUMBERS[:1]
            self.table = Table(self.columns[:, self.rows], exprs, operators, size, numbers)
        self.known: dict[int, Array] = {}
        self.spread = problem.spread

    @np.errstate(all="ignore")
    def found(self, deadline: float) -> list[Solution]:
        found = list[Solution | None]()
        for transform, sign, h, slope in applicable(self.problem.core, self.operators):
            if time.monotonic() >= deadline:
                break
            weight = slope * self.problem.weight
            for of_size in self.sums(self.table.values, h, weight, deadline):
                for places in islice(of_size, KEPT):
                    for constant in (False, True):
                        found.append(self.sum(transform, sign, places, h, weight, constant))
        if time.monotonic() < deadline:
            found += self.products(deadline)
        return [s for s in found if s is not None and math.isfinite(s.error)]

    def sums(
        self, values: Array, h: Array, weight: Array, deadline: float
    ) -> Iterator[Iterator[tuple[int, ...]]]:
        """For each size, places of the best sums of forms, the best first."""
        rows, sizes = self.rows, self.table.sizes
        target, weight = h[rows], weight[rows]
        keep = _BESIDE_A_THIRD if self.terms > 2 else _LOOKED_AT
        found = best_sums(values, sizes, target, weight, keep, deadline)
        if self.terms > 2:
            pairs = [sum_ for of_size in found.values() for sum_ in of_size if len(sum_.places) > 1]
            found = best_thirds(values, sizes, target, weight, pairs, _LOOKED_AT)
        for of_size in found.values():
            yield (sum_.places for sum_ in of_size)

    def sum(
        self,
        transform: Transform,
        sign: float,
        places: tuple[int, ...],
        h: Array,
        weight: Array,
        constant: bool,
    ) -> Solution | None:
        """The inverse of a sum of forms, with or without a constant."""
        columns = [self.table.on(place, self.columns, self.known) for place in places]
        basis = np.column_stack([*columns, *([np.ones(len(h))] * constant)])
        coefficients = linear(basis, h, weight * weight, equilibrate=True)
        # What is nothing beside rounding is a shorter sum, which is tried as well.
        parts = np.sqrt(np.mean(np.square(basis * coefficients * weight[:, None]), axis=0))
        if float(parts.min()) <= EXACT * self.spread:
            return None
        errors = sign * transform.inverse(basis @ coefficients) - self.problem.core
        size = self.size(places) + constant + (transform.name != "y")

        def build() -> sympy.Expr:
            exprs = [*map(self.table.expr, places), sympy.S.One]
            terms = zip(coefficients.tolist(), exprs, strict=False)
            return sign * transform.build(sympy.Add(*(sympy.Float(c) * e for c, e in terms)))

        return Solution(self.share(errors), size, build, transform.loses_sign)

    def size(self, places: tuple[int, ...]) -> int:
        return sum(int(self.table.sizes[p]) for p in places) + len(places)

    def share(self, errors: Array) -> float:
        return error(self.problem.weight * errors) / self.spread

    def products(self, deadline: float) -> Iterator[Solution | None]:
        """Of two forms, each with a power of small halves: sums of their logarithms."""
        core, values = self.problem.core, np.abs(self.table.values)
        if "*" not in self.operators or not (core != 0).all():
            return
        logs = np.log(np.where((values > 0).all(axis=1, keepdims=True), values, np.nan))
        weight = np.abs(core) * self.problem.weight
        for of_size in self.sums(logs, np.log(np.abs(core)), weight, deadline):
            spelled = (product for places in of_size if (product := self.product(places, weight)))
            yield from islice(spelled, KEPT)

    def product(self, places: tuple[int, ...], weight: Array) -> Solution | None:
        """None where the powers are none that can be spelled."""
        core = self.problem.core
        columns = [self.table.on(place, self.columns, self.known) for place in places]
        basis = np.column_stack([*(np.log(np.abs(c)) for c in columns), np.ones(len(core))])
        fitted = linear(basis, np.log(np.abs(core)), weight * weight)
        halves = [round(2.0 * float(power)) for power in fitted[:-1]]
        if not all(halves) or max(map(abs, halves)) > _HALVES or not self.roots(places, halves):
            return None
        # A form and its negative are one in the table; of a root only one of them has values.
        signs = [
            -1 if half % 2 and (c < 0).all() else 1 for c, half in zip(columns, halves, strict=True)
        ]
        powers = [(s * c) ** (h / 2.0) for s, c, h in zip(signs, columns, halves, strict=True)]
        value: Array = np.prod(powers, axis=0)
        if not np.isfinite(value).all():
            return None
        factor = float(linear(value[:, None], core, self.problem.weight**2)[0])

        def build() -> sympy.Expr:
            factors = (
                (sign * self.table.expr(place)) ** sympy.Rational(half, 2)
                for sign, place, half in zip(signs, places, halves, strict=True)
            )
            return sympy.Float(factor) * sympy.Mul(*factors)

        size = self.size(places) + sum(half != 2 for half in halves)
        return Solution(self.share(factor * value - core), size, build)

    def roots(self, places: tuple[int, ...], halves: list[int]) -> bool:
        """Whether the roots among these powers can be spelled, and none is that of a square."""
        odd = [self.table.forms[p].name for p, half in zip(places, halves, strict=True) if half % 2]
        allowed = "sqrt" in self.operators or "pow" in self.operators
        return not odd or (allowed and "square" not in odd)
