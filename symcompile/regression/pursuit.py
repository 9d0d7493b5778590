"""Orthogonal pursuit: sums of few of many columns that come near an output, found without a search.

`greedy` adds one column after the other, the one that the residual points at most (orthogonal
matching pursuit, Pati, Rezaiifar and Krishnaprasad 1993). `beam` compares what columns add beside
those that are chosen (orthogonal least squares, Chen, Billings and Luo 1989), keeps several sums,
since of two like columns the one that does better alone is often not the one that does better
beside others, and exchanges each term of a sum for a better one, as long as there is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.least_squares import linear

Support = tuple[int, ...]

_BEAM, _BRANCH, _KEPT = 8, 8, 2
# What is left of a column beside those that are chosen, as a share of it: below, it is one of them.
_NEW = 1e-6
# A residual below this share of the output's norm is rounding.
_EXACT = 1e-12


@dataclass(frozen=True)
class Library:
    """Weighted columns of unit norm [n_samples, n_columns], a constant's column, and the target.

    Attributes:
        norms: what the columns and the constant's were divided by.
        kept: which of the given columns these are: those that are neither zero nor too large.
    """

    columns: Array
    constant: Array
    target: Array
    norms: Array
    constant_norm: float
    kept: Array

    @classmethod
    def of(cls, values: Array, y: Array, weights: Array) -> Library:
        """Of values [n_samples, n_columns], which are overwritten: there are millions of them."""
        root = np.sqrt(weights)
        values *= root[:, None]
        norms = np.sqrt(np.einsum("ij,ij->j", values, values))
        kept = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        if len(kept) < len(norms):
            values, norms = values[:, kept], norms[kept]
        values /= norms
        size = float(np.linalg.norm(root))
        return cls(values, root / size, y * root, norms, size, kept)

    def greedy(self, deadline: float) -> Iterator[tuple[Array, Array]]:
        """Columns of longer and longer sums, and their coefficients before the values that were
        given, the constant first; until the fit is exact or there is no time left."""
        chosen: list[int] = []
        residual = self.target - self.constant * (self.constant @ self.target)
        most = min(len(self.kept), len(self.target) - 2)
        while len(chosen) < most and time.monotonic() < deadline:
            gains = np.abs(self.columns.T @ residual)
            gains[chosen] = -1.0
            chosen.append(int(gains.argmax()))
            basis = np.column_stack([self.constant, self.columns[:, chosen]])
            coefficients = linear(basis, self.target)
            residual = self.target - basis @ coefficients
            yield (
                self.kept[chosen],
                coefficients / np.array([self.constant_norm, *self.norms[chosen]]),
            )
            if np.linalg.norm(residual) <= _EXACT * np.linalg.norm(self.target):
                return

    def beam(self, most: int, deadline: float) -> list[Support]:
        """Columns of the best few sums of 1, 2, ... up to `most` terms beside a constant."""
        supports: list[Support] = [()]
        result: dict[Support, None] = {}
        for _ in range(most):
            if time.monotonic() >= deadline:
                break
            longer = dict.fromkeys(s for chosen in supports for s in self._longer(chosen, _BRANCH))
            supports = sorted(longer, key=self._error)[:_BEAM]
            result |= dict.fromkeys(self._exchanged(chosen) for chosen in supports[:_KEPT])
        return [tuple(self.kept[list(chosen)].tolist()) for chosen in result]

    def _fit(self, chosen: Support) -> tuple[Array, Array]:
        """Orthonormal basis of the chosen columns with the constant, and the residual."""
        columns = np.hstack([self.constant[:, None], self.columns[:, list(chosen)]])
        basis = np.linalg.qr(columns)[0]
        return basis, self.target - basis @ (basis.T @ self.target)

    def _error(self, chosen: Support) -> float:
        return float(np.square(self._fit(chosen)[1]).sum())

    def _longer(self, chosen: Support, branch: int) -> list[Support]:
        """The sums with one column more that have the lowest errors, the lowest first."""
        basis, residual = self._fit(chosen)
        left = 1.0 - np.square(basis.T @ self.columns).sum(axis=0)
        gains = np.square(residual @ self.columns) / np.maximum(left, _NEW)
        gains[left <= _NEW] = 0.0
        best = np.argsort(-gains, kind="stable")[:branch]
        return [tuple(sorted((*chosen, int(column)))) for column in best if gains[column] > 0]

    def _exchanged(self, chosen: Support) -> Support:
        error = self._error(chosen)
        while True:
            shorter = [tuple(c for c in chosen if c != gone) for gone in chosen]
            trials = [trial for rest in shorter for trial in self._longer(rest, 1)]
            best = min(trials, key=self._error, default=chosen)
            if not self._error(best) < error * (1.0 - _NEW):
                return chosen
            chosen, error = best, self._error(best)
