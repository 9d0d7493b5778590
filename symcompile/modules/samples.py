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
    the seed and the order of the rows, not on how they are cut into batches. A row that is kept is
    written once, in the place of one that is not kept any more.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._random = np.random.default_rng(seed)
        # Of each row that is kept: its key, and its number in the stream.
        self._keys: Array = np.empty(0)
        self._numbers: Array = np.empty(0, dtype=np.int64)
        # With room for more, all of the same length.
        self._kept: list[Array] = []

    def add(self, *rows: Array) -> None:
        """Offer arrays with the same number of rows."""
        new = np.arange(len(rows[0]))
        keys = self._random.random(len(new))
        if len(self) == self.size:
            new = new[keys < self._keys.max()]
        every = np.concatenate([self._keys, keys[new]])
        lost = np.empty(0, dtype=np.int64)
        if len(every) > self.size:
            lost = np.argpartition(every, self.size - 1)[self.size :]
            new = np.delete(new, lost[lost >= len(self)] - len(self))
        grown = min(self.size, len(every))
        places = np.concatenate([lost[lost < len(self)], np.arange(len(self), grown)])
        self._make_room(rows, grown)
        self._keys[places], self._numbers[places] = keys[new], self.seen + new
        for kept, offered in zip(self._kept, rows, strict=True):
            kept[places] = offered[new]
        self.seen += len(rows[0])

    def _make_room(self, rows: tuple[Array, ...], count: int) -> None:
        """For so many rows: twice as many as before, so that none is moved often."""
        self._keys = np.resize(self._keys, count)
        self._numbers = np.resize(self._numbers, count)
        have = len(self._kept[0]) if self._kept else 0
        if count <= have and self._kept:
            return
        room = min(self.size, max(count, 2 * have))
        more = [np.empty((room - have, *array.shape[1:])) for array in rows]
        before = self._kept or [array[:0] for array in rows]
        self._kept = [np.concatenate(pair) for pair in zip(before, more, strict=True)]

    def rows(self) -> list[Array]:
        """Those that are kept, in the order of the stream, so that equal seeds give equal
        samples; none before any were offered."""
        count = len(self)
        if (np.diff(self._numbers) > 0).all():
            return [kept[:count] for kept in self._kept]
        order = np.argsort(self._numbers)
        return [kept[order] for kept in self._kept]

    def __len__(self) -> int:
        return len(self._keys)
