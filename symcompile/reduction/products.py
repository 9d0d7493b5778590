"""Sums of products of coordinates: `affine(x) + sum_j w_j a_j(x) gate(b_j(x))`, without a search.

The block's own units are where it starts, as many of them as are asked for: those that explain most
of what a linear map leaves over. All coordinates are then fitted together by gradient descent, and
directions and affine map in the end by least squares.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import to_float64
from symcompile.modules.region import LowRankMap, Projection
from symcompile.modules.schedule import one_cycle
from symcompile.modules.state import same_random_state
from symcompile.reduction.linear import Metric, Regression
from symcompile.reduction.neurons import Units
from symcompile.target import Products

# Rows of a step, and the largest step, in inputs, features and outputs of standard deviation one.
_BATCH, _STEP = 2048, 1e-2
# Share of the rows that tell when to stop, and how often they are asked.
_ASKED, _EVERY = 0.1, 50
# Rows that units are chosen and terms are scaled on.
_CHOOSING = 20_000
# Rows that go through at once.
_AT_ONCE = 16_384

_GATES: dict[str | None, Callable[[torch.Tensor], torch.Tensor]] = {
    None: lambda b: b,
    "sigmoid": torch.sigmoid,
    "silu": nn.functional.silu,
}
# The term of two coordinates as an equation.
_SPELLED = {None: "{a}*{b}", "sigmoid": "{a}*sigmoid({b})", "silu": "{a}*{b}*sigmoid({b})"}


class Fitted(NamedTuple):
    """Of a block: coordinates a_1, ..., a_m, b_1, ..., b_m, directions of the terms, and what these
    are added to; the last is None without a rank."""

    coordinates: Projection
    directions: Projection
    affine: LowRankMap | None


def texts_of(products: Products) -> list[str]:
    """The terms over z0, z1, ..., in their order."""
    count, spelled = products.terms, _SPELLED[products.gate]
    return [spelled.format(a=f"z{k}", b=f"z{k + count}") for k in range(count)]


@dataclass(frozen=True)
class ProductsFit:
    """A fit of products beside an affine map of `rank`, 0 for a constant alone.

    Attributes:
        X, Y: what is fitted, [n_samples, n_inputs] and [n_samples, n_outputs].
        units: what the block itself reads, see `neurons`.
        metric: how errors of the outputs count.
    """

    X: Array
    Y: Array
    products: Products
    rank: int
    units: Sequence[Units]
    metric: Metric
    seed: int = 0

    def run(self) -> Fitted:
        linear = Regression(self.X, self.Y, self.metric)
        std = self.X.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        scaled = _Scaled(self.X, self.Y, linear.x_mean, std, linear.y_mean, self.metric)
        network = _Network(self._start(linear, scaled), self.products.gate)
        with same_random_state():
            _train(network, scaled, self.products.steps, self.seed)
        return self._solved(network, scaled, linear)

    # --- where it starts ---------------------------------------------------------------------

    def _start(self, linear: Regression, scaled: _Scaled) -> dict[str, Array]:
        """Parameters of the network, of standardised inputs."""
        terms, std = self.products.terms, scaled.std
        affine = linear.of_rank(max(self.rank, 1))
        spread = linear.directions[1][: max(self.rank, 1)]
        spread = np.where(spread > 0, spread, 1.0)[:, None]
        chosen = self._chosen(linear)
        a, b = (np.array([getattr(pair, side) for pair in chosen]) for side in ("a", "b"))
        random = np.random.default_rng(self.seed)
        missing = terms - len(chosen)
        more = random.normal(size=(2, missing, len(std) + 1)) / np.sqrt(len(std))
        more[..., -1] = 0.0
        if len(chosen):
            a, b = (_of_standardised(side, linear.x_mean, std) for side in (a, b))
            a, b = np.concatenate([a, more[0]]), np.concatenate([b, more[1]])
        else:
            a, b = more
        down = (affine.down * std / spread)[: self.rank]
        return {"down": down, "a": a[:, :-1], "a0": a[:, -1], "b": b[:, :-1], "b0": b[:, -1]}

    def _chosen(self, linear: Regression) -> list[_Pair]:
        """The pairs of the block's own units that explain most of what a linear map leaves over."""
        some = np.random.default_rng(self.seed).permutation(len(self.X))[:_CHOOSING]
        X = self.X[some]
        left = (self.Y[some] - linear.y_mean) @ self.metric.root
        left -= (X - linear.x_mean) @ linear.weight
        best, explained = list[_Pair](), 0.0
        for gate, value in self._pairings():
            a, b = (X @ units.weight.T + units.bias for units in (value, gate))
            H = a * _GATES[self.products.gate](torch.from_numpy(b)).numpy()
            H -= (X - linear.x_mean) @ Regression(X, H, Metric.of(None, H.shape[1])).weight
            weight = Regression(H, left, Metric.of(None, left.shape[1])).weight
            alone = H.var(axis=0) * np.square(weight).sum(axis=1)
            total = float(np.square((H - H.mean(axis=0)) @ weight).sum())
            if total > explained:
                order = np.argsort(-alone, kind="stable")[: self.products.terms]
                best, explained = [_Pair.of(value, gate, int(k)) for k in order], total
        return best

    def _pairings(self) -> Iterator[tuple[Units, Units]]:
        """Layers that may be gate and value of the same units."""
        if len(self.units) == 1:
            yield self.units[0], self.units[0]
        for gate, value in itertools.permutations(self.units, 2):
            if len(gate.bias) == len(value.bias):
                yield gate, value

    # --- where it ends -----------------------------------------------------------------------

    def _solved(self, network: _Network, scaled: _Scaled, linear: Regression) -> Fitted:
        """Directions and affine map by least squares, for the coordinates that were found."""
        parts = {name: to_float64(value) for name, value in network.state_dict().items()}
        features = network.features_of(scaled.X)
        fitted = Regression(features, self.Y, self.metric)
        weight = (fitted.weight @ self.metric.inverse).T
        bias = fitted.y_mean - weight @ fitted.x_mean
        std, mean = scaled.std, linear.x_mean
        components = np.concatenate([parts["a"], parts["b"]]) / std
        offset = np.concatenate([parts["a0"], parts["b0"]])
        coordinates = Projection(mean, components, np.linalg.pinv(components).T, offset)
        up, directions = weight[:, : self.rank], weight[:, self.rank :].T
        down = parts["down"] / std
        affine = LowRankMap(down, up, bias - up @ (down @ mean)) if self.rank else None
        rest = np.zeros(len(bias)) if self.rank else bias
        written = Projection(rest, np.linalg.pinv(directions).T, directions)
        return Fitted(coordinates, written, affine)


class _Pair(NamedTuple):
    """Weights of a value and its gate, each [n_inputs + 1] with the bias last."""

    a: Array
    b: Array

    @classmethod
    def of(cls, value: Units, gate: Units, k: int) -> _Pair:
        return cls(*(np.append(units.weight[k], units.bias[k]) for units in (value, gate)))


def _of_standardised(weights: Array, mean: Array, std: Array) -> Array:
    """The same coordinates as functions of `(x - mean) / std`; biases last."""
    bias = weights[:, -1] + weights[:, :-1] @ mean
    return np.column_stack([weights[:, :-1] * std, bias])


# --- gradient descent ------------------------------------------------------------------------


class _Scaled:
    """Samples as the network sees them: float32, inputs standardised, outputs in the metric's
    coordinates and all together of variance one."""

    def __init__(
        self, X: Array, Y: Array, x_mean: Array, std: Array, y_mean: Array, metric: Metric
    ) -> None:
        self.std = std
        self.X = torch.from_numpy(((X - x_mean) / std).astype(np.float32))
        Z = (Y - y_mean) @ metric.root
        size = float(np.sqrt(np.square(Z).mean()))
        self.Y = torch.from_numpy((Z / (size or 1.0)).astype(np.float32))


class _Network(nn.Module):
    """The block, in the coordinates that it is trained in: parameters down [rank, n_inputs], a and
    b [terms, n_inputs] with constants a0 and b0, out [n_outputs, rank + terms] with constant out0.
    """

    down: torch.Tensor
    a: torch.Tensor
    a0: torch.Tensor
    b: torch.Tensor
    b0: torch.Tensor
    out: torch.Tensor
    out0: torch.Tensor

    def __init__(self, start: dict[str, Array], gate: str | None) -> None:
        super().__init__()
        self.gate = gate
        for name, value in start.items():
            tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
            self.register_parameter(name, nn.Parameter(tensor))

    def features(self, X: torch.Tensor) -> torch.Tensor:
        """What outputs are linear in [n, rank + terms]."""
        weight = torch.cat([self.down, self.a, self.b])
        zeros = self.a0.new_zeros(len(self.down))
        z = nn.functional.linear(X, weight, torch.cat([zeros, self.a0, self.b0]))
        linear, a, b = z.split([len(self.down), len(self.a), len(self.b)], dim=-1)
        return torch.cat([linear, a * _GATES[self.gate](b)], dim=-1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.features(X), self.out, self.out0)

    @torch.no_grad()
    def features_of(self, X: torch.Tensor) -> Array:
        return np.concatenate([to_float64(self.features(rows)) for rows in X.split(_AT_ONCE)])

    @torch.no_grad()
    def standardise(self, X: torch.Tensor) -> None:
        """Scale the terms to standard deviation one, of which each is linear in its a."""
        spread = self.features(X)[:, len(self.down) :].std(dim=0)
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        self.a /= spread[:, None]
        self.a0 /= spread

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with the largest steps of each: Adam moves all weights of a sum alike, and
        what is their sum, of things of standard deviation one, is to move by no more than that."""
        inner = [self.down, self.a, self.a0, self.b, self.b0]
        return [
            {"params": some, "lr": min(_STEP, 1.0 / matrix.shape[1])}
            for some, matrix in ((inner, self.a), ([self.out, self.out0], self.out))
        ]

    def solve(self, scaled: _Scaled, rows: torch.Tensor) -> None:
        """Put directions and constant where least squares have them."""
        Y = to_float64(scaled.Y[rows])
        fitted = Regression(self.features_of(scaled.X[rows]), Y, Metric.of(None, Y.shape[1]))
        constant = fitted.y_mean - fitted.x_mean @ fitted.weight
        for name, value in (("out", fitted.weight.T), ("out0", constant)):
            tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
            self.register_parameter(name, nn.Parameter(tensor))


def _train(network: _Network, scaled: _Scaled, steps: int, seed: int) -> None:
    """Gradient descent by Adam; the network is left as it was when rows that it was not trained on
    were fitted best, its start included."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(scaled.X), generator=generator)
    count = max(1, round(_ASKED * len(order)))
    asked, rows = order[:count], order[count:]
    network.standardise(scaled.X[rows[:_CHOOSING]])
    network.solve(scaled, rows)
    optimizer = torch.optim.Adam(network.groups(), betas=(0.9, 0.98))
    cycle = one_cycle(optimizer, steps)
    best, state = _loss(network, scaled, asked), _copied(network)
    for step in range(1, steps + 1):
        some = rows[torch.randint(len(rows), (min(_BATCH, len(rows)),), generator=generator)]
        loss = (network(scaled.X[some]) - scaled.Y[some]).square().sum(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
        if step % _EVERY == 0 or step == steps:
            now = _loss(network, scaled, asked)
            if now < best:
                best, state = now, _copied(network)
    network.load_state_dict(state)


@torch.no_grad()
def _loss(network: _Network, scaled: _Scaled, rows: torch.Tensor) -> float:
    total = 0.0
    for some in rows.split(_AT_ONCE):
        total += float((network(scaled.X[some]) - scaled.Y[some]).square().sum())
    return total / len(rows)


def _copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
