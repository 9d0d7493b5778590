"""Sparse: the candidates of a fit that need no search.

A block is often close to a sum of few inputs and products of two inputs, where an evolutionary
search spends its time on spelling sums. Greedy selection finds these in milliseconds, so a front
never misses the sparse linear and quadratic forms that its limit of complexity allows.

A block that multiplies two quantities does so in coordinates of its own, which mix its inputs:
`(x0 + a*x1 + b)*(c*x0 + x1 + d) + e*x0`. Spelled out that is a quadratic polynomial with all of its
terms, which few limits of complexity hold, and a search has to hit on both factors at once. Least
squares finds the polynomial, and the eigenvectors of its quadratic part are its factors.

Sums of products of other powers are those of `monomials`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement

import numpy as np
import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.least_squares import linear
from symcompile.regression.limits import Limits
from symcompile.regression.monomials import monomial_candidates
from symcompile.regression.pursuit import Library

# Products of two inputs are left out where there would be more terms than this.
MAX_TERMS = 1500
_MAX_ROWS = 2000
# Beyond so many inputs two affine sums of all of them are longer than any equation should be.
_MAX_FACTOR_INPUTS = 5
# Refine may shorten a candidate by so much: it drops a constant, or one and its term.
_LONGER, _LONGER_PRODUCT = 2, 6
# A direction counts beside the strongest one from this share of it.
_WEAK = 1e-6


def without_search(
    fit: Dataset,
    names: Sequence[str],
    limits: Limits,
    *,
    monomials: bool = True,
) -> list[Equation]:
    """Sums of inputs and of their products, products of sums, and if they are wanted sums of
    monomials, with one name for each column; those that were found by the deadline."""
    found = sparse_candidates(fit, names, limits)
    return found + monomial_candidates(fit, names, limits) if monomials else found


def sparse_candidates(
    fit: Dataset,
    names: Sequence[str],
    limits: Limits,
) -> list[Equation]:
    """Sums of 1, 2, ... terms, and products of two sums of the inputs that such sums use first.

    Empty where the operators can't spell a sum of products. Losses are left to refine.
    """
    operators = limits.operators
    if "+" not in operators or "*" not in operators:
        return []
    every = slice(None, None, -(-len(fit.y) // _MAX_ROWS))
    X, y, weights = fit.X[every], fit.y[every], fit.search_weights
    weights = np.ones(len(X)) if weights is None else weights[every] / weights.mean()
    candidates: list[Equation] = []
    for degree in (1, 2):
        terms, values = _terms(X, names, degree)
        for chosen, coefficients in Library.of(values, y, weights).greedy(limits.deadline):
            parts = zip(coefficients.tolist(), [sympy.S.One, *terms[chosen]], strict=True)
            expr = sympy.Add(*(sympy.Float(value) * term for value, term in parts))
            if complexity(expr, operators) > limits.max_complexity + _LONGER:
                break
            candidates.append(Equation.of(expr, names, operators))
    # Inputs in the order in which longer and longer sums use them.
    used = list(dict.fromkeys(name for e in candidates for name in names if name in e.uses))
    for n in range(2, min(len(used), _MAX_FACTOR_INPUTS) + 1):
        columns = [list(names).index(name) for name in used[:n]]
        product = product_candidate(X[:, columns], y, weights, [*map(sympy.Symbol, used[:n])])
        equation = None if product is None else Equation.of(product, names, operators)
        if equation is not None and equation.complexity <= limits.max_complexity + _LONGER_PRODUCT:
            candidates.append(equation)
    return candidates


def _terms(X: Array, names: Sequence[str], degree: int) -> tuple[Array, Array]:
    """Inputs that vary, and their products up to the degree (1 or 2): expressions [n_terms] and
    values [n_samples, n_terms]; none where there are too many."""
    varying = np.flatnonzero(np.ptp(X, axis=0) > 0)
    pairs = list(combinations_with_replacement(varying, 2)) if degree == 2 else []
    if len(varying) + len(pairs) > MAX_TERMS:
        return np.empty(0), np.empty((len(X), 0))
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    symbols = np.array([sympy.Symbol(name) for name in names], dtype=object)
    terms = np.concatenate([symbols[varying], symbols[first] * symbols[second]])
    return terms, np.ascontiguousarray(np.hstack([X[:, varying], X[:, first] * X[:, second]]))


def product_candidate(
    X: Array, y: Array, weights: Array, symbols: Sequence[sympy.Symbol]
) -> sympy.Expr | None:
    """The form with one product of two affine sums of inputs X [n_samples, n_inputs], two or more
    with a symbol for each, nearest to y [n_samples].

    The sum beside the product has what no shift of the factors can absorb: inputs but two. Of the
    ways to leave out two, that with the smallest shifts is taken, since large ones cancel each
    other, and can't be trained. None where the quadratic part has no real factors (a sum of
    squares), or there are too few samples.
    """
    with np.errstate(all="ignore"):
        mean, scale = X.mean(axis=0), X.std(axis=0)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    polynomial = _quadratic((X - mean) / scale, y, weights)
    if polynomial is None:
        return None
    constant, slope, square = polynomial
    factors = _factors(square) if np.abs(square).max() >= _WEAK * np.abs(slope).max() else None
    if factors is None:
        return None
    shifts = list(_absorbing_shifts(slope, *factors))
    if not shifts:
        return None
    s, t, rest = min(shifts, key=lambda shift: abs(shift[0]) + abs(shift[1]))
    units = [(x - float(m)) / float(d) for x, m, d in zip(symbols, mean, scale, strict=True)]
    left, right = _affine(factors[0], s, units), _affine(factors[1], t, units)
    return left * right + _affine(rest, constant - s * t, units)


def _quadratic(U: Array, y: Array, weights: Array) -> tuple[float, Array, Array] | None:
    """a, b [n] and symmetric Q [n, n] of a + b.u + u.Q.u, by least squares."""
    n = U.shape[1]
    first, second = np.triu_indices(n)
    basis = np.column_stack([np.ones(len(U)), U, U[:, first] * U[:, second]])
    if len(U) < 2 * basis.shape[1] or not np.isfinite(basis).all():
        return None
    coefficients = linear(basis, y, weights)
    square = np.zeros((n, n))
    square[first, second] = coefficients[n + 1 :]
    return float(coefficients[0]), coefficients[1 : n + 1], (square + square.T) / 2


def _factors(square: Array) -> tuple[Array, Array] | None:
    """Directions p, q [n] whose product (p.u)(q.u) is nearest to u.Q.u; None without real ones."""
    values, vectors = np.linalg.eigh(square)
    low, high = values[0], values[-1]
    if not low < 0 < high or min(-low, high) < _WEAK * max(-low, high):
        return None
    up, down = np.sqrt(high) * vectors[:, -1], np.sqrt(-low) * vectors[:, 0]
    return up + down, up - down


def _absorbing_shifts(slope: Array, p: Array, q: Array) -> Iterator[tuple[float, float, Array]]:
    """For each pair of inputs: shifts s, t and the linear part [n] beside (p.u + s)(q.u + t), which
    the pair is not in."""
    for gone in map(list, combinations(range(len(slope)), 2)):
        system = np.column_stack([q[gone], p[gone]])  # s multiplies q.u, t multiplies p.u
        sizes = np.linalg.svd(system, compute_uv=False)
        if sizes[-1] <= _WEAK * sizes[0]:
            continue
        s, t = np.linalg.solve(system, slope[gone])
        rest = slope - s * q - t * p
        rest[gone] = 0.0
        size = max(np.abs(part).max() for part in (slope, s * q, t * p))
        yield float(s), float(t), np.where(np.abs(rest) > _WEAK * size, rest, 0.0)


def _affine(weights: Array, constant: float, units: Sequence[sympy.Expr]) -> sympy.Expr:
    """w.u + c in the inputs themselves; a weight that is nothing beside the others is left out."""
    largest = float(np.abs(weights).max())
    total = sympy.Float(constant)
    for weight, unit in zip(weights.tolist(), units, strict=True):
        if abs(weight) > _WEAK * largest:
            total += sympy.Float(weight) * unit
    return sympy.expand(total)
