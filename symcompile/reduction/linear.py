"""What least squares give: principal components, and the best linear map of a rank.

Where it is known how much the model loses by an error of the block (`metric`, the mean of `g g^T`
for gradients g of its loss), directions of the outputs count by that: a component along which the
model does not care is no component.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symcompile.expressions.evaluation import Array
from symcompile.modules.region import LowRankMap, Projection

# Strengths of a ridge that are tried, as shares of the largest eigenvalue.
_STRENGTHS = np.logspace(-12, 1, 27)
# Directions in which the model loses less than this share of the most are taken as if it lost that
# share: what a sample of gradients says of them is rounding.
_FLOOR = 1e-6


@dataclass(frozen=True)
class Metric:
    """How errors of outputs count: as the squares of `e @ root`, root [n_outputs, n_outputs]."""

    root: Array
    inverse: Array

    @classmethod
    def of(cls, losses: Array | None, n_outputs: int) -> Metric:
        """From the mean of `g g^T` [n_outputs, n_outputs]; without it all count alike."""
        if losses is None or not np.trace(losses) > 0:
            return cls(np.eye(n_outputs), np.eye(n_outputs))
        squares, axes = np.linalg.eigh(losses)
        scale = np.sqrt(np.maximum(squares, _FLOOR * squares[-1]))
        scale /= np.sqrt(np.mean(scale**2))
        return cls((axes * scale) @ axes.T, (axes / scale) @ axes.T)


def principal(values: Array, count: int) -> Projection:
    """The first principal components of values [n, d]."""
    mean = values.mean(axis=0)
    _, _, axes = np.linalg.svd(values - mean, full_matrices=False)
    return Projection(mean, _signed(axes[:count]))


def _signed(axes: Array) -> Array:
    """The sign of a component is arbitrary: its largest entry is made positive."""
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.asarray(axes * np.where(largest < 0, -1.0, 1.0)[:, None])


class Regression:
    """The linear regression of outputs on inputs, by rank.

    The strength of the ridge is that of the lowest generalised cross-validation (Golub, Heath and
    Wahba 1979, https://doi.org/10.1080/00401706.1979.10489751), of all outputs together.

    Args:
        X, Y: [n_samples, n_inputs] and [n_samples, n_outputs].
        metric: how errors of the outputs count.
    """

    def __init__(self, X: Array, Y: Array, metric: Metric) -> None:
        self.metric, self.n = metric, len(X)
        self.x_mean, self.y_mean = X.mean(axis=0), Y.mean(axis=0)
        # Sums of products, so that nothing of the size of the samples is made twice.
        self._xx = (X.T @ X) / self.n - np.outer(self.x_mean, self.x_mean)
        xy = (X.T @ Y) / self.n - np.outer(self.x_mean, self.y_mean)
        self._xy = xy @ metric.root
        yy = (Y.T @ Y) / self.n - np.outer(self.y_mean, self.y_mean)
        self._total = float((metric.root * (yy @ metric.root)).sum())

    @cached_property
    def weight(self) -> Array:
        """Of the full map, [n_inputs, n_outputs] in the metric's coordinates."""
        squares, axes = np.linalg.eigh(self._xx)
        squares = np.maximum(squares, 0.0)
        along = axes.T @ self._xy
        power = np.square(along).sum(axis=1)
        best, chosen = np.inf, 0.0
        for strength in _STRENGTHS * squares[-1]:
            shrunk = 1.0 / (squares + strength)
            left = self._total - float((power * shrunk * (2.0 - squares * shrunk)).sum())
            freedom = 1.0 - float((squares * shrunk).sum() + 1.0) / self.n
            score = max(left, 0.0) / max(freedom, 1e-12) ** 2
            if score < best:
                best, chosen = score, strength
        return np.asarray(axes @ (along / (squares + chosen)[:, None]))

    @cached_property
    def directions(self) -> tuple[Array, Array]:
        """Directions of the outputs in the metric's coordinates [n_outputs, n_outputs], by how far
        the map moves along each, and its standard deviation along each."""
        moved = self.weight.T @ self._xx @ self.weight
        squares, axes = np.linalg.eigh(moved)
        axes = _signed(axes.T[::-1]).T
        return axes, np.sqrt(np.maximum(squares[::-1], 0.0))

    def of_rank(self, rank: int) -> LowRankMap:
        """The best map of that rank."""
        axes, _ = self.directions
        down = (self.weight @ axes[:, :rank]).T
        up = self.metric.inverse @ axes[:, :rank]
        return LowRankMap(down, up, self.y_mean - up @ (down @ self.x_mean))

    def inputs(self, count: int) -> Projection:
        """The coordinates that the best map of this rank reads, of standard deviation one."""
        axes, spread = self.directions
        scale = np.where(spread > 0, spread, 1.0)[:count]
        components = (self.weight @ axes[:, :count] / scale).T
        # Back to inputs as regression has them: the most likely ones with these coordinates.
        basis = np.linalg.pinv(components @ self._xx @ components.T) @ components @ self._xx
        return Projection(self.x_mean, components, basis)

    def outputs(self, count: int) -> Projection:
        """The directions that the best map of this rank writes."""
        axes, _ = self.directions
        components = axes[:, :count].T @ self.metric.root
        return Projection(self.y_mean, components, axes[:, :count].T @ self.metric.inverse)
