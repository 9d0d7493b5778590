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

from symcompile.expressions.evaluation import Array

# Fewer rows than this are never held out: losses on a fifth of them differ by chance by a third and
# more, exp(sqrt(2 / 20)), and the form that is best there is often another than the law.
SMALL = 100
# Folds of more rows than that, where none are held out by the user's wish.
FOLDS = 10


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
