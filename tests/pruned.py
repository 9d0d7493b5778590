"""A small model with an edge block to prune, and its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from symcompile.passes.prune import Pruning

WIDTH = 8


class Net(nn.Module):
    """Messages of pairs of inputs, summed; column k of an edge is about 10^-k in size."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, width))
        self.node = nn.Linear(width, 1)
        with torch.no_grad():
            self.edge[2].weight.mul_(10.0 ** -torch.arange(width).float()[:, None])
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.node(self.edge(x).sum(dim=-2))


def data(*shape: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-2)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pruning: Pruning,
    steps: range,
    watch: Callable[[], None] = lambda: None,
) -> None:
    for number in steps:
        x = data(16, 3, 2, seed=number)
        loss = (model(x) - x[..., :1].sin().sum(dim=-2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruning.step()
        watch()


def cut(model: nn.Module, keep: int, **options: Any) -> Pruning:
    """A pruning that has come down to `keep` in one step."""
    pruning = Pruning(model, "edge", keep=keep, steps=1, until=1, **options)
    model(data(16, 3, 2))
    pruning.step()
    return pruning
