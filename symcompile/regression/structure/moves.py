"""Moves: inputs that a claim says to give the same, but for factor and terms.

From recorded inputs one goes along the level set of the variables, and is brought back onto it by
Newton's method; never out of the recorded range of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.structure.claim import FEWEST, Claim

# Inputs that are moved, how far as shares of their ranges, and how often each is tried.
ROWS, _LENGTHS, _TRIALS = 256, (0.7, 0.35, 0.15, 0.05), 2
_STEP, _ROUNDS = 1e-6, 8
# Share of its spread by which a variable may differ, and part of a length that has to be gone.
_SAME, _LEAST = 1e-12, 0.5


def moves(claim: Claim, X: Array, seed: int = 0) -> tuple[Array, Array] | None:
    """Recorded inputs and where they are moved [n, n_inputs]; None where too few can be.

    Inputs that hold whole numbers only, or never vary, stay.
    """
    low, span = X.min(axis=0), np.ptp(X, axis=0)
    free = np.flatnonzero((span > 0) & (X != np.round(X)).any(axis=0))
    if not len(free):
        return None
    rng = np.random.default_rng(seed)
    base = X[np.sort(rng.permutation(len(X))[:ROWS])]
    unit = claim.values(X)[2].std(axis=0) if claim.variables else np.ones(0)
    if not np.isfinite(unit).all() or not (unit > 0).all():
        return None
    levels = _Levels(claim, unit, free, low, span)
    starts, ends = [], []
    for start, end in levels.moved(base, rng):
        starts.append(start)
        ends.append(end)
    start, end = np.concatenate(starts), np.concatenate(ends)
    return (start, end) if len(start) >= FEWEST else None


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

    def moved(self, base: Array, rng: np.random.Generator) -> Iterable[tuple[Array, Array]]:
        """Each input as far as it goes."""
        Z = (base[:, self.free] - self.low[self.free]) / self.span[self.free]
        level, J = self.variables(base, Z), self.slopes(base, Z)
        inverse = np.linalg.pinv(J, rcond=1e-8)
        for _ in range(_TRIALS):
            D = rng.normal(size=Z.shape)
            D = D - np.einsum("nij,nj->ni", inverse, np.einsum("nij,nj->ni", J, D))
            longest = np.abs(D).max(axis=1, keepdims=True)
            D = np.where(longest > 1e-6, D / np.maximum(longest, 1e-6), 0.0)
            left = np.flatnonzero(longest[:, 0] > 1e-6)
            for length in _LENGTHS:
                W = self.returned(base[left], Z[left] + length * D[left], level[left])
                there = self.reached(base[left], Z[left], W, level[left], length)
                yield base[left[there]], self.inputs(base[left[there]], W[there])
                left = left[~there]

    def returned(self, base: Array, W: Array, level: Array) -> Array:
        """Back onto the level set, by the shortest way."""
        for _ in range(_ROUNDS if level.shape[1] else 0):
            off = np.nan_to_num(self.variables(base, W) - level, posinf=0.0, neginf=0.0)
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


def asked(
    claim: Claim, X: Array, outputs: Callable[[Array], Array], spread: float, seed: int = 0
) -> tuple[Claim, float] | None:
    """The claim judged by what `outputs` gives for inputs; see `Claim.judged`. None where there are
    no moves."""
    pair = moves(claim, X, seed)
    if pair is None:
        return None
    n = len(pair[0])
    y = outputs(np.concatenate(pair))
    return claim.judged(pair[0], y[:n], pair[1], y[n:], spread)
