"""Solutions: laws of a problem in few variables, found in a table of small forms.

`h(y) = a*f + b*g + c` for h in y, 1/y, log y, ... and forms f, g of the table: small tables first,
larger ones only while none is exact.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from typing import Protocol, TypeVar

import numpy as np
import sympy

from symcompile.expressions.dimensions import FREE, Vector
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.computed.pairs import best_sums, best_thirds
from symcompile.regression.computed.table import Table
from symcompile.regression.computed.transforms import Transform, applicable
from symcompile.regression.least_squares import linear
from symcompile.regression.structure.problem import Problem
from symcompile.regression.structure.surrogate import error
from symcompile.regression.threads import in_threads

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
# Logarithm of a size that is left as it is.
_ORDINARY = 7.0


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
    threads: int = 1,
) -> list[Solution]:
    """Laws of a core with variables, the best few of each size, from tables of so many forms; ends
    with the table that has an exact one. Sums and products have up to two `terms`, or three; so
    many `threads` look for them, which find the same."""
    found: list[Solution] = []
    for size in sizes:
        if time.monotonic() >= deadline:
            break
        found += _Search(problem, operators, size, terms).found(deadline, threads)
        # A square has lost the sign that the core may have elsewhere. What errs no more than noise
        # may be a shorter sum of a larger table.
        errors = (s.error for s in found if not s.loses_sign)
        if min(errors, default=math.inf) <= EXACT:
            break
    return best_of_each_size(found, min(len(problem.core), ROWS))


def best_of_each_size(found: list[_Sized], rows: int) -> list[_Sized]:
    """The few best of each size, of those that no smaller one is better than beyond chance: the log
    of an error is known from n rows to within sqrt(1 / (2 * n))."""
    chance = math.exp(2.0 * math.sqrt(1.0 / rows))
    kept, count, low = [], Counter[int](), math.inf
    for solution in sorted(found, key=lambda s: (s.size, s.error)):
        if count[solution.size] < KEPT and solution.error < chance * max(low, EXACT):
            count[solution.size] += 1
            kept.append(solution)
        low = min(low, solution.error)
    return kept


class _Search:
    """One table, all transforms.

    What has units is measured in such that inputs come to about one, whatever they are in the SI: a
    form is changed by a factor, and that of its dimension alone. A core of no ordinary size is
    measured by a power of two.
    """

    def __init__(self, problem: Problem, operators: OperatorSet, size: int, terms: int) -> None:
        self.scale = _power_of_two(problem.core)
        weight = problem.weight * self.scale
        self.problem = replace(problem, core=problem.core / self.scale, weight=weight)
        self.operators, self.terms = operators, terms
        of = [variable.dimension or FREE for variable in problem.variables]
        columns = np.array([variable.values for variable in problem.variables])
        self.bases = _bases(columns, of)
        units = np.array([self.unit(vector) for vector in of])
        self.columns = columns / units[:, None]
        self.rows = np.random.default_rng(0).permutation(len(problem.core))[:ROWS]
        exprs = [variable.expr for variable in problem.variables]
        with np.errstate(all="ignore"):
            numbers = _NUMBERS if size > SMALL[0] else _NUMBERS[:1]
            small, rules = self.columns[:, self.rows], problem.dimensions
            self.table = Table(small, exprs, operators, size, numbers, rules, of)
        self.known: dict[int, Array] = {}
        self.spread = problem.spread

    def unit(self, vector: Vector) -> float:
        """What stands for one of a dimension."""
        return math.exp(float(np.dot(vector, self.bases))) if len(self.bases) else 1.0

    @np.errstate(all="ignore")
    def found(self, deadline: float, threads: int) -> list[Solution]:
        transforms = [
            (transform, sign, h, slope * self.problem.weight)
            for transform, sign, h, slope in applicable(self.problem.core, self.operators)
            if self.scale == 1.0 or transform.is_of_any_size
        ]

        def look(which: tuple[Transform, float, Array, Array]) -> list[list[tuple[int, ...]]]:
            transform, _, h, weight = which
            return self.sums(self.fitting(transform), h, weight, deadline)

        looked = zip(transforms, in_threads(look, transforms, threads), strict=True)
        found = [solution for which, sums in looked for solution in self.of_sums(*which, sums)]
        if time.monotonic() < deadline:
            found += self.products(deadline)
        return [s for s in found if s is not None and math.isfinite(s.error)]

    def of_sums(
        self,
        transform: Transform,
        sign: float,
        h: Array,
        weight: Array,
        sums: list[list[tuple[int, ...]]],
    ) -> Iterator[Solution | None]:
        """Of the few best sums of each size, with and without a constant, if that goes together."""
        for places in chain.from_iterable(of_size[:KEPT] for of_size in sums):
            of = [*map(self.table.dimension, places)]
            for constant in (False, True):
                if self.goes_together(transform, of, constant):
                    yield self.sum(transform, sign, places, h, weight, constant)

    def fitting(self, transform: Transform) -> Array:
        """Values of the forms [n_forms, n_rows]; no numbers for those that no sum may hold."""
        table = self.table
        good = np.array([self.goes_together(transform, [of], True) for of in table.vectors])
        good |= [self.goes_together(transform, [of], False) for of in table.vectors]
        if good.all():
            return table.values
        return np.where(good[table.kinds][:, None], table.values, np.nan)

    def goes_together(self, transform: Transform, of: Sequence[Vector], constant: bool) -> bool:
        """Whether an inverse of a sum of multiples of forms of these dimensions may be the core."""
        rules = self.problem.dimensions
        factor = rules.of_constant
        total, *terms = [rules.combine("*", factor, one) for one in of] + [factor] * constant
        for term in terms:
            if total is None or term is None:
                return False
            total = rules.combine("+", total, term)
        if total is not None:
            total = transform.dimension(total, constant, rules)
        return total is not None and rules.fits(total)

    def sums(
        self, values: Array, h: Array, weight: Array, deadline: float
    ) -> list[list[tuple[int, ...]]]:
        """For each size, places of the best sums of forms, the best first; none after the
        deadline."""
        if time.monotonic() >= deadline:
            return []
        rows, sizes = self.rows, self.table.sizes
        target, weight = h[rows], weight[rows]
        keep = _BESIDE_A_THIRD if self.terms > 2 else _LOOKED_AT
        found = best_sums(values, sizes, target, weight, keep, deadline)
        if self.terms > 2:
            pairs = [sum_ for of_size in found.values() for sum_ in of_size if len(sum_.places) > 1]
            found = best_thirds(values, sizes, target, weight, pairs, _LOOKED_AT)
        return [[sum_.places for sum_ in of_size] for of_size in found.values()]

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
            units = [*(self.unit(self.table.dimension(place)) for place in places), 1.0]
            terms = zip((coefficients / units[: len(coefficients)]).tolist(), exprs, strict=False)
            total = sympy.Add(*(sympy.Float(c) * e for c, e in terms))
            return self.in_units(sign * transform.build(total))

        return Solution(self.share(errors), size, build, transform.loses_sign)

    def in_units(self, expr: sympy.Expr) -> sympy.Expr:
        """An expression of the core as it was given."""
        return expr if self.scale == 1.0 else sympy.Float(self.scale) * expr

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
        if not self.is_core(places, halves):
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
            of = [
                (self.table.dimension(place), half / 2)
                for place, half in zip(places, halves, strict=True)
            ]
            factors = (
                (sign * self.table.expr(place)) ** sympy.Rational(half, 2)
                for sign, place, half in zip(signs, places, halves, strict=True)
            )
            unit = math.prod(self.unit(vector) ** power for vector, power in of)
            return self.in_units(sympy.Float(factor / unit) * sympy.Mul(*factors))

        size = self.size(places) + sum(half != 2 for half in halves)
        return Solution(self.share(factor * value - core), size, build)

    def is_core(self, places: tuple[int, ...], halves: list[int]) -> bool:
        """Whether a multiple of this product may be the core, by its units."""
        rules = self.problem.dimensions
        total: Vector | None = rules.of_constant
        for place, half in zip(places, halves, strict=True):
            of = rules.power(self.table.dimension(place), Fraction(half, 2))
            total = None if total is None or of is None else rules.combine("*", total, of)
        return total is not None and rules.fits(total)

    def roots(self, places: tuple[int, ...], halves: list[int]) -> bool:
        """Whether the roots among these powers can be spelled, and none is that of a square."""
        odd = [self.table.forms[p].name for p, half in zip(places, halves, strict=True) if half % 2]
        allowed = "sqrt" in self.operators or "pow" in self.operators
        return not odd or (allowed and "square" not in odd)


def _power_of_two(values: Array) -> float:
    """A size of values that are not of an ordinary one, else 1."""
    size = math.log(max(float(np.median(np.abs(values))), 1e-300))
    return 1.0 if abs(size) < _ORDINARY else 2.0 ** round(size / math.log(2.0))


def _bases(columns: Array, of: Sequence[Vector]) -> Array:
    """Logarithm of a unit for each base dimension, for one of its twelfths [n_bases], such that
    columns [n_columns, n_rows] come to about one; none where they do already."""
    sizes = np.log(np.maximum(np.median(np.abs(columns), axis=1), 1e-300))
    if FREE in of or np.abs(sizes).max(initial=0.0) < _ORDINARY:
        return np.empty(0)
    return np.asarray(np.linalg.lstsq(np.array(of, dtype=float), sizes, rcond=None)[0])
