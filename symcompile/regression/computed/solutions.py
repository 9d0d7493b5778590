"""Solutions: laws of a problem in few variables, found in a table of small forms.

`h(y) = a*f + b*g + c` for h in y, 1/y, log y, ... and forms f, g of the table: small tables first,
larger ones only while more is to be gained.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.pairs import best_sums
from symcompile.regression.computed.table import Table
from symcompile.regression.computed.transforms import Transform, applicable
from symcompile.regression.least_squares import linear
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.surrogate import error

# Forms of a table; rows on which they are compared; sums of one size and transform that are kept.
SIZES, ROWS, KEPT = (400, 3000), 96, 3
# Of each block of a table so many sums are looked at.
_LOOKED_AT = 40
# What is left of the spread where a law is exact: linear systems are solved to about this.
EXACT = 1e-9


@dataclass(frozen=True)
class Solution:
    """A law of the core.

    Attributes:
        error: root mean square, in units of the output, as a share of the core's spread.
        size: nodes of its forms, constants and functions.
    """

    table: Table
    transform: Transform
    sign: float
    places: tuple[int, ...]
    coefficients: tuple[float, ...]
    error: float
    size: int

    @property
    def expr(self) -> sympy.Expr:
        """Of the core, in the inputs."""
        exprs = [*map(self.table.expr, self.places), sympy.S.One]
        terms = zip(self.coefficients, exprs, strict=False)
        total = sympy.Add(*(sympy.Float(value) * expr for value, expr in terms))
        return self.sign * self.transform.build(total)


def solutions(
    problem: Problem, operators: OperatorSet, floor: float, deadline: float = math.inf
) -> list[Solution]:
    """Laws of a core with variables, the best few of each size; ends with the table that has one
    which errs no more than `floor`, a share of the spread: there is nothing more to be gained."""
    found: list[Solution] = []
    for size in SIZES:
        if time.monotonic() >= deadline:
            break
        found += _Search(problem, operators, size).found(deadline)
        if min((s.error for s in found), default=math.inf) <= max(floor, EXACT):
            break
    return best_of_each_size(found)


def best_of_each_size(found: list[Solution]) -> list[Solution]:
    """The few best of each size, of those that no smaller one is far better than."""
    kept, count, low = [], Counter[int](), math.inf
    for solution in sorted(found, key=lambda s: (s.size, s.error)):
        if count[solution.size] < KEPT and solution.error < 1.2 * low:
            count[solution.size] += 1
            kept.append(solution)
        low = min(low, solution.error)
    return kept


class _Search:
    """One table, all transforms."""

    def __init__(self, problem: Problem, operators: OperatorSet, size: int) -> None:
        self.problem, self.operators = problem, operators
        self.columns = np.array([variable.values for variable in problem.variables])
        self.rows = np.random.default_rng(0).permutation(len(problem.core))[:ROWS]
        exprs = [variable.expr for variable in problem.variables]
        with np.errstate(all="ignore"):
            self.table = Table(self.columns[:, self.rows], exprs, operators, size)
        self.known: dict[int, Array] = {}
        self.spread = problem.spread

    @np.errstate(all="ignore")
    def found(self, deadline: float) -> list[Solution]:
        found = []
        for transform, sign, h, slope in applicable(self.problem.core, self.operators):
            if time.monotonic() >= deadline:
                break
            weight = slope * self.problem.weight
            for places in self.sums(h, weight):
                for constant in (False, True):
                    solution = self.fitted(transform, sign, places, h, weight, constant)
                    if math.isfinite(solution.error):
                        found.append(solution)
        return found

    def sums(self, h: Array, weight: Array) -> Iterator[tuple[int, ...]]:
        """Places of the best few sums of each size."""
        rows, sizes, count = self.rows, self.table.sizes, Counter[int]()
        for sum_ in best_sums(self.table.values, h[rows], weight[rows], _LOOKED_AT):
            size = int(sum(sizes[p] for p in sum_.places)) + len(sum_.places)
            count[size] += 1
            if count[size] <= KEPT:
                yield sum_.places

    def fitted(
        self,
        transform: Transform,
        sign: float,
        places: tuple[int, ...],
        h: Array,
        weight: Array,
        constant: bool,
    ) -> Solution:
        columns = [self.table.on(place, self.columns, self.known) for place in places]
        basis = np.column_stack([*columns, *([np.ones(len(h))] * constant)])
        coefficients = linear(basis, h, weight * weight, equilibrate=True)
        value = sign * transform.inverse(basis @ coefficients)
        errors = self.problem.weight * (value - self.problem.core)
        size = sum(int(self.table.sizes[p]) for p in places) + len(places) + constant
        return Solution(
            self.table,
            transform,
            sign,
            places,
            tuple(coefficients.tolist()),
            error(errors) / self.spread,
            size + (transform.name != "y"),
        )
