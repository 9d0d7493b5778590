"""A graph network that predicts accelerations, in the five variants of the paper, and its training.

Each pair of particles gives a message, a particle's messages are summed, and its acceleration is
computed from the sum and its own state (Cranmer et al. 2020, arXiv 2006.11287). Where messages have
as few dimensions as space, they have to be forces, or what a particle can turn into them. The
variants differ in how messages are kept few, see `VARIANTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from particles import PARTICLES, pairs
from torch import Tensor, nn

from symcompile.passes.prune import Pruning
from symcompile.pruning.importance import rank

SPACE = 2
# The paper has 300; a step then takes seven times as long, and two minutes hold too few of them.
HIDDEN = 64
# Standard deviation of the shift, and of the L2 penalty the factor (its gradient has twice that).
SHIFT, DECAY = 3.0, 1e-8


@dataclass(frozen=True)
class Variant:
    """Attributes:
    messages: dimensions of a message at the start.
    penalty: added to the loss, from what the edge model gave.
    variational: messages are Gaussian: means, then log-variances.
    prune: cut dimensions to those of space while training.
    """

    messages: int = 100
    penalty: Callable[[Tensor], Tensor] | None = None
    variational: bool = False
    prune: bool = False

    @property
    def narrow(self) -> bool:
        """Whether messages have as few dimensions as space, in the end."""
        return self.prune or self.messages == SPACE


def divergence(messages: Tensor) -> Tensor:
    """Mean KL(N(mu, sigma^2) || N(0, 1)) of means and log-variances [..., 2 d]."""
    mean, log_variance = messages.chunk(2, dim=-1)
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


VARIANTS = {
    "standard": Variant(),
    "bottleneck": Variant(messages=SPACE),
    "L1": Variant(penalty=lambda messages: 1e-2 * messages.abs().mean()),
    "KL": Variant(penalty=divergence, variational=True),
    "pruning": Variant(prune=True),
}


def mlp(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    sizes = [inputs, hidden, hidden, hidden]
    layers = [
        layer
        for size, following in pairwise(sizes)
        for layer in (nn.Linear(size, following), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class GraphNetwork(nn.Module):
    """States [n, 4, 6] to accelerations [n, 4, 2], by the modules `edge` and `node`."""

    def __init__(self, variant: Variant, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.variational = variant.variational
        self.edge = mlp(12, variant.messages * (2 if variant.variational else 1), hidden)
        self.node = mlp(6 + variant.messages, SPACE, hidden)

    def forward(self, states: Tensor) -> Tensor:
        messages = self.edge(pairs(states))
        if self.variational:
            mean, log_variance = messages.chunk(2, dim=-1)
            noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
            messages = mean + noise * (log_variance / 2).exp()
        received = messages.unflatten(1, (PARTICLES, PARTICLES - 1)).sum(dim=2)
        return self.node(torch.cat([states, received], dim=-1))


@dataclass(frozen=True)
class Training:
    """Sizes of one training. Batches count graphs; the rate falls to 0 along half a cosine."""

    steps: int
    batch: int = 32
    rate: float = 1e-3


def train(
    variant: Variant, states: Tensor, targets: Tensor, training: Training, seed: int
) -> tuple[GraphNetwork, list[int]]:
    """A trained network in evaluation mode, and the message dimensions that matter most.

    Args:
        states: [n, 4, 6], float32.
        targets: their accelerations [n, 4, 2].
    """
    torch.manual_seed(seed)
    model = GraphNetwork(variant)
    pruning = None
    if variant.prune:
        pruning = Pruning(model, "edge", keep=SPACE, steps=training.steps, until=0.65)
    seen: list[Tensor] = []
    hook = model.edge.register_forward_hook(lambda block, inputs, messages: seen.append(messages))

    def penalty() -> Tensor | float:
        messages = seen.pop()
        return 0.0 if variant.penalty is None else variant.penalty(messages)

    optimise(model, states, targets, training, penalty, pruning)
    hook.remove()
    model.eval()
    if pruning is not None:
        return model, pruning.finish()
    return model, most_important(model, states[:1000])


def optimise(
    model: nn.Module,
    states: Tensor,
    targets: Tensor,
    training: Training,
    penalty: Callable[[], Tensor | float] = float,
    pruning: Pruning | None = None,
) -> None:
    """Adam on batches that are each moved by one random shift: forces don't depend on place."""
    optimizer = torch.optim.Adam(
        model.parameters(), lr=training.rate, weight_decay=2 * DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / training.steps))
    )
    for _ in range(training.steps):
        rows = torch.randint(len(states), (training.batch,))
        loss = mean_absolute_error(model(shifted(states[rows])), targets[rows])
        optimizer.zero_grad()
        (loss + penalty()).backward()
        optimizer.step()
        schedule.step()
        if pruning is not None:
            pruning.step()


def shifted(states: Tensor) -> Tensor:
    """The same states somewhere else: all of them moved by one random shift."""
    moved = states.clone()
    moved[..., :2] += SHIFT * torch.randn(2)
    return moved


def mean_absolute_error(found: Tensor, targets: Tensor) -> Tensor:
    return (found - targets).abs().mean()


@torch.no_grad()
def most_important(model: GraphNetwork, states: Tensor) -> list[int]:
    """The two message dimensions that carry most, as columns of what the edge model gives."""
    messages = model.edge(pairs(states))
    return rank(messages, "kl" if model.variational else "std")[:SPACE].tolist()
