"""Sparse: candidates that need no search, from orthogonal matching pursuit.

A block is often close to a sum of few inputs and products of two inputs, where an evolutionary
search spends its time on spelling sums. Greedy selection finds these in milliseconds, so a front
never misses the sparse linear and quadratic forms that its limit of complexity allows. Where the
polynomial is sparse only in coordinates that mix the inputs, see `products`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import sympy

from symcompile.expressions.complexity import complexity
from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array
from symcompile.expressions.operators import OperatorSet
from symcompile.regression.products import MAX_INPUTS, product_candidate

# Products are left out where there would be more terms than this.
MAX_TERMS = 1500
_MAX_ROWS = 2000
# Refine may shorten a candidate by so much: it drops a constant, or one and its term.
_LONGER, _LONGER_PRODUCT = 2, 6
# A residual below this share of the output's norm is rounding.
_EXACT = 1e-12


@dataclass(frozen=True)
class _Library:
    """Terms that a sum may use: their values [n_samples, n_terms], columns of unit norm."""

    terms: list[sympy.Expr]
    values: Array
    norms: Array


def sparse_candidates(
    X: Array,
    y: Array,
    weights: Array | None,
    names: Sequence[str],
    operators: OperatorSet,
    max_complexity: int,
    deadline: float = math.inf,
) -> list[Equation]:
    """Sums of 1, 2, ... terms of y [n_samples] in the columns of X [n_samples, n_inputs], and
    products of two sums of the columns that such sums use first.

    Empty where the operators can't spell a sum of products. Losses are left to refine.
    """
    if "+" not in operators or "*" not in operators:
        return []
    step = -(-len(X) // _MAX_ROWS)
    X, y = X[::step], y[::step]
    root = np.ones(len(X)) if weights is None else np.sqrt(weights[::step] / weights.mean())
    found: list[Equation] = []
    for degree in (1, 2):
        library = _library(X, names, degree, root)
        if library is not None:
            found += _pursuit(library, y * root, root, names, operators, max_complexity, deadline)
    return found + _products(X, y, root, names, _used(found, names), operators, max_complexity)


def _used(found: Iterable[Equation], names: Sequence[str]) -> list[str]:
    """Names of the inputs, in the order in which longer and longer equations use them."""
    order: dict[str, None] = {}
    for equation in found:
        used = {symbol.name for symbol in equation.form.free_symbols}
        order |= dict.fromkeys(name for name in names if name in used)
    return list(order)


def _products(
    X: Array,
    y: Array,
    root: Array,
    names: Sequence[str],
    used: Sequence[str],
    operators: OperatorSet,
    max_complexity: int,
) -> list[Equation]:
    """One product of two sums of the first 2, 3, ... inputs used."""
    found = []
    for n in range(2, min(len(used), MAX_INPUTS) + 1):
        columns = [list(names).index(name) for name in used[:n]]
        symbols = [sympy.Symbol(name) for name in used[:n]]
        expr = product_candidate(X[:, columns], y, root, symbols)
        equation = None if expr is None else Equation.of(expr, names, operators)
        if equation is not None and equation.complexity <= max_complexity + _LONGER_PRODUCT:
            found.append(equation)
    return found


def _library(X: Array, names: Sequence[str], degree: int, root: Array) -> _Library | None:
    symbols = [sympy.Symbol(name) for name in names]
    varying = [k for k in range(X.shape[1]) if np.ptp(X[:, k]) > 0]
    pairs = list(combinations_with_replacement(varying, 2)) if degree == 2 else []
    if not varying or len(varying) + len(pairs) > MAX_TERMS:
        return None
    terms = [symbols[k] for k in varying] + [symbols[j] * symbols[k] for j, k in pairs]
    columns = [X[:, k] for k in varying] + [X[:, j] * X[:, k] for j, k in pairs]
    values = np.stack(columns, axis=1) * root[:, None]
    norms = np.linalg.norm(values, axis=0)
    usable = np.isfinite(norms) & (norms > 0)
    kept = [term for term, good in zip(terms, usable, strict=True) if good]
    return _Library(kept, values[:, usable] / norms[usable], norms[usable])


def _pursuit(
    library: _Library,
    y: Array,
    root: Array,
    names: Sequence[str],
    operators: OperatorSet,
    max_complexity: int,
    deadline: float,
) -> list[Equation]:
    """Add the term that the residual points at most, re-fit all, until the limit is reached."""
    found: list[Equation] = []
    ones = root / np.linalg.norm(root)
    chosen: list[int] = []
    residual = y - ones * (ones @ y)
    while len(chosen) < min(len(library.terms), len(y) - 2):
        gains = np.abs(library.values.T @ residual)
        gains[chosen] = -1.0
        if time.monotonic() >= deadline:
            break
        chosen.append(int(gains.argmax()))
        basis = np.column_stack([ones, library.values[:, chosen]])
        weights = np.linalg.lstsq(basis, y, rcond=None)[0]
        residual = y - basis @ weights
        expr = _sum(library, chosen, weights, float(np.linalg.norm(root)))
        if complexity(expr, operators) > max_complexity + _LONGER:
            break
        found.append(Equation.of(expr, names, operators))
        if np.linalg.norm(residual) <= _EXACT * np.linalg.norm(y):
            break
    return found


def _sum(library: _Library, chosen: list[int], weights: Array, size: float) -> sympy.Expr:
    parts = [sympy.Float(float(weights[0] / size))]
    for index, weight in zip(chosen, weights[1:], strict=True):
        parts.append(sympy.Float(float(weight / library.norms[index])) * library.terms[index])
    return sympy.Add(*parts)
