"""What a block itself reads of its inputs: the units of Linear layers that stand first in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import evaluating, home, to_float64
from symcompile.modules.region import Region
from symcompile.modules.region_call import on_rows
from symcompile.modules.state import same_random_state

# Rows that the block is run on to see which layers read its inputs.
_ROWS = 8


class Units(NamedTuple):
    """Of a Linear layer: weight [n_units, n_inputs], bias [n_units]."""

    weight: Array
    bias: Array


def units_of(region: Region, block: nn.Module, X: Array) -> list[Units]:
    """The Linear layers that read the inputs of a block as they are, in the order of their calls;
    none where it has no such layers, or more than one input tensor.

    Args:
        X: some inputs [n_samples, n_inputs].
    """
    if len(region.interface.inputs) != 1:
        return []
    device, _ = home(block)
    dtype = getattr(torch, region.dtype)
    rows = torch.from_numpy(np.ascontiguousarray(X[:_ROWS])).to(device, dtype)
    found: list[Units] = []

    def seen(layer: nn.Module, args: Any) -> None:
        given = args[0] if args else None
        if not isinstance(layer, nn.Linear) or not isinstance(given, torch.Tensor):
            return
        if given.numel() == rows.numel() and torch.equal(given.reshape(rows.shape), rows):
            weight = to_float64(layer.weight)
            bias = np.zeros(len(weight)) if layer.bias is None else to_float64(layer.bias)
            found.append(Units(weight, bias))

    layers = [module for module in block.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(seen) for layer in layers]
    try:
        with torch.no_grad(), evaluating(block), same_random_state():
            on_rows(region, block)(rows)
    finally:
        for hook in hooks:
            hook.remove()
    return found
