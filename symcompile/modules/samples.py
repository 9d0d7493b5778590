"""Samples of a region: what is kept of a stream of them, and which of them no fit may see."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.regression.dataset import Dataset
from symcompile.regression.folds import SMALL, fold_numbers
from symcompile.regression.losses import SQUARED, Loss

# From fewer rows nothing can be told: a line has two constants, and is judged on a third row.
MIN_SAMPLES = 4

HELD_OUT_BATCHES = "held-out batches"
HELD_OUT_ROWS = "held-out rows"
RECORDED_BATCHES = "recorded batches"
NO_BATCHES = "none"


@dataclass(frozen=True)
class Samples:
    """Inputs and outputs of one region.

    Attributes:
        X: inputs [n_samples, n_inputs], float64.
        Y: outputs [n_samples, n_outputs], float64.
        holdout: which samples no fit may see [n_samples], bool; none of them where there are few,
            see `folds`.
        weights: weight of each sample's squared error [n_samples], or None.
        metric: mean of `g g^T` [n_outputs, n_outputs] for gradients g of what the model is to
            minimise by the outputs of a sample; None where nobody has said what that is.
    """

    X: Array
    Y: Array
    holdout: Array
    weights: Array | None = None
    metric: Array | None = None

    @property
    def folds(self) -> Array | None:
        """The fold of each sample [n_samples], where none is held out: equations are then judged on
        each fold by constants that are fitted to the others."""
        return None if self.holdout.any() else fold_numbers(len(self.holdout))

    @property
    def judged(self) -> Array:
        """Which samples equations are judged on [n_samples]: those held out, else all."""
        return self.holdout if self.holdout.any() else ~self.holdout

    @property
    def X_fit(self) -> Array:
        return self.X[~self.holdout]

    @property
    def Y_fit(self) -> Array:
        return self.Y[~self.holdout]

    @property
    def weights_fit(self) -> Array | None:
        return None if self.weights is None else self.weights[~self.holdout]

    @property
    def X_holdout(self) -> Array:
        return self.X[self.holdout]

    @property
    def Y_holdout(self) -> Array:
        return self.Y[self.holdout]

    def datasets(
        self, output: int, loss: Loss = SQUARED, order: Array | None = None
    ) -> tuple[Dataset, Dataset]:
        """What equations of one output are fitted to, and what they are judged by; in an order of
        the samples [n_samples], or that which they have."""
        masks = ~self.holdout, self.judged
        rows = masks if order is None else tuple(order[mask[order]] for mask in masks)
        fit, judged = (
            Dataset(
                self.X[chosen],
                self.Y[chosen, output],
                None if self.weights is None else self.weights[chosen],
                loss,
            )
            for chosen in rows
        )
        folds = None if self.folds is None else self.folds[rows[1]]
        return fit, replace(judged, folds=folds)

    def thinned(self, count: int) -> Samples:
        """So many of them, evenly spread, in the same proportion held out; all if they are few."""
        if len(self.X) <= count:
            return self
        kept = np.zeros(len(self.X), dtype=bool)
        for mask in (self.holdout, ~self.holdout):
            rows = np.flatnonzero(mask)
            share = round(count * len(rows) / len(self.X))
            kept[rows[np.unique(np.linspace(0, len(rows) - 1, share).astype(int))]] = True
        weights = None if self.weights is None else self.weights[kept]
        X, Y, holdout = self.X[kept], self.Y[kept], self.holdout[kept]
        return replace(self, X=X, Y=Y, holdout=holdout, weights=weights)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest value of each input."""
        return tuple((float(c.min()), float(c.max())) for c in self.X.T)


def random_holdout(count: int, holdout: float, seed: int) -> Array:
    """A mask [count] with a random share held out, of a few none."""
    held = np.zeros(count, dtype=bool)
    if count >= SMALL:
        held[np.random.default_rng(seed).permutation(count)[: math.ceil(count * holdout)]] = True
    return held


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
            keys, rows = keys[keep], tuple(array[keep] for array in rows)
        self._keys, self._rows = keys, list(rows)

    def rows(self) -> list[Array]:
        return self._rows

    def __len__(self) -> int:
        return len(self._keys)
