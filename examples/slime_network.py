"""The black boxes of the SLIME benchmark: small networks that know the units of their inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from slime_data import Table
from torch import nn

LEARNING_RATE, BATCH = 1e-3, 64
# The epochs are those of the paper, which had 100 to 200; of many rows the steps run out first.
EPOCHS, MOST_STEPS = 150, 15_000
# Units of each hidden layer, for classes and for values.
OF_CLASSES, OF_VALUES = 64, 128


class Standardised(nn.Module):
    """A network of inputs as they are: it takes off their means, and divides by their deviations.

    Args:
        X: training rows [n_rows, n_features], for means and deviations.
        y: values to regress on [n_rows]; None for classes.
    """

    def __init__(self, X: np.ndarray, layers: nn.Sequential, y: np.ndarray | None) -> None:
        super().__init__()
        deviation = X.std(axis=0)
        self.register_buffer("mean", torch.tensor(X.mean(axis=0), dtype=torch.float32))
        scale = np.where(deviation > 0, deviation, 1.0)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.layers = layers
        # Of a regression: its outputs are in the units of the target.
        known = (0.0, 1.0) if y is None else (float(y.mean()), float(y.std()))
        self.register_buffer("target", torch.tensor(known, dtype=torch.float32))
        self.is_classifier = y is None

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of classes [n, n_classes], or standardised values [n, 1]."""
        return self.layers((x - self.mean) / self.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of classes [n, n_classes], or values [n, 1], of x [n, n_features]."""
        scores = self.scores(x)
        if self.is_classifier:
            return scores.softmax(dim=-1)
        return scores * self.target[1] + self.target[0]

    def wanted(self, y: np.ndarray) -> torch.Tensor:
        """What scores should be like: numbers of classes [n], or standardised values [n, 1]."""
        if self.is_classifier:
            return torch.tensor(y)
        return (torch.tensor(y, dtype=torch.float32)[:, None] - self.target[0]) / self.target[1]

    def quality(self, X: pd.DataFrame, y: np.ndarray) -> float:
        """On rows that it may not have seen: the share of classes that are right, or R2."""
        with torch.no_grad():
            said = self(torch.tensor(X.to_numpy(np.float32))).numpy()
        if self.is_classifier:
            return float((said.argmax(axis=1) == y).mean())
        return float(1.0 - np.square(said[:, 0] - y).mean() / y.var())


def trained(
    table: Table, X: pd.DataFrame, y: np.ndarray, seed: int, most_steps: int = MOST_STEPS
) -> Standardised:
    """A network of two hidden layers, trained with Adam on these rows."""
    torch.manual_seed(seed)
    rows = X.to_numpy(np.float64)
    layers = _layers(rows.shape[1], len(table.classes))
    network = Standardised(rows, layers, None if table.classes else y)
    inputs, wanted = torch.tensor(rows, dtype=torch.float32), network.wanted(y)
    loss = nn.CrossEntropyLoss() if table.classes else nn.MSELoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for batch in _batches(len(rows), seed, most_steps):
        optimizer.zero_grad()
        loss(network.scores(inputs[batch]), wanted[batch]).backward()
        optimizer.step()
    return network.eval()


def _layers(n_features: int, n_classes: int) -> nn.Sequential:
    width = OF_CLASSES if n_classes else OF_VALUES
    return nn.Sequential(
        *(nn.Linear(n_features, width), nn.ReLU()),
        *(nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, n_classes or 1),
    )


def _batches(n_rows: int, seed: int, most: int) -> Iterator[torch.Tensor]:
    """Numbers of rows, each row once an epoch; at most so many batches."""
    generator, left = torch.Generator().manual_seed(seed), most
    for _ in range(EPOCHS):
        batches = torch.randperm(n_rows, generator=generator).split(BATCH)[:left]
        yield from batches
        left -= len(batches)
