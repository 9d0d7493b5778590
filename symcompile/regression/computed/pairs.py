"""Pairs: the best sums `a*f + b*g + c` of two forms, over all pairs of a table at once.

Columns are centred and scaled to unit length; with r their correlations with the target and G their
Gram matrix, the share of the target's variance that i and j explain together is
`r_j**2 + (r_i - G_ij*r_j)**2 / (1 - G_ij**2)`: a matrix product, and five passes over it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from symcompile.expressions.evaluation import Array

# Forms of a block: its Gram matrix stays in the cache.
_BLOCK = 1024
# Of two forms that are nearly one, what the second adds is rounding: float32 has seven digits.
_LEAST = 1e-5


class Found(NamedTuple):
    """Places in the table, one or two, and the share of the variance that is left."""

    places: tuple[int, ...]
    left: float


def best_sums(values: Array, target: Array, weight: Array, keep: int) -> list[Found]:
    """The best single forms and pairs for a target [n_rows] among values [n_forms, n_rows], `keep`
    of each block of the table; with a constant, in weighted squares."""
    constant = weight / np.linalg.norm(weight)
    aim = target * weight
    aim = aim - constant * (constant @ aim)
    size = float(np.linalg.norm(aim))
    columns = values * weight
    norms = np.linalg.norm(columns, axis=1)
    columns -= np.outer(columns @ constant, constant)
    lengths = np.linalg.norm(columns, axis=1)
    places = np.flatnonzero(np.isfinite(lengths) & (lengths > 1e-7 * norms))
    if not size > 0 or not len(places):
        return []
    unit = np.ascontiguousarray(columns[places] / lengths[places, None], dtype=np.float32)
    r = unit @ (aim / size).astype(np.float32)
    found = [Found((int(places[k]),), 1.0 - float(r[k]) ** 2) for k in _largest(r * r, keep)]
    for i in range(0, len(places), _BLOCK):
        for j in range(i, len(places), _BLOCK):
            explained = _pairs(unit[i : i + _BLOCK], unit[j : j + _BLOCK], r[i:], r[j:])
            if i == j:
                explained[np.tril_indices(len(explained))] = 0.0
            for k in _largest(explained.ravel(), keep):
                a, b = divmod(int(k), explained.shape[1])
                pair = int(places[i + a]), int(places[j + b])
                found.append(Found(pair, 1.0 - float(explained[a, b])))
    return sorted(found, key=lambda f: f.left)


def _pairs(left: Array, right: Array, r: Array, s: Array) -> Array:
    gram = left @ right.T
    r, s = r[: len(left), None], s[None, : len(right)]
    more = r - gram * s
    more *= more
    gram *= gram
    np.subtract(1.0, gram, out=gram)
    np.maximum(gram, _LEAST, out=gram)
    more /= gram
    more += s * s
    return np.asarray(more)


def _largest(values: Array, keep: int) -> Array:
    if len(values) <= keep:
        return np.arange(len(values))
    return np.argpartition(values, len(values) - keep)[-keep:]
