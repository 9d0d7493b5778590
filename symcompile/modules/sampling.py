"""Reservoir sampling: a uniform sample of a stream, in memory bounded by its size."""

from __future__ import annotations

import numpy as np

from symcompile.expressions.evaluation import Array


class Reservoir:
    """Keeps `size` rows of a stream of (X, Y) rows, each row with equal probability.

    Every row draws one random key, and the rows with the smallest keys stay: the sample depends on
    the seed and the order of the rows, not on how they are cut into batches.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._random = np.random.default_rng(seed)
        self._keys: Array = np.empty(0)
        self._rows: list[Array] = []

    def add(self, *rows: Array) -> None:
        """Offer arrays with the same number of rows."""
        count = len(rows[0])
        self.seen += count
        keys = self._random.random(count)
        if self._rows:
            low = keys < (self._keys.max() if len(self._keys) == self.size else np.inf)
            if not low.any():
                return
            keys = np.concatenate([self._keys, keys[low]])
            pairs = zip(self._rows, rows, strict=True)
            rows = tuple(np.concatenate([old, new[low]]) for old, new in pairs)
        if len(keys) > self.size:
            # In the order of the stream, so that equal seeds give equal samples.
            keep = np.sort(np.argpartition(keys, self.size - 1)[: self.size])
            keys, rows = keys[keep], tuple(part[keep] for part in rows)
        self._keys, self._rows = keys, list(rows)

    def rows(self) -> list[Array]:
        return self._rows

    def __len__(self) -> int:
        return len(self._keys)
