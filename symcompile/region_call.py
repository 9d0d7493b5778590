"""Call a block on rows of X: the bridge between float64 arrays and a region's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from symcompile.calling import evaluating, tensors
from symcompile.evaluation import Array
from symcompile.opaque import build_arguments
from symcompile.region import Region

_ROWS_AT_ONCE = 8192


def input_tensors(
    region: Region, X: Array, device: torch.device, dtype: torch.dtype
) -> list[torch.Tensor]:
    """The region's inputs as tensors [n_samples, features] (or [n_samples]) for X
    [n_samples, n_inputs]."""
    found, start = [], 0
    for one in region.interface.inputs:
        part = torch.from_numpy(np.ascontiguousarray(X[:, start : start + one.features]))
        found.append((part[:, 0] if one.scalar else part).to(device, dtype))
        start += one.features
    return found


def call(region: Region, module: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Outputs side by side [n_samples, n_outputs] for the tensors of one call."""
    args, kwargs = build_arguments(region.interface, inputs)
    names = {one.parameter for one in region.interface.inputs}
    extra = {n: v for n, v in region.settings.items() if n not in names and not n.startswith("*")}
    found = tensors(module(*args, **(extra | kwargs)))
    pairs = zip(found, region.interface.outputs, strict=True)
    return torch.cat([t.unsqueeze(-1) if one.scalar else t for t, one in pairs], dim=-1)


def values(
    region: Region, module: nn.Module, X: Array, device: torch.device, dtype: torch.dtype
) -> Array:
    """Outputs Y [n_samples, n_outputs] of a block, in evaluation mode, without gradients."""
    parts = []
    with torch.no_grad(), evaluating(module):
        for start in range(0, len(X), _ROWS_AT_ONCE):
            rows = input_tensors(region, X[start : start + _ROWS_AT_ONCE], device, dtype)
            parts.append(call(region, module, rows).to("cpu", torch.float64).numpy())
    return np.concatenate(parts)


def gradients(
    region: Region, module: nn.Module, X: Array, device: torch.device, dtype: torch.dtype
) -> Array:
    """Derivatives [n_samples, n_outputs, n_inputs] of a block's outputs by its inputs."""
    with evaluating(module), torch.enable_grad():
        inputs = [t.requires_grad_(True) for t in input_tensors(region, X, device, dtype)]
        # Rows do not mix in a region, so the gradient of the sum is every row's own.
        outputs = call(region, module, inputs)
        rows = [_by_inputs(outputs[:, k].sum(), inputs) for k in range(outputs.shape[-1])]
    return np.stack(rows, axis=1)


def _by_inputs(total: torch.Tensor, inputs: Sequence[torch.Tensor]) -> Any:
    if not total.requires_grad:
        return np.concatenate([np.zeros(_matrix(t).shape) for t in inputs], axis=1)
    found = torch.autograd.grad(
        total, list(inputs), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return np.concatenate([_matrix(t) for t in found], axis=1)


def _matrix(tensor: torch.Tensor) -> Array:
    plain = tensor.detach().to("cpu", torch.float64)
    return np.asarray((plain.unsqueeze(-1) if plain.ndim == 1 else plain).numpy())
