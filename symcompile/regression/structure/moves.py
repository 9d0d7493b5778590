"""Moves: inputs that a claim says to give the same, but for factor and terms.

From recorded inputs one goes along the level set of the variables, and is brought back onto it by
Newton's method; never out of the recorded range of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.claim import FEWEST, Claim

# Inputs that are moved, and how far as shares of their ranges: the first that is possible.
ROWS, _LENGTHS = 160, (0.7, 0.35, 0.15, 0.05)
_STEP, _ROUNDS = 1e-6, 8
# Share of its spread by which a variable may differ, and part of a length that has to be gone.
_SAME, _LEAST = 1e-12, 0.5


def moves(claim: Claim, X: Array, seed: int = 0) -> tuple[Array, Array] | None:
    """Recorded inputs and where they are moved [n, n_inputs]; None where too few can be.

    Inputs that hold whole numbers only, or never vary, stay.
    """
    low, span = X.min(axis=0), np.ptp(X, axis=0)
    free = np.flatnonzero((span > 0) & (np.round(X) != X).any(axis=0))
    if not len(free):
        return None
    rng = np.random.default_rng(seed)
    base = X[np.sort(rng.permutation(len(X))[:ROWS])]
    unit = claim.values(X)[2].std(axis=0) if claim.variables else np.ones(0)
    if not np.isfinite(unit).all() or not (unit > 0).all():
        return None
    levels = _Levels(claim, unit, free, low, span)
    moved = list(levels.moved(base, rng))
    if sum(len(start) for start, _ in moved) < FEWEST:
        return None
    start, end = (np.concatenate(side) for side in zip(*moved, strict=True))
    return start, end


class _Levels:
    """Level sets of a claim's variables, in shares of the ranges of the inputs that move."""

    def __init__(self, claim: Claim, unit: Array, free: Array, low: Array, span: Array) -> None:
        self.claim, self.unit, self.free, self.low, self.span = claim, unit, free, low, span

    def inputs(self, base: Array, Z: Array) -> Array:
        X = base.copy()
        X[:, self.free] = self.low[self.free] + self.span[self.free] * Z
        return X

    def variables(self, base: Array, Z: Array) -> Array:
        return self.claim.values(self.inputs(base, Z))[2] / self.unit

    def slopes(self, base: Array, Z: Array) -> Array:
        """Of the variables by the inputs [n, n_variables, n_free]; zero where there is none."""
        columns = []
        for k in range(Z.shape[1]):
            step = np.zeros(Z.shape[1])
            step[k] = _STEP
            up, down = (self.variables(base, Z + s * step) for s in (1.0, -1.0))
            columns.append((up - down) / (2.0 * _STEP))
        return np.nan_to_num(np.stack(columns, axis=2), posinf=0.0, neginf=0.0)

    def moved(self, base: Array, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Each input as far as it goes."""
        Z = (base[:, self.free] - self.low[self.free]) / self.span[self.free]
        level, J = self.variables(base, Z), self.slopes(base, Z)
        inverse = np.linalg.pinv(J, rcond=1e-8)
        D = rng.normal(size=Z.shape)
        D = D - np.einsum("nij,nj->ni", inverse, np.einsum("nij,nj->ni", J, D))
        longest = np.abs(D).max(axis=1)
        left = np.flatnonzero(longest > 1e-6)
        D = D / np.maximum(longest, 1e-6)[:, None]
        for length in _LENGTHS:
            for step in (length, -length) if len(left) else ():
                W = self.returned(base[left], Z[left] + step * D[left], level[left])
                there = self.reached(base[left], Z[left], W, level[left], length)
                yield base[left[there]], self.inputs(base[left[there]], W[there])
                left = left[~there]

    def returned(self, base: Array, W: Array, level: Array) -> Array:
        """Back onto the level set, by the shortest way."""
        for _ in range(_ROUNDS if level.shape[1] else 0):
            off = np.nan_to_num(self.variables(base, W) - level, posinf=0.0, neginf=0.0)
            if (np.abs(off) <= 0.1 * _SAME * (1.0 + np.abs(level))).all():
                break
            inverse = np.linalg.pinv(self.slopes(base, W), rcond=1e-8)
            W = W - np.einsum("nij,nj->ni", inverse, off)
        return W

    def reached(
        self, base: Array, Z: Array, W: Array, level: Array, length: float
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which are on it, inside of the ranges, and not where they came from."""
        with np.errstate(all="ignore"):
            off = np.abs(self.variables(base, W) - level)
        scale = 1.0 + np.abs(level)
        on = (off <= _SAME * scale).all(axis=1)
        inside = ((W >= 0.0) & (W <= 1.0)).all(axis=1)
        return np.asarray(on & inside & (np.abs(W - Z).max(axis=1) > _LEAST * length))


Judged = tuple[Claim, float] | None


def asked(
    claims: Sequence[tuple[Claim, int]],
    X: Array,
    outputs: Callable[[Array], Array],
    spreads: Mapping[int, float],
    seed: int = 0,
) -> list[Judged]:
    """Each claim, of output number k, judged by what `outputs` gives; all are asked in one call.

    Args:
        X: recorded inputs [n_samples, n_inputs].
        outputs: [n, n_inputs] -> [n, n_outputs].
        spreads: standard deviation of outputs, by number.

    Returns for each what `Claim.judged` does; None where inputs can't be moved.
    """
    pairs = [moves(claim, X, seed) for claim, _ in claims]
    rows = [side for pair in pairs if pair is not None for side in pair]
    if not rows:
        return [None] * len(claims)
    values = iter(np.split(outputs(np.concatenate(rows)), np.cumsum([*map(len, rows)])[:-1]))
    return [
        None
        if pair is None
        else claim.judged(pair[0], next(values)[:, k], pair[1], next(values)[:, k], spreads[k])
        for (claim, k), pair in zip(claims, pairs, strict=True)
    ]
