"""A graph network that predicts accelerations, in the five variants of the paper, and its training.

Each pair of particles gives a message, a particle's messages are summed, and its acceleration is
computed from the sum and its own state (Cranmer et al. 2020, arXiv 2006.11287). Where messages have
as few dimensions as space, they have to be forces, or what a particle can turn into them. The
variants differ in how messages are kept few, see `VARIANTS`; of those that stay wide `narrowed`
keeps what is read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from particles import PARTICLES, pairs
from torch import Tensor, nn

from symcompile.passes.prune import Pruning

SPACE = 2
# The paper has 300; a step then takes seven times as long, and two minutes hold too few of them.
HIDDEN = 64
# Standard deviation of the shift, and of the L2 penalty the factor (its gradient has twice that).
SHIFT, DECAY = 3.0, 1e-8
# The paper adds up, for each graph, errors over particles and components, and what punishes
# messages over edges and dimensions, by particle: so much is an edge's beside the mean error here.
EDGE = (PARTICLES - 1) / (PARTICLES * SPACE)


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


def length(messages: Tensor) -> Tensor:
    """Mean sum of the sizes of a message's entries [..., d], a hundredth of it."""
    return 1e-2 * EDGE * messages.abs().sum(dim=-1).mean()


def divergence(messages: Tensor) -> Tensor:
    """Mean KL(N(mu, sigma^2) || N(0, 1)) of means and log-variances [..., 2 d].

    The paper has 37.5 times as much, the sum of a message by EDGE. Messages are then so noisy that
    networks of this size err up to five times as much, and 1 / r can no longer be read off them.
    """
    mean, log_variance = messages.chunk(2, dim=-1)
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


VARIANTS = {
    "standard": Variant(),
    "bottleneck": Variant(messages=SPACE),
    "L1": Variant(penalty=length),
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
        return self.node(torch.cat([states, received(messages)], dim=-1))


@dataclass(frozen=True)
class Training:
    """Sizes of one training. Batches count graphs; the rate falls to 0 along half a cosine."""

    steps: int
    batch: int = 32
    rate: float = 1e-3


def train(
    variant: Variant, states: Tensor, targets: Tensor, training: Training, seed: int
) -> GraphNetwork:
    """A trained network in evaluation mode.

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
        pruning.finish()
    return model


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


def narrowed(model: GraphNetwork, states: Tensor) -> GraphNetwork:
    """A copy whose messages [..., 2] are what the node model reads of those it had.

    Wide messages hold much else: what single states need, what cancels, the noise of first weights.
    An acceleration changes with the sum of messages by a gradient, and its direction tells where in
    them the node model looks for that component. Of `states` [n, 4, 6] it is the median: the few
    largest forces, which networks learn worst, don't decide.
    """
    result = copy.deepcopy(model)
    edge, node = result.edge[-1], result.node[0]
    assert isinstance(edge, nn.Linear)
    assert isinstance(node, nn.Linear)
    size = node.in_features - states.shape[-1]
    with torch.no_grad():
        messages = model.edge(pairs(states))[..., :size]  # of Gaussian ones the means
    reads = readings(model, states, received(messages))
    back = torch.linalg.pinv(reads)
    with torch.no_grad():
        own, given = node.weight.split([states.shape[-1], size], dim=1)
        # What is not read stays at its mean.
        rest = messages.flatten(0, -2).mean(dim=0)
        rest = (PARTICLES - 1) * (rest - back @ (reads @ rest))
        weight, bias = edge.weight[:size], edge.bias[:size]
        result.edge[-1] = linear(reads @ weight, reads @ bias)
        result.node[0] = linear(torch.cat([own, given @ back], dim=1), node.bias + given @ rest)
    result.variational = False
    return result.eval()


def readings(model: GraphNetwork, states: Tensor, sums: Tensor) -> Tensor:
    """Median gradients [2, d] of both accelerations by the sums of messages [n, 4, d]."""
    sums = sums.detach().requires_grad_()
    with torch.enable_grad():
        found = model.node(torch.cat([states, sums], dim=-1)).flatten(0, -2).sum(dim=0)
        gradients = [torch.autograd.grad(one, sums, retain_graph=True)[0] for one in found]
    return torch.stack([median(one.flatten(0, -2)) for one in gradients])


def median(points: Tensor) -> Tensor:
    """The point [d] with the least sum of distances to others [n, d] (Weiszfeld 1937), whichever
    axes they are written in."""
    found = points.mean(dim=0)
    for _ in range(50):
        distances = (points - found).norm(dim=1, keepdim=True)
        weights = 1 / (distances + 1e-6 * distances.mean() + 1e-30)
        found = (weights * points).sum(dim=0) / weights.sum()
    return found


def received(messages: Tensor) -> Tensor:
    """Messages [n, 12, d] summed by the particle that receives them [n, 4, d]."""
    return messages.unflatten(1, (PARTICLES, PARTICLES - 1)).sum(dim=2)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
