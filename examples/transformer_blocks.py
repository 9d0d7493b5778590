"""What stands in the place of an MLP in transformer_mlps.py: the controls, from samples of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import nn

from symcompile.modules.region import LowRankMap, Projection
from symcompile.modules.samples import Samples
from symcompile.reduction.linear import Metric, Regression, principal


@dataclass(frozen=True)
class Case:
    """An MLP and what it was seen to do."""

    mlp: nn.Module
    samples: Samples

    @property
    def width(self) -> int:
        return self.samples.Y.shape[1]

    @cached_property
    def regression(self) -> Regression:
        """All linear maps are of one decomposition."""
        X, Y = self.samples.X_fit, self.samples.Y_fit
        return Regression(X, Y, Metric.of(None, self.width))

    @cached_property
    def components(self) -> tuple[Projection, Projection]:
        """All principal ones of inputs and of outputs."""
        X, Y = self.samples.X_fit, self.samples.Y_fit
        return principal(X, X.shape[1]), principal(Y, self.width)

    def projections(self, n_in: int, n_out: int) -> tuple[Projection, Projection]:
        """The first so many of inputs and outputs."""
        inputs, outputs = self.components
        first = replace(inputs, components=inputs.components[:n_in])
        return first, replace(outputs, components=outputs.components[:n_out])


class Constant(nn.Module):
    """The same output whatever comes in."""

    def __init__(self, value: np.ndarray) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand(*x.shape[:-1], -1)


class Passed(nn.Module):
    """The input as it is: the normalised one, which the paper calls a skip."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Kept(nn.Module):
    """The MLP itself between projections of its inputs and outputs."""

    def __init__(self, mlp: nn.Module, inputs: Projection, outputs: Projection) -> None:
        super().__init__()
        self.mlp = mlp
        self.before, self.after = onto(inputs), onto(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.mlp(self.before(x)))


def onto(projection: Projection) -> nn.Sequential:
    """To a few coordinates and back."""
    down, up = projection.components, projection.directions
    return nn.Sequential(affine(down, -down @ projection.mean), affine(up.T, projection.mean))


def affine(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
    return layer


def of_rank(case: Case, n_out: int) -> nn.Module:
    """The best linear map of a rank."""
    return low_rank(case.regression.of_rank(n_out))


def low_rank(found: LowRankMap) -> nn.Module:
    """One layer, or two where these have fewer weights."""
    n_out, n_in = len(found.up), found.down.shape[1]
    if found.rank * (n_in + n_out) >= n_in * n_out:
        return affine(found.up @ found.down, found.bias)
    return nn.Sequential(affine(found.down, None), affine(found.up, found.bias))


def between(case: Case, n_in: int, n_out: int) -> nn.Module:
    """Principal components of inputs and outputs, and the best linear map between them."""
    samples, (inputs, outputs) = case.samples, case.projections(n_in, n_out)
    X, Y = inputs.project(samples.X_fit), outputs.project(samples.Y_fit)
    small = Regression(X, Y, Metric.of(None, n_out)).of_rank(n_out)
    down = small.up @ small.down
    first = affine(down @ inputs.components, small.bias - down @ inputs.components @ inputs.mean)
    return nn.Sequential(first, affine(outputs.components.T, outputs.mean))


def kept(case: Case, n_in: int, n_out: int) -> nn.Module:
    return Kept(case.mlp, *case.projections(n_in, n_out))


LINEAR = "full linear map"


def controls(rank: int, n_in: int, n_out: int) -> dict[str, Callable[[Case], nn.Module]]:
    """By name.

    Args:
        rank: of the affine map in the symbolic blocks.
        n_in, n_out: principal components in the paper's recipe.
    """
    pca = f"PCA {n_in}->{n_out}"
    return {
        "zero output": lambda case: Constant(np.zeros(case.width)),
        "input passed through": lambda case: Passed(),
        "mean output": lambda case: Constant(case.samples.Y_fit.mean(axis=0)),
        f"{pca}, MLP kept": partial(kept, n_in=n_in, n_out=n_out),
        f"{pca}, linear between": partial(between, n_in=n_in, n_out=n_out),
        **{f"linear map of rank {r}": partial(of_rank, n_out=r) for r in (n_out, n_in, rank)},
        LINEAR: lambda case: of_rank(case, case.width),
    }
