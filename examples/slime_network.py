"""The black boxes of the SLIME benchmark: small networks that know the units of their inputs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from slime_data import Table
from torch import nn

LEARNING_RATE, BATCH = 1e-3, 64
# The paper's 100 to 200 epochs, fewer where there are many rows: as many steps.
EPOCHS, MOST_STEPS = 150, 15_000


class Standardised(nn.Module):
    """A network of inputs as they are: it takes off their means, and divides by their deviations."""

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
        return self.layers((x - self.mean) / self.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of classes [n, n_classes], or values [n, 1], of x [n, n_features]."""
        scores = self.scores(x)
        if self.is_classifier:
            return scores.softmax(dim=-1)
        return scores * self.target[1] + self.target[0]


def trained(table: Table, X: pd.DataFrame, y: np.ndarray, seed: int) -> Standardised:
    """A network of two hidden layers, trained with Adam on these rows."""
    torch.manual_seed(seed)
    rows = X.to_numpy(np.float64)
    width, outputs = (64, len(table.classes)) if table.classes else (128, 1)
    layers = nn.Sequential(
        *(nn.Linear(rows.shape[1], width), nn.ReLU()),
        *(nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, outputs),
    )
    network = Standardised(rows, layers, None if table.classes else y)
    inputs = torch.tensor(rows, dtype=torch.float32)
    if table.classes:
        wanted, loss = torch.tensor(y), nn.CrossEntropyLoss()
    else:
        mean, scale = network.target
        wanted, loss = (torch.tensor(y, dtype=torch.float32)[:, None] - mean) / scale, nn.MSELoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    steps = min(EPOCHS * -(-len(rows) // BATCH), MOST_STEPS)
    order = torch.Generator().manual_seed(seed)
    batches = iter(())
    for _ in range(steps):
        if (batch := next(batches, None)) is None:
            batches = iter(torch.randperm(len(rows), generator=order).split(BATCH))
            batch = next(batches)
        optimizer.zero_grad()
        loss(network.scores(inputs[batch]), wanted[batch]).backward()
        optimizer.step()
    return network.eval()
