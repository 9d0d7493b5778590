"""The network that finds three coordinates in ten and their rates of change, and its training.

Most of the time goes into one matrix product, so the gradient is written out by hand: with its
arrays kept between steps, a step takes half of the time that autograd takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 64
RATE, BATCH, EPOCHS = 1e-3, 8000, 3000
PENALTY = 1e-4  # on the squares of the latent state and of its rate of change
_CHUNK = 2000  # columns that are worked on at a time, few enough to stay in the cache


class LatentDynamics(nn.Module):
    """x [n, 10] to its rate of change: h = x W^T + b, hdot = mlp(h), xdot = hdot (W^T)^+.

    The decoder is the encoder's pseudo-inverse, computed anew in each forward: it has no weights.
    """

    def __init__(self, n_observed: int = 10, n_latent: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Linear(n_observed, n_latent)
        self.mlp = nn.Sequential(
            nn.Linear(n_latent, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, n_latent),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.encoder(x)) @ torch.linalg.pinv(self.encoder.weight.T)


def loss(model: nn.Module, x: Tensor, xdot: Tensor) -> Tensor:
    """E|xdot - xdot_hat|^2 + 1e-4 (E|h|^2 + E|hdot|^2), means over rows and columns.

    For the network and for what it is compiled to, whatever stands in the place of its block.
    """
    found = model(x)
    h = nn.functional.linear(x, model.encoder.weight, model.encoder.bias)
    hdot = found @ model.encoder.weight.T  # the encoder undoes its own pseudo-inverse
    return (found - xdot).square().mean() + PENALTY * (h.square().mean() + hdot.square().mean())


def train(
    model: LatentDynamics,
    x: Tensor,
    xdot: Tensor,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    seed: int = 0,
) -> list[float]:
    """Adam on batches drawn anew in each epoch; the weights of the best epoch are kept.

    The best is that of the lowest loss on the whole of x [n, 10], measured after each epoch whose
    mean loss over its batches is the lowest so far.

    Args:
        x, xdot: observations and their rates of change [n, 10], float32.

    Returns the mean loss of each epoch.
    """
    by_hand = _ByHand(model)
    optimizer = torch.optim.Adam(by_hand.weights, RATE, fused=True)
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(len(x), 1)
    rows = torch.cat([x, ones, xdot], 1)
    history: list[float] = []
    lowest, best = math.inf, [weight.clone() for weight in by_hand.weights]
    for _ in range(epochs):
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        total = 0.0
        for part in shuffled.split(batch):
            total += by_hand.gradients(part) * len(part) / len(rows)
            optimizer.step()
        improved = total < min(history, default=math.inf)
        history.append(total)
        if improved and (found := by_hand.loss(rows)) < lowest:
            lowest, best = found, [weight.clone() for weight in by_hand.weights]
    for weight, kept in zip(by_hand.weights, best, strict=True):
        weight.copy_(kept)
    by_hand.write(model)
    return history


def fine_tune(
    module: nn.Module,
    x: Tensor,
    xdot: Tensor,
    *,
    epochs: int,
    rate: float,
    batch: int = BATCH,
    seed: int = 0,
) -> None:
    """Adam on whatever the compiled model lets be trained, the best epoch kept as in `train`."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, rate)
    generator = torch.Generator().manual_seed(seed)
    lowest, best = math.inf, [p.detach().clone() for p in parameters]
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(batch):
            optimizer.zero_grad()
            loss(module, x[rows], xdot[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            found = float(loss(module, x, xdot))
        if found < lowest:
            lowest, best = found, [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, kept in zip(parameters, best, strict=True):
            parameter.copy_(kept)


@dataclass
class _Arrays:
    """What one chunk passes on, samples in columns; a row of ones below inputs is for biases."""

    inputs: list[Tensor]
    slopes: list[Tensor]
    hdot: Tensor
    error: Tensor

    @classmethod
    def of(cls, widths: list[int], n_observed: int, n: int) -> _Arrays:
        inputs = [torch.ones(width + 1, n) for width in widths]
        slopes = [torch.empty(width, n) for width in widths]
        return cls(inputs, slopes, torch.empty(widths[0], n), torch.empty(n_observed, n))


class _ByHand:
    """Loss and gradients of a LatentDynamics for rows [n, 10 + 1 + 10] of x, 1 and xdot.

    Attributes:
        weights: encoder and layers [n_out, n_in + 1], the bias in the last column.
    """

    def __init__(self, model: LatentDynamics) -> None:
        self.linears = [model.encoder, *(m for m in model.mlp if isinstance(m, nn.Linear))]
        self.weights = [
            torch.cat([m.weight, m.bias[:, None]], 1).detach().clone() for m in self.linears
        ]
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)
        self.arrays: dict[int, _Arrays] = {}

    def write(self, model: LatentDynamics) -> None:
        """Put the weights into the model."""
        with torch.no_grad():
            for linear, weight in zip(self.linears, self.weights, strict=True):
                linear.weight.copy_(weight[:, :-1])
                linear.bias.copy_(weight[:, -1])

    def loss(self, rows: Tensor) -> float:
        decoder = torch.linalg.pinv(self.weights[0][:, :-1])
        return sum(self.forward(part.T, decoder, len(rows)) for part in rows.split(_CHUNK))

    def gradients(self, rows: Tensor) -> float:
        """The loss; its gradients are left in the weights' `grad`."""
        encoder = self.weights[0][:, :-1].clone().requires_grad_()
        decoder = torch.linalg.pinv(encoder)
        for weight in self.weights:
            weight.grad.zero_()
        fixed, slope, total = decoder.detach(), torch.zeros_like(decoder), 0.0
        for part in rows.split(_CHUNK):
            total += self.forward(part.T, fixed, len(rows))
            self.backward(part.T, fixed, slope, len(rows))
        self.weights[0].grad[:, :-1] += torch.autograd.grad(decoder, encoder, slope)[0]
        return total

    def chunk(self, n: int) -> _Arrays:
        if n not in self.arrays:
            widths = [m.in_features for m in self.linears[1:]]
            self.arrays[n] = _Arrays.of(widths, self.linears[0].in_features, n)
        return self.arrays[n]

    def forward(self, part: Tensor, decoder: Tensor, n: int) -> float:
        """Share of the loss over n rows that these columns make."""
        arrays = self.chunk(part.shape[1])
        observed = self.linears[0].in_features
        encoder, *layers = self.weights
        torch.mm(encoder, part[: observed + 1], out=arrays.inputs[0][:-1])
        for layer, given, taken in zip(layers, arrays.inputs, arrays.inputs[1:], strict=False):
            torch.mm(layer, given, out=taken[:-1]).relu_()
        torch.mm(layers[-1], arrays.inputs[-1], out=arrays.hdot)
        torch.mm(decoder, arrays.hdot, out=arrays.error).sub_(part[observed + 1 :])
        sizes = (arrays.error, arrays.inputs[0][:-1], arrays.hdot)
        error, h, hdot = (float(torch.linalg.vector_norm(a)) ** 2 / len(a) / n for a in sizes)
        return error + PENALTY * (h + hdot)

    def backward(self, part: Tensor, decoder: Tensor, slope_of_decoder: Tensor, n: int) -> None:
        """Add these columns' share to the gradients, from what forward left in the arrays."""
        arrays = self.chunk(part.shape[1])
        observed, penalty = self.linears[0].in_features, 2 * PENALTY / len(arrays.hdot) / n
        encoder, *layers = self.weights
        error = arrays.error.mul_(2.0 / observed / n)
        slope_of_decoder.addmm_(error, arrays.hdot.T)
        slope = torch.mm(decoder.T, error).add_(arrays.hdot, alpha=penalty)
        for k in reversed(range(len(layers))):
            layers[k].grad.addmm_(slope, arrays.inputs[k].T)
            slope = torch.mm(layers[k][:, :-1].T, slope, out=arrays.slopes[k])
            if k > 0:  # of a ReLU's output, the sign is the slope
                slope.mul_(arrays.inputs[k][:-1].sign())
        slope.add_(arrays.inputs[0][:-1], alpha=penalty)
        encoder.grad.addmm_(slope, part[: observed + 1].T)
