"""Products: candidates that are one product of two affine sums, beside an affine sum.

A block that multiplies two quantities does so in coordinates of its own, which mix its inputs:
`(x0 + a*x1 + b)*(c*x0 + x1 + d) + e*x0`. Spelled out that is a quadratic polynomial with all of its
terms, which few limits of complexity hold, and a search has to hit on both factors at once. Least
squares finds the polynomial, and the eigenvectors of its quadratic part are its factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import sympy

from symcompile.expressions.evaluation import Array

# Beyond so many inputs two affine sums of all of them are longer than any equation should be.
MAX_INPUTS = 5
# A direction counts beside the strongest one from this share of it.
_WEAK = 1e-6


@dataclass(frozen=True)
class _Quadratic:
    """a + b.u + u.Q.u in standardised inputs u, [n], [n, n] symmetric."""

    constant: float
    linear: Array
    square: Array


def product_candidate(
    X: Array, y: Array, root: Array, symbols: Sequence[sympy.Symbol]
) -> sympy.Expr | None:
    """The form with one product of two affine sums of inputs X [n_samples, n_inputs].

    The sum beside the product has what no shift of the factors can absorb: inputs but two. Of the
    ways to leave out two, that with the smallest shifts is taken, since large ones cancel each
    other, and can't be trained. None where the quadratic part has no real factors (a sum of
    squares), or there are too few samples.

    Args:
        y: output [n_samples].
        root: square root of each sample's weight [n_samples].
        symbols: one for each column of X, two or more.
    """
    with np.errstate(all="ignore"):
        mean, scale = X.mean(axis=0), X.std(axis=0)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    units = [(x - float(m)) / float(s) for x, m, s in zip(symbols, mean, scale, strict=True)]
    found = _fit((X - mean) / scale, y, root)
    if found is None or np.abs(found.square).max() < _WEAK * np.abs(found.linear).max():
        return None
    factors = _factors(found.square)
    if factors is None:
        return None
    pairs = combinations(range(len(units)), 2)
    shifts = [shift for pair in pairs if (shift := _absorbed(found, *factors, pair)) is not None]
    if not shifts:
        return None
    s, t, rest = min(shifts, key=lambda shift: abs(shift[0]) + abs(shift[1]))
    left, right = (_affine(w, c, units) for w, c in zip(factors, (s, t), strict=True))
    return left * right + _affine(rest, found.constant - s * t, units)


def _fit(U: Array, y: Array, root: Array) -> _Quadratic | None:
    """The full quadratic polynomial by least squares."""
    n = U.shape[1]
    first, second = np.triu_indices(n)
    basis = np.column_stack([np.ones(len(U)), U, U[:, first] * U[:, second]])
    if len(U) < 2 * basis.shape[1] or not np.isfinite(basis).all():
        return None
    weights = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)[0]
    square = np.zeros((n, n))
    square[first, second] = weights[n + 1 :]
    return _Quadratic(float(weights[0]), weights[1 : n + 1], (square + square.T) / 2)


def _factors(square: Array) -> tuple[Array, Array] | None:
    """Directions p, q [n] whose product (p.u)(q.u) is nearest to u.Q.u; None without real ones."""
    values, vectors = np.linalg.eigh(square)
    low, high = values[0], values[-1]
    if not low < 0 < high or min(-low, high) < _WEAK * max(-low, high):
        return None
    up, down = np.sqrt(high) * vectors[:, -1], np.sqrt(-low) * vectors[:, 0]
    return up + down, up - down


def _absorbed(
    found: _Quadratic, p: Array, q: Array, pair: tuple[int, int]
) -> tuple[float, float, Array] | None:
    """Shifts s, t and the linear part [n] beside (p.u + s)(q.u + t), which the pair is not in."""
    gone = list(pair)
    system = np.column_stack([q[gone], p[gone]])  # s multiplies q.u, t multiplies p.u
    sizes = np.linalg.svd(system, compute_uv=False)
    if sizes[-1] <= _WEAK * sizes[0]:
        return None
    s, t = np.linalg.solve(system, found.linear[gone])
    rest = found.linear - s * q - t * p
    rest[gone] = 0.0
    size = max(np.abs(part).max() for part in (found.linear, s * q, t * p))
    return float(s), float(t), np.where(np.abs(rest) > _WEAK * size, rest, 0.0)


def _affine(weights: Array, constant: float, units: Sequence[sympy.Expr]) -> sympy.Expr:
    """w.u + c in the inputs themselves; a weight that is nothing beside the others is left out."""
    largest = float(np.abs(weights).max())
    total = sympy.Float(constant)
    for weight, unit in zip(weights, units, strict=True):
        if abs(weight) > _WEAK * largest:
            total += sympy.Float(float(weight)) * unit
    return sympy.expand(total)
