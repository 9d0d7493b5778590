"""Monomials: candidates that are sums of few products of integer powers, found without a search.

Physical laws are mostly of this kind, `q1*q2*(a*dx + b*dy)/r**3`: integer powers, as dimensional
analysis demands, of several quantities at once. An evolutionary search meets many exponentials and
shifted powers that come near before it meets the exponents. There are but a few thousand products
of small powers of a handful of inputs, so all of them are tried: orthogonal least squares with a
beam finds the sums, and then all exponents of one input are moved together as long as that helps.
Under a robust loss the weights are those of the sum that was found, in two rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operators import OperatorSet
from symcompile.regression.losses import Loss, first_weights

# Products are tried up to the largest of these total degrees that gives no more of them than this.
DEGREES, MAX_MONOMIALS = (6, 5, 4, 3), 5000
_FACTORS, _POWER, _SIGNED_POWER = 4, 3, 2
_TERMS, _BEAM, _BRANCH, _KEPT = 4, 8, 8, 2
_MAX_ROWS, _ROWS_OF_A_TERM = 1500, 4
_ROUNDS, _REWEIGHTED = 2, 6
# What is left of a column beside those that are chosen, as a share of it: below, it is one of them.
_NEW = 1e-6
# Refine may shorten a candidate by a constant.
_LONGER = 2

Exponents = tuple[int, ...]
Sum = tuple[Exponents, ...]


def monomial_candidates(
    X: Array,
    y: Array,
    weights: Array | None,
    loss: Loss,
    names: Sequence[str],
    operators: OperatorSet,
    max_complexity: int,
    deadline: float = math.inf,
) -> list[Equation]:
    """Sums of 1 to 4 monomials, for y [n_samples] in the columns of X [n_samples, n_inputs]; of few
    samples one for every four of them.

    Empty where the operators can't spell them, or where there are too many inputs for products of
    degree 3. Negative powers are those of inputs that are above 0 on every sample.
    """
    step = -(-len(X) // _MAX_ROWS)
    X, y = X[::step], y[::step]
    ranges = _ranges(X, operators)
    exponents = _exponents(ranges)
    if not exponents or len(y) < _ROWS_OF_A_TERM:
        return []
    problem = _Problem(X, y, None if weights is None else weights[::step], loss, ranges, deadline)
    found = []
    for terms in problem.sums(exponents):
        for expr in _spellings(terms, problem.coefficients(terms), names, ranges):
            equation = Equation.of(expr, names, operators)
            if equation.complexity <= max_complexity + _LONGER:
                found.append(equation)
    return found


def _ranges(X: Array, operators: OperatorSet) -> list[tuple[int, ...]]:
    """Powers of each input, 0 first; none but 0 where the operators can't spell a monomial."""
    if "+" not in operators or "*" not in operators:
        return [(0,)] * X.shape[1]
    inverse = "inv" in operators or "/" in operators
    return [_powers(column, inverse) for column in X.T]


def _exponents(ranges: Sequence[tuple[int, ...]]) -> list[Exponents]:
    for degree in DEGREES:
        found = list(_products(ranges, degree, MAX_MONOMIALS + 1))
        if len(found) <= MAX_MONOMIALS:
            return found
    return []


def _powers(column: Array, inverse: bool) -> tuple[int, ...]:
    """A column of n different values has n - 1 powers that are no sums of others, beside 1: only
    the sign of a charge is left of it."""
    if column.min() > 0:
        powers = range(-_POWER if inverse else 0, _POWER + 1)
    else:
        powers = range(_SIGNED_POWER + 1)
    return tuple(sorted(powers, key=lambda p: (abs(p), -p)))[: len(np.unique(column))]


def _products(ranges: Sequence[tuple[int, ...]], degree: int, limit: int) -> Iterator[Exponents]:
    """Up to `limit` exponents that are not all 0, of at most so many inputs and this degree."""
    count = 0
    for factors in range(1, min(_FACTORS, len(ranges)) + 1):
        for inputs in combinations(range(len(ranges)), factors):
            for powers in product(*(ranges[k][1:] for k in inputs)):
                if sum(map(abs, powers)) > degree:
                    continue
                count += 1
                if count > limit:
                    return
                row = [0] * len(ranges)
                for k, power in zip(inputs, powers, strict=True):
                    row[k] = power
                yield tuple(row)


def _values(X: Array, exponents: Sequence[Exponents]) -> Array:
    """Each monomial on each sample [n_samples, n_monomials]."""
    table = np.array(exponents)
    result = np.ones((len(X), len(table)))
    for k in range(X.shape[1]):
        for power in set(table[:, k].tolist()) - {0}:
            chosen = table[:, k] == power
            result[:, chosen] *= X[:, [k]] ** float(power)
    return result


@dataclass(frozen=True)
class _Problem:
    """Samples, and what errors on them count."""

    X: Array
    y: Array
    weights: Array | None
    loss: Loss
    ranges: Sequence[tuple[int, ...]]
    deadline: float = math.inf

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def sums(self, exponents: list[Exponents]) -> list[Sum]:
        """The best few sums of each number of terms; the longer ones only as time allows."""
        with np.errstate(all="ignore"):
            values = _values(self.X, exponents)
        usable = np.flatnonzero(np.isfinite(values).all(axis=0))
        exponents = [exponents[k] for k in usable]
        found: dict[Sum, None] = {}
        robust = first_weights(self.loss, self.y)
        for _ in range(1 if robust is None else _ROUNDS):
            chosen = _pursuit(values[:, usable], self.y, self.sample_weights(robust), self.deadline)
            sums = [tuple(exponents[k] for k in columns) for columns in chosen]
            found |= dict.fromkeys(self.moved(terms) for terms in sums)
            found |= dict.fromkeys(self.products(sums, self.sample_weights(robust)))
            if robust is not None and sums:
                robust = self.loss.weights(self.residual(sums[-1]))
        return list(found)

    def sample_weights(self, robust: Array | None) -> Array:
        base = np.ones(len(self.y)) if self.weights is None else self.weights
        return base if robust is None else base * robust

    def moved(self, terms: Sum) -> Sum:
        """The terms times that power of one input, again and again, which lowers the loss most."""
        best = self.lowest(terms)
        while True:
            trials = {trial: self.lowest(trial) for trial in self.neighbours(terms)}
            nearest = min(trials, key=trials.__getitem__, default=None)
            if nearest is None or trials[nearest] >= best or self.late:
                return terms
            terms, best = nearest, trials[nearest]

    def neighbours(self, terms: Sum) -> Iterator[Sum]:
        for k in range(len(self.ranges)):
            for power in (-1, 1):
                trial = tuple(_with(e, k, e[k] + power) for e in terms)
                if self.allowed(trial) and all(map(any, trial)):
                    yield trial

    def products(self, sums: Iterable[Sum], weights: Array) -> list[Sum]:
        """The best products of a sum of two terms that was found and a sum of two powers of one
        input, whatever powers of it the terms had: as sums, of four terms."""
        pairs = dict.fromkeys(pair for terms in sums for pair in combinations(terms, 2))
        made: dict[Sum, float] = {}
        for a, b in pairs:
            for k, powers in enumerate(self.ranges):
                for low, high in combinations(sorted(powers), 2):
                    # A sum has found its terms each for itself: not with powers in common.
                    for between in {b[k] - a[k], 0}:
                        terms = tuple(
                            term
                            for power in (low, high)
                            for term in (_with(a, k, power), _with(b, k, power + between))
                        )
                        if len(set(terms)) == 4 and all(map(any, terms)) and self.allowed(terms):
                            made[terms] = math.inf
        # Hundreds: compared under the weights at hand, not each under its own.
        for terms in made:
            if self.late:
                break
            basis = self.basis(terms)
            error = basis @ _least_squares(basis, self.y, weights) - self.y
            made[terms] = float(np.average(error * error, weights=weights))
        return sorted(made, key=made.__getitem__)[:_KEPT]

    def allowed(self, terms: Sum) -> bool:
        return all(
            power in powers for e in terms for power, powers in zip(e, self.ranges, strict=True)
        )

    def lowest(self, terms: Sum) -> float:
        return self.loss.mean(self.residual(terms), self.weights)

    def residual(self, terms: Sum) -> Array:
        return self.basis(terms) @ self.coefficients(terms) - self.y

    def basis(self, terms: Sum) -> Array:
        with np.errstate(all="ignore"):
            return np.column_stack([np.ones(len(self.y)), _values(self.X, terms)])

    def coefficients(self, terms: Sum) -> Array:
        """Constant and weights of the terms [1 + n_terms], by least squares.

        Reweighted under a robust loss, from two starts: samples with large terms pull a fit to
        themselves until they look like good ones, so that the second start leaves them out.
        """
        basis, robust = self.basis(terms), first_weights(self.loss, self.y)
        if robust is None:
            return _least_squares(basis, self.y, self.sample_weights(None))
        size = np.linalg.norm(basis[:, 1:], axis=1)
        typical = np.where(size <= 3.0 * np.median(size), robust, 0.0)
        fits = [self.reweighted(basis, start) for start in (robust, typical)]
        return min(fits, key=lambda c: self.loss.mean(basis @ c - self.y, self.weights))

    def reweighted(self, basis: Array, robust: Array) -> Array:
        found = _least_squares(basis, self.y, self.sample_weights(robust))
        for _ in range(_REWEIGHTED):
            robust = self.loss.weights(basis @ found - self.y)
            found = _least_squares(basis, self.y, self.sample_weights(robust))
        return found


def _with(exponents: Exponents, k: int, power: int) -> Exponents:
    """The monomial with this power of input k."""
    return (*exponents[:k], power, *exponents[k + 1 :])


def _least_squares(basis: Array, y: Array, weights: Array) -> Array:
    if not np.isfinite(basis).all():
        return np.zeros(basis.shape[1])
    root = np.sqrt(weights)
    scale = np.maximum(np.linalg.norm(basis * root[:, None], axis=0), 1e-300)
    solution = np.linalg.lstsq(basis * root[:, None] / scale, y * root, rcond=None)[0]
    return np.asarray(solution / scale)


def _pursuit(
    values: Array, y: Array, weights: Array, deadline: float = math.inf
) -> list[tuple[int, ...]]:
    """Columns of the best sums of 1, 2, ... terms beside a constant, by orthogonal least squares.

    A beam, since of two like columns the one that does better alone is often not the one that does
    better beside others (Chen, Billings and Luo 1989, for the greedy form); and then each term of a
    sum is exchanged for a better one, as long as there is one.
    """
    root = np.sqrt(weights)
    columns = values * root[:, None]
    library = _Library(
        columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300),
        y * root,
        (root / np.linalg.norm(root))[:, None],
    )
    beam: list[tuple[int, ...]] = [()]
    result: dict[tuple[int, ...], None] = {}
    for _ in range(min(_TERMS, len(y) // _ROWS_OF_A_TERM)):
        if time.monotonic() >= deadline:
            break
        longer = dict.fromkeys(s for chosen in beam for s in library.longer(chosen, _BRANCH))
        beam = sorted(longer, key=library.error)[:_BEAM]
        result |= dict.fromkeys(library.exchanged(chosen) for chosen in beam[:_KEPT])
    return list(result)


@dataclass(frozen=True)
class _Library:
    """Weighted columns of unit norm [n_samples, n_columns], target, and the constant's column."""

    columns: Array
    target: Array
    one: Array

    def fit(self, chosen: tuple[int, ...]) -> tuple[Array, Array]:
        """Orthonormal basis of the chosen columns with the constant, and the residual."""
        basis = np.linalg.qr(np.hstack([self.one, self.columns[:, list(chosen)]]))[0]
        return basis, self.target - basis @ (basis.T @ self.target)

    def error(self, chosen: tuple[int, ...]) -> float:
        return float(np.square(self.fit(chosen)[1]).sum())

    def longer(self, chosen: tuple[int, ...], branch: int) -> list[tuple[int, ...]]:
        """The sums with one column more that have the lowest errors, the lowest first."""
        basis, residual = self.fit(chosen)
        left = 1.0 - np.square(basis.T @ self.columns).sum(axis=0)
        gains = np.square(residual @ self.columns) / np.maximum(left, _NEW)
        gains[left <= _NEW] = 0.0
        best = np.argsort(-gains, kind="stable")[:branch]
        return [tuple(sorted((*chosen, int(column)))) for column in best if gains[column] > 0]

    def exchanged(self, chosen: tuple[int, ...]) -> tuple[int, ...]:
        error = self.error(chosen)
        while True:
            shorter = [tuple(c for c in chosen if c != gone) for gone in chosen]
            trials = [trial for rest in shorter for trial in self.longer(rest, 1)]
            best = min(trials, key=self.error, default=chosen)
            if not self.error(best) < error * (1.0 - _NEW):
                return chosen
            chosen, error = best, self.error(best)


def _spellings(
    terms: Sum,
    coefficients: Array,
    names: Sequence[str],
    ranges: Sequence[tuple[int, ...]],
) -> Iterator[sympy.Expr]:
    """The sum with its common factor taken out, and as a product of two sums if it can be one."""
    constant, *weights = (sympy.Float(float(value)) for value in coefficients)
    yield _common(terms, weights, names) + constant
    if len(terms) != 4 or not all(weights):
        return
    for i, j, k in permutations((1, 2, 3)):
        a, b, c, d = (np.array(terms[n]) for n in (0, i, j, k))
        ratio = b - a
        if np.array_equal(a + d, b + c) and all(map(tuple.__contains__, ranges, ratio.tolist())):
            left = _common([terms[0], terms[j]], [weights[0], weights[j]], names)
            yield left * (1 + weights[i] / weights[0] * _monomial(ratio, names)) + constant


def _common(
    terms: Sequence[Exponents], weights: Sequence[sympy.Expr], names: Sequence[str]
) -> sympy.Expr:
    table = np.array(terms)
    low, high = table.min(axis=0), table.max(axis=0)
    factor = np.where(low > 0, low, np.where(high < 0, high, 0))
    parts = [w * _monomial(e - factor, names) for w, e in zip(weights, table, strict=True)]
    return _monomial(factor, names) * sympy.Add(*parts)


def _monomial(exponents: Array, names: Sequence[str]) -> sympy.Expr:
    powers = zip(names, exponents.tolist(), strict=True)
    return sympy.Mul(*(sympy.Symbol(name) ** power for name, power in powers))
