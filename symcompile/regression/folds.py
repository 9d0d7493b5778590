"""Folds: how equations are judged where no samples are held out.

A few rows are too few to set any aside: six planets are what a law is told from, and with one of
them gone it may not be. So all rows are fitted to, and each row is judged by the same form with its
constants fitted to the others (leave-one-out, Stone 1974). A form whose constants trace single rows
is found out by that as it is by held-out rows. What it can't tell is whether a search would have
come upon the same form without the row: the choice among few rows has to make up for that, see
`symcompile.regression.choice`.
"""

from __future__ import annotations

import numpy as np

from symcompile.expressions.equation import Equation
from symcompile.expressions.evaluation import Array, jacobian
from symcompile.regression.losses import SQUARED, Loss

# Fewer rows than this are never held out: a fifth of them would be a handful, and which form is
# best on a handful is chance.
SMALL = 50
# Folds of more rows than that, where none are held out by the user's wish.
FOLDS = 10
# What others leave of a row that decides alone on a constant; directions that are but rounding.
_ALONE, _ROUNDING = 1e-9, 1e-10


def fold_numbers(count: int) -> Array:
    """The fold of each row [count]: of a few rows each is one of its own."""
    if count < SMALL:
        return np.arange(count)
    return np.random.default_rng(0).permutation(count) % FOLDS


def in_words(count: int) -> str:
    """How so many rows are judged."""
    if count < SMALL:
        return f"leave-one-out over {count} rows"
    return f"{FOLDS}-fold cross-validation over {count} rows"


def moves(
    equation: Equation,
    X: Array,
    y: Array,
    folds: Array,
    weights: Array | None = None,
    loss: Loss = SQUARED,
) -> Array:
    """What leaving out the fold of each row [n_samples] adds to the equation's error there.

    The constants without a fold follow from the derivatives by them, to first order: the error of
    the rows of a fold, with leverages H among them, grows by (1 - H)^-1. Infinite for rows without
    which a constant is not determined.
    """
    if not equation.constants:
        return np.zeros(len(y))
    with np.errstate(all="ignore"):
        value, J = jacobian(equation.program, X, equation.constants)
        residual = value - y
        share = loss.weights(residual) * (1.0 if weights is None else weights)
        root = np.sqrt(share)
        scaled = J * root[:, None]
    if not (np.isfinite(scaled).all() and np.isfinite(residual).all()):
        return np.full(len(y), np.inf)
    # Orthonormal columns that span those of the derivatives.
    size = np.sqrt(np.square(scaled).sum(axis=0))
    U, s, _ = np.linalg.svd(scaled / np.where(size > 0, size, 1.0), full_matrices=False)
    U = U[:, s > _ROUNDING * max(s[0], 1e-300)]
    rest = residual * root
    rest = rest - U @ (U.T @ rest)  # were the constants fitted
    result = np.zeros(len(y))
    for fold in np.unique(folds):
        rows = (folds == fold) & (root > 0)
        left = np.eye(int(rows.sum())) - U[rows] @ U[rows].T
        if rows.any() and np.linalg.eigvalsh(left)[0] < _ALONE:
            result[rows] = np.inf
        else:
            result[rows] = (np.linalg.solve(left, rest[rows]) - rest[rows]) / root[rows]
    return result
