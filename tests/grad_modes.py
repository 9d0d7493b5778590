"""Forwards that decide themselves what gets a gradient, around two linear layers."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Reversed(torch.autograd.Function):
    """The identity, whose gradient changes its sign."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, slope):
        return -slope


class Layers(nn.Module):
    def __init__(self, use: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.head, self.use = nn.Linear(2, 2), nn.Linear(2, 1), use

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.use(self, x)


def plain(m, x):
    return m.head(torch.tanh(m.backbone(x)))


def no_grad(m, x):
    with torch.no_grad():
        hidden = m.backbone(x)
    return m.head(hidden)


def inference_mode(m, x):
    with torch.inference_mode():
        hidden = m.backbone(x)
    return m.head(hidden.clone())


def set_grad_enabled(m, x):
    with torch.set_grad_enabled(False):
        hidden = m.backbone(x)
    return m.head(hidden)


def enable_grad(m, x):
    with torch.enable_grad():
        return m.head(m.backbone(x))


def asks_for_the_mode(m, x):
    hidden = m.backbone(x)
    return m.head(hidden if torch.is_grad_enabled() else 2 * hidden)


def own_backward(m, x):
    return m.head(Reversed.apply(m.backbone(x)))


def autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = m.backbone(x)
    return m.head(hidden.float())


def checkpointed(m, x):
    return m.head(checkpoint(m.backbone, x, use_reentrant=False))


def straight_through(m, x):
    hidden = m.backbone(x)
    return m.head(hidden + (hidden.round() - hidden).detach())


def detached_weights(m, x):
    weights = {name: p.detach() for name, p in m.backbone.named_parameters()}
    return m.head(torch.func.functional_call(m.backbone, weights, (x,)))


def force(m, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        energy = m.head(torch.tanh(m.backbone(x))).sum()
        return -torch.autograd.grad(energy, x, create_graph=True)[0]


def force_in_training(m, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        energy = m.head(torch.tanh(m.backbone(x))).sum()
        return -torch.autograd.grad(energy, x, create_graph=m.training)[0]


# Whether torch.fx keeps what they do.
FORWARDS: dict[str, tuple[Callable[[nn.Module, torch.Tensor], torch.Tensor], bool]] = {
    one.__name__: (one, kept)
    for one, kept in (
        (plain, True),
        (no_grad, False),
        (inference_mode, False),
        (set_grad_enabled, False),
        (enable_grad, False),
        (asks_for_the_mode, False),
        (own_backward, False),
        (autocast, False),
        (checkpointed, True),
        (straight_through, True),
        (detached_weights, False),
        (force, False),
        (force_in_training, False),
    )
}
