"""Monomials: candidates that are sums of few products of integer powers, found without a search.

Physical laws are mostly of this kind, `q1*q2*(a*dx + b*dy)/r**3`: integer powers, as dimensional
analysis demands, of several quantities at once. An evolutionary search meets many exponentials and
shifted powers that come near before it meets the exponents. There are but a few thousand products
of small powers of a handful of inputs, so all of them are tried: orthogonal pursuit finds the sums,
and then all exponents of one input are moved together as long as that helps.
Under a robust loss the weights are those of the sum that was found, in two rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice, permutations, product

import numpy as np
import sympy

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import linear, robust
from symcompile.regression.limits import Limits
from symcompile.regression.losses import Loss
from symcompile.regression.pursuit import Library

# Products are tried up to the largest of these total degrees that gives no more of them than this.
DEGREES, MAX_MONOMIALS = (6, 5, 4, 3), 5000
_FACTORS, _POWER, _SIGNED_POWER = 4, 3, 2
_TERMS, _KEPT = 4, 2
_MAX_ROWS, _ROWS_OF_A_TERM = 1500, 4
_ROUNDS, _REWEIGHTED = 2, 6
# Monomials whose values are kept, of 1,500 samples each.
_HELD = 1000
# Refine may shorten a candidate by a constant.
_LONGER = 2

Exponents = tuple[int, ...]
Sum = tuple[Exponents, ...]


def monomial_candidates(
    fit: Dataset,
    names: Sequence[str],
    limits: Limits,
) -> list[Equation]:
    """Sums of 1 to 4 monomials; of few samples one for every four of them.

    Empty where the operators can't spell them, or where there are too many inputs for products of
    degree 3. Negative powers are those of inputs that are above 0 on every sample.
    """
    data = fit.rows(slice(None, None, -(-len(fit.y) // _MAX_ROWS)))
    operators = limits.operators
    inverse = "inv" in operators or "/" in operators
    powers = [_powers(column, inverse) for column in data.X.T]
    exponents = _exponents(powers) if "+" in operators and "*" in operators else []
    if not exponents or len(data.y) < _ROWS_OF_A_TERM:
        return []
    weights = np.ones(len(data.y)) if data.weights is None else data.weights
    problem = _Problem(data.X, data.y, weights, data.loss, powers, limits.deadline)
    candidates = []
    for terms in problem.sums(exponents):
        for expr in _spellings(terms, problem.fitted(terms)[1], names, powers):
            equation = Equation.of(expr, names, operators)
            if equation.complexity <= limits.max_complexity + _LONGER:
                candidates.append(equation)
    return candidates


def _powers(column: Array, inverse: bool) -> tuple[int, ...]:
    """Powers of one input, 0 first. A column of n different values has n - 1 powers that are no
    sums of others, beside 1: only the sign of a charge is left of it."""
    if column.min() > 0:
        powers = range(-_POWER if inverse else 0, _POWER + 1)
    else:
        powers = range(_SIGNED_POWER + 1)
    return tuple(sorted(powers, key=lambda p: (abs(p), -p)))[: len(np.unique(column))]


def _exponents(powers: Sequence[tuple[int, ...]]) -> list[Exponents]:
    for degree in DEGREES:
        exponents = list(islice(_products(powers, degree), MAX_MONOMIALS + 1))
        if len(exponents) <= MAX_MONOMIALS:
            return exponents
    return []


def _products(powers: Sequence[tuple[int, ...]], degree: int) -> Iterator[Exponents]:
    """Exponents that are not all 0, of few inputs and up to this degree in all."""
    for factors in range(1, min(_FACTORS, len(powers)) + 1):
        for inputs in combinations(range(len(powers)), factors):
            for exponents in product(*(powers[k][1:] for k in inputs)):
                if sum(map(abs, exponents)) <= degree:
                    row = dict(zip(inputs, exponents, strict=True))
                    yield tuple(row.get(k, 0) for k in range(len(powers)))


def _values(X: Array, exponents: Sequence[Exponents]) -> Array:
    """Each monomial on each sample [n_samples, n_monomials]."""
    table = np.array(exponents)
    result = np.ones((len(X), len(table)))
    with np.errstate(all="ignore"):
        for k in range(X.shape[1]):
            for power in set(table[:, k].tolist()) - {0}:
                chosen = table[:, k] == power
                result[:, chosen] *= X[:, [k]] ** float(power)
    return result


@dataclass(frozen=True)
class _Problem:
    """Samples, what errors on them count, and the powers that each input may have."""

    X: Array
    y: Array
    weights: Array
    loss: Loss
    powers: Sequence[tuple[int, ...]]
    deadline: float

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    @cached_property
    def columns(self) -> dict[Exponents, Array]:
        return {}

    @cached_property
    def deviation(self) -> Array:
        """From the median: the residual of what is known before anything is fitted."""
        return np.asarray(self.y - np.median(self.y))

    def sums(self, exponents: Sequence[Exponents]) -> list[Sum]:
        """The best few sums of each number of terms; the longer ones only as time allows."""
        most = min(_TERMS, len(self.y) // _ROWS_OF_A_TERM)
        candidates: dict[Sum, None] = {}
        residual = self.deviation
        for _ in range(1 if self.loss.is_squared else _ROUNDS):
            weights = self.weights * self.loss.weights(residual)
            # What is not finite is left out there.
            library = Library.of(_values(self.X, exponents), self.y, weights)
            supports = library.beam(most, self.deadline)
            sums = [tuple(exponents[k] for k in support) for support in supports]
            candidates |= dict.fromkeys(self.moved(terms) for terms in sums)
            candidates |= dict.fromkeys(self.products(sums, weights))
            if sums:
                residual = self.basis(sums[-1]) @ self.fitted(sums[-1])[1] - self.y
        return list(candidates)

    def moved(self, terms: Sum) -> Sum:
        """The terms times that power of one input, again and again, which lowers the loss most."""
        best = self.fitted(terms)[0]
        while not self.late:
            trials = {trial: self.fitted(trial)[0] for trial in self.neighbours(terms)}
            nearest = min(trials, key=trials.__getitem__, default=None)
            if nearest is None or trials[nearest] >= best:
                break
            terms, best = nearest, trials[nearest]
        return terms

    def neighbours(self, terms: Sum) -> Iterator[Sum]:
        for k in range(len(self.powers)):
            for power in (-1, 1):
                trial = tuple(_with(e, k, e[k] + power) for e in terms)
                if self.allowed(trial):
                    yield trial

    def products(self, sums: Iterable[Sum], weights: Array) -> list[Sum]:
        """The best products of a sum of two terms that was found and a sum of two powers of one
        input, whatever powers of it the terms had: as sums, of four terms."""
        pairs = dict.fromkeys(pair for terms in sums for pair in combinations(terms, 2))
        losses: dict[Sum, float] = {}
        for a, b in pairs:
            for k, powers in enumerate(self.powers):
                # A sum has found its terms each for itself: not with powers in common.
                for two, between in product(combinations(sorted(powers), 2), {b[k] - a[k], 0}):
                    terms = tuple(
                        term
                        for power in two
                        for term in (_with(a, k, power), _with(b, k, power + between))
                    )
                    if len(set(terms)) == 4 and self.allowed(terms):
                        losses[terms] = math.inf
        # Hundreds: compared under the weights at hand, not each under its own.
        for terms in losses:
            if self.late:
                break
            basis = self.basis(terms)
            error = basis @ linear(basis, self.y, weights, equilibrate=True) - self.y
            losses[terms] = float(np.average(error * error, weights=weights))
        return sorted(losses, key=losses.__getitem__)[:_KEPT]

    def allowed(self, terms: Sum) -> bool:
        """Whether no term is constant, or has a power that an input may not have."""
        return all(
            any(e) and all(power in own for power, own in zip(e, self.powers, strict=True))
            for e in terms
        )

    def basis(self, terms: Sum) -> Array:
        """One, and each term, on each sample [n_samples, 1 + n_terms]."""
        return np.column_stack([np.ones(len(self.y)), *map(self.column, terms)])

    def column(self, exponents: Exponents) -> Array:
        """A monomial on each sample: thousands of sums are made of the same few hundred."""
        if exponents not in self.columns:
            if len(self.columns) >= _HELD:
                self.columns.clear()
            self.columns[exponents] = _values(self.X, [exponents])[:, 0]
        return self.columns[exponents]

    def fitted(self, terms: Sum) -> tuple[float, Array]:
        """Loss, and coefficients of a constant and of the terms [1 + n_terms].

        Reweighted under a robust loss, from two starts: samples with large terms pull a fit to
        themselves until they look like good ones, so that the second start leaves them out.
        """
        basis = self.basis(terms)
        starts, losses = [self.deviation], [self.loss]
        if not self.loss.is_squared:
            size = np.linalg.norm(basis[:, 1:], axis=1)
            starts.append(np.where(size <= 3.0 * np.median(size), self.deviation, np.inf))
            losses *= 1 + _REWEIGHTED
        fits = []
        for start in starts:
            coefficients = robust(basis, self.y, self.weights, losses, start, equilibrate=True)
            fits.append((self.loss.mean(basis @ coefficients - self.y, self.weights), coefficients))
        return min(fits, key=lambda fit: fit[0])


def _with(exponents: Exponents, k: int, power: int) -> Exponents:
    """The monomial with this power of input k."""
    return (*exponents[:k], power, *exponents[k + 1 :])


def _spellings(
    terms: Sum,
    coefficients: Array,
    names: Sequence[str],
    powers: Sequence[tuple[int, ...]],
) -> Iterator[sympy.Expr]:
    """The sum with its common factor taken out, and as a product of two sums if it can be one."""
    constant, *weights = (sympy.Float(float(value)) for value in coefficients)
    yield _common(terms, weights, names) + constant
    if len(terms) != 4 or not all(weights):
        return
    for i, j, k in permutations((1, 2, 3)):
        a, b, c, d = (np.array(terms[n]) for n in (0, i, j, k))
        ratio = b - a
        if np.array_equal(a + d, b + c) and all(map(tuple.__contains__, powers, ratio.tolist())):
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
