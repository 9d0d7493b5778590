"""Blocks as functions of rows: their values, and their derivatives by the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import to_float64, without_gradients
from symcompile.modules.region import Region
from symcompile.modules.region_call import on_rows

Rows = Callable[[Array], Array]

# Entries of inputs and outputs that go through a block at once.
_ENTRIES = 1_000_000


class Function(NamedTuple):
    """A block on raw rows, in its own dtype and on its own device.

    Attributes:
        values: [n, n_inputs] -> [n, n_outputs].
        gradient: [n, n_inputs] -> [n, n_outputs, n_inputs].
    """

    values: Rows
    gradient: Rows


def autograd(
    call: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    *,
    n_outputs: int = 1,
    constant: float = math.nan,
) -> Function:
    """A block as a Function, from `call`: [n, n_inputs] -> [n, n_outputs].

    Each row of the output must depend on its own row of the input only, as a region's does; in a
    block that mixes rows the derivatives by other rows are added in.

    Args:
        n_outputs: how wide a result is, so that the rows of one call can be bounded.
        constant: the derivative of an output that autograd sees no inputs in: NaN where a block may
            have hidden them, 0 for equations.
    """

    def tensor(X: Array) -> torch.Tensor:
        return torch.as_tensor(np.asarray(X)).to(device=device, dtype=dtype)

    def values(X: Array) -> Array:
        pieces = map(tensor, _pieces(X, n_outputs))
        return np.concatenate([to_float64(without_gradients(partial(call, p))) for p in pieces])

    def gradient(X: Array) -> Array:
        with torch.enable_grad():
            rows = tensor(X).clone().requires_grad_()
            outputs = call(rows.clone())  # a block may write into its inputs
            slopes = [_slope(outputs[:, k], rows, constant) for k in range(outputs.shape[1])]
        return np.stack([to_float64(slope) for slope in slopes], axis=1)

    return Function(values, gradient)


def of_block(
    region: Region,
    block: nn.Module,
    device: torch.device | str = "cpu",
    *,
    constant: float = math.nan,
) -> Function:
    """A block in a region's place as a Function of its raw rows, see `autograd`."""
    call, dtype = on_rows(region, block), getattr(torch, region.dtype)
    n_outputs = region.interface.n_outputs
    return autograd(call, dtype, device, n_outputs=n_outputs, constant=constant)


def sound(
    call: Callable[[torch.Tensor], torch.Tensor],
    X: Array,
    columns: Sequence[int],
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> Array:
    """Rows [n] on which these outputs of a block, and their slopes, are finite numbers."""
    fine = []
    with torch.enable_grad():
        for piece in _pieces(X, len(columns)):
            rows = torch.as_tensor(piece).to(device=device, dtype=dtype).clone().requires_grad_()
            outputs = call(rows.clone())[:, list(columns)]
            finite = torch.isfinite(outputs), torch.isfinite(_slope(outputs, rows, 0.0))
            fine.append((finite[0].all(dim=1) & finite[1].all(dim=1)).cpu().numpy())
    return np.concatenate(fine)


def _pieces(X: Array, n_outputs: int) -> Iterator[Array]:
    """Rows that may go through a block at once."""
    most = max(1, _ENTRIES // (X.shape[1] + n_outputs))
    return (X[start : start + most] for start in range(0, max(len(X), 1), most))


def _slope(output: torch.Tensor, rows: torch.Tensor, constant: float) -> torch.Tensor:
    if not output.requires_grad:
        return torch.full_like(rows, constant)
    (slope,) = torch.autograd.grad(output.sum(), rows, retain_graph=True, allow_unused=True)
    return torch.zeros_like(rows) if slope is None else slope
