"""Small models for tests, each with one trait that a front end has to cope with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Law(nn.Module):
    """2.5 * x0 * x1 + x0 of the last dimension, for any rank."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.scale * x[..., 0] * x[..., 1] + x[..., 0]).unsqueeze(-1)


class Net(nn.Module):
    """`block` (Law at first) between two neural layers."""

    def __init__(self, block: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(2, 2)
        self.block = block or Law()
        self.after = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.block(torch.tanh(self.before(x)) * 2))


class Stack(nn.Module):
    """Layers of two kinds of block, for globs; nothing is called but the layers' own parts."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
            self.norm = nn.LayerNorm(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.mlp(self.norm(x))

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([self.Layer() for _ in range(layers)])
        self.head = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Graph(nn.Module):
    """Message passing: messages of pairs of nodes are summed into each node."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.node = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        source, target = edge_index
        messages = self.edge(torch.cat([x[target], x[source]], dim=-1))
        return self.node(torch.cat([x, torch.zeros_like(x).index_add(0, target, messages)], -1))


def graph_batch(nodes: int = 12, edges: int = 40, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(nodes, 2, generator=random),
        "edge_index": torch.randint(nodes, (2, edges), generator=random),
    }


class Derivative(nn.Module):
    """d net / d x, from a forward that differentiates."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.requires_grad_(True)
        (slope,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return slope


class Masked(nn.Module):
    """torch.fx traces the masked path, whatever `mask` is."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = self.block(x)
        if mask is not None:
            y = y * mask
        return y


class Dropping(nn.Module):
    """torch.fx bakes `self.training` into the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.block(x), 0.5, training=self.training)


class Sized(nn.Module):
    """Under torch.fx the number of rows is not known, and 8 is taken for it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = 8 if isinstance(x, torch.fx.Proxy) else len(x)
        return self.block(x) + torch.arange(size).unsqueeze(-1)


class Branching(nn.Module):
    """torch.fx can't trace a branch on values."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.block(x)
        return y if y.sum() > 0 else -y


class Leftovers(nn.Module):
    """Parameters and buffers that the forward does not use, and traces that it leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(2, 2)
        self.spare = nn.Linear(3, 3)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.last: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.last = self.block(x) + self.hidden
        return self.last


class Calling(nn.Module):
    """Calls `block` as `call(block, x)` says."""

    def __init__(self, block: nn.Module, call: Any) -> None:
        super().__init__()
        self.block, self.call = block, call

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(self.block, x)


class Block(nn.Module):
    """A block whose forward is given as a function of any signature."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.forward = function


def state_of(model: nn.Module) -> dict[str, Any]:
    """What must not change: modes, hooks, and every value of parameters and buffers."""
    return {
        "modes": [(name, part.training) for name, part in model.named_modules()],
        "hooks": [
            len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()
        ],
        "plain": [
            {n: id(v) for n, v in part.__dict__.items() if not isinstance(v, (bool, dict))}
            for part in model.modules()
        ],
        "values": {n: v.tolist() for n, v in model.state_dict().items()},
        "grad": {n: (p.requires_grad, p.grad is None) for n, p in model.named_parameters()},
    }
