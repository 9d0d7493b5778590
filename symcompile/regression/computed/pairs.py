"""Pairs: the best sums `a*f + b*g + c` of two forms, over all pairs of a table at once.

Columns are centred and scaled to unit length; with r their correlations with the target and G their
Gram matrix, the share of the target's variance that i and j explain together is
`r_j**2 + (r_i - G_ij*r_j)**2 / (1 - G_ij**2)`: a matrix product, and five passes over it. A third
form is looked for beside the best pairs only: it explains of what they leave what is not theirs.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from symcompile.expressions.evaluation import Array

# Forms of a block: its Gram matrix stays in the cache.
_BLOCK = 1024
# Of two forms that are nearly one, what the second adds is rounding: float32 has seven digits.
_LEAST = 1e-5
# A share of a target that is none beside its mean.
_ROUNDING = 1e-13


class Found(NamedTuple):
    """Places in the table, up to three, and the share of the variance that is left."""

    places: tuple[int, ...]
    left: float


@np.errstate(all="ignore")
def best_sums(
    values: Array,
    sizes: Array,
    target: Array,
    weight: Array,
    keep: int,
    deadline: float = math.inf,
) -> dict[int, list[Found]]:
    """The best single forms and pairs for a target [n_rows] among values [n_forms, n_rows], with a
    constant, in weighted squares.

    By the sum of their `sizes` [n_forms, ascending], since the right pair is not the best one under
    noise: up to `keep` of each two sizes, the best first. Of pairs those that are looked at by the
    deadline.
    """
    aim = _centred(target * weight, weight)
    size = float(np.linalg.norm(aim))
    columns = values * weight
    norms = np.linalg.norm(columns, axis=1)
    columns = _centred(columns, weight)
    lengths = np.linalg.norm(columns, axis=1)
    places = np.flatnonzero(np.isfinite(lengths) & (lengths > 1e-7 * norms))
    varies = size > _ROUNDING * float(np.linalg.norm(target * weight))
    if not varies or not len(places):
        return {}
    unit = np.ascontiguousarray(columns[places] / lengths[places, None], dtype=np.float32)
    r = unit @ (aim / size).astype(np.float32)
    found: dict[int, list[Found]] = defaultdict(list)
    blocks = _blocks(sizes[places])
    most = max(end - start for _, start, end in blocks)
    room = np.empty((2, most * most), dtype=np.float32)
    for first, (s, i, j) in enumerate(blocks):
        for k in i + _largest(r[i:j] ** 2, keep):
            found[s].append(Found((int(places[k]),), 1.0 - float(r[k]) ** 2))
        for t, m, n in blocks[first:]:
            if time.monotonic() >= deadline:
                break
            explained = _pairs(unit[i:j], unit[m:n], r[i:j], r[m:n], room)
            if i == m:
                explained[np.tri(j - i, dtype=bool)] = 0.0
            for a, b in _largest_of_all(explained, keep):
                if i == m and a >= b:
                    continue
                pair = int(places[i + a]), int(places[m + b])
                found[s + t].append(Found(pair, 1.0 - float(explained[a, b])))
    return {s: sorted(found[s], key=lambda f: f.left) for s in sorted(found)}


@np.errstate(all="ignore")
def best_thirds(
    values: Array, sizes: Array, target: Array, weight: Array, pairs: Sequence[Found], keep: int
) -> dict[int, list[Found]]:
    """The best sums of three forms of which two are one of these pairs, as `best_sums` has them: by
    the sum of their sizes, of each pair and size of a third the best."""
    columns, aim = _centred(values * weight, weight), _centred(target * weight, weight)
    columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    aim /= np.linalg.norm(aim)
    usable = np.isfinite(columns).all(axis=1)
    columns[~usable] = 0.0
    blocks = _blocks(sizes)
    found: dict[int, dict[tuple[int, ...], Found]] = defaultdict(dict)
    for pair in pairs:
        own = np.linalg.qr(columns[list(pair.places)].T)[0]
        rest = aim - own @ (own.T @ aim)
        free = 1.0 - np.square(columns @ own).sum(axis=1)
        explained = np.where(free > _LEAST, np.square(columns @ rest) / free, 0.0)
        left = float(rest @ rest)
        for size, i, j in blocks:
            k = i + int(np.argmax(explained[i:j]))
            if explained[k] > 0.0:
                places = tuple(sorted((*pair.places, k)))
                three = Found(places, left - float(explained[k]))
                found[size + int(sizes[list(pair.places)].sum())][places] = three
    return {s: sorted(found[s].values(), key=lambda f: f.left)[:keep] for s in sorted(found)}


def _centred(weighted: Array, weight: Array) -> Array:
    """Values times their weights [..., n_rows], without what is a constant's."""
    constant = weight / np.linalg.norm(weight)
    return np.asarray(weighted - (weighted @ constant)[..., None] * constant)


def _blocks(sizes: Array) -> list[tuple[int, int, int]]:
    """Size, first and last place of blocks of one size each."""
    blocks = []
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    for start, end in pairwise(edges):
        for first in range(start, end, _BLOCK):
            blocks.append((int(sizes[start]), first, min(first + _BLOCK, end)))
    return blocks


def _pairs(left: Array, right: Array, r: Array, s: Array, room: Array) -> Array:
    """What each two explain [n_left, n_right], in the second half of `room`: fresh memory for every
    block is given back by some allocators, and costs more than the arithmetic."""
    gram, more = (half[: len(r) * len(s)].reshape(len(r), len(s)) for half in room)
    np.matmul(left, right.T, out=gram)
    np.multiply(gram, s, out=more)
    np.subtract(r[:, None], more, out=more)
    more *= more
    gram *= gram
    np.subtract(1.0, gram, out=gram)
    np.maximum(gram, _LEAST, out=gram)
    more /= gram
    more += s * s
    return np.asarray(more)


def _largest_of_all(values: Array, keep: int) -> Array:
    """Rows and columns [n, 2] of the largest of a matrix: all are in the rows with the largest."""
    rows = _largest(values.max(axis=1), keep)
    best = values[rows]
    row, column = np.divmod(_largest(best.ravel(), keep), values.shape[1])
    return np.stack([rows[row], column], axis=1)


def _largest(values: Array, keep: int) -> Array:
    if len(values) <= keep:
        return np.arange(len(values))
    return np.argpartition(values, len(values) - keep)[-keep:]
