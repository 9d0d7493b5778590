"""The Linear layers of a block: projections of its inputs and outputs, and its affine map.

They are layers like those of the model around them: trained, quantised and adapted (LoRA) as those
are. What they hold after training is read back into the region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from symcompile.expressions.evaluation import Array
from symcompile.modules.calling import to_float64
from symcompile.modules.region import LowRankMap, Projection, Region

PROJECT_IN, PROJECT_OUT = "project_in", "project_out"
AFFINE_DOWN, AFFINE_UP = "affine_down", "affine_up"


class Weights(NamedTuple):
    """Of a Linear layer: weight [n_out, n_in], bias [n_out] or None."""

    weight: Array
    bias: Array | None = None


def of_input(name: str, tensor: int) -> str:
    """What the layer of one input tensor is called: the first as if there were no others."""
    return f"{name}{tensor or ''}"


def is_layer(name: str) -> bool:
    """Whether a submodule of a block is a layer of its own; else it is what stays neural in it."""
    return name.rstrip("0123456789") in (PROJECT_IN, PROJECT_OUT, AFFINE_DOWN, AFFINE_UP)


def layers_of(region: Region) -> dict[str, Weights]:
    """The layers of a region's block, by name."""
    layers: dict[str, Weights] = {}
    if region.projection_in is not None:
        projection = region.projection_in
        bias = projection.project(np.zeros((1, region.interface.n_inputs)))[0]
        layers |= _of_inputs(region, PROJECT_IN, Weights(projection.components, bias))
    if region.affine is not None:
        layers |= _of_inputs(region, AFFINE_DOWN, Weights(region.affine.down))
        layers[AFFINE_UP] = Weights(region.affine.up, region.affine.bias)
    if region.projection_out is not None:
        # An affine map has the mean in its own bias.
        projection = region.projection_out
        bias = projection.reconstruct(np.zeros((1, region.n_equations)))[0]
        in_affine = region.affine is not None and not bias.any()
        layers[PROJECT_OUT] = Weights(projection.directions.T, None if in_affine else bias)
    return layers


def _of_inputs(region: Region, name: str, whole: Weights) -> dict[str, Weights]:
    """A product for each input tensor, so that their sample shapes may differ."""
    return {
        of_input(name, k): Weights(whole.weight[:, columns], None if k else whole.bias)
        for k, columns in enumerate(region.interface.input_slices)
    }


def linear_layer(weights: Weights, dtype: torch.dtype, device: torch.device) -> nn.Linear:
    """A layer with these weights; no random number is drawn for it."""
    n_out, n_in = weights.weight.shape
    bias = weights.bias is not None
    layer: nn.Linear = nn.utils.skip_init(
        nn.Linear, n_in, n_out, bias=bias, device=device, dtype=dtype
    )
    with torch.no_grad():
        layer.weight.copy_(_tensor(weights.weight))
        if weights.bias is not None:
            layer.bias.copy_(_tensor(weights.bias))
    return layer


def with_layers_of(region: Region, module: nn.Module) -> Region:
    """The region with what the layers of its block hold now; the same one where nothing has changed
    them. What was not changed stays the float64 that it was."""
    was = layers_of(region)
    now = {name: _read(module.get_submodule(name), before) for name, before in was.items()}
    if all(now[name] is was[name] for name in was):
        return region
    changed = region
    if region.projection_in is not None:
        weight, bias = _joined(region, PROJECT_IN, now)
        assert bias is not None
        mean = region.projection_in.mean
        back = np.linalg.pinv(weight).T
        changed = replace(
            changed, projection_in=Projection(mean, weight, back, bias + weight @ mean)
        )
    if region.projection_out is not None and now[PROJECT_OUT] is not was[PROJECT_OUT]:
        # What the equations have to give is what serves the new directions best.
        weight, bias = now[PROJECT_OUT]
        mean = np.zeros(len(weight)) if bias is None else bias
        projection = Projection(mean, np.linalg.pinv(weight), weight.T)
        changed = replace(changed, projection_out=projection)
    if region.affine is not None:
        down, _ = _joined(region, AFFINE_DOWN, now)
        up, bias = now[AFFINE_UP]
        assert bias is not None
        changed = replace(changed, affine=LowRankMap(down, up, bias))
    return changed


def _joined(region: Region, name: str, layers: Mapping[str, Weights]) -> Weights:
    parts = [layers[of_input(name, k)] for k in range(len(region.interface.inputs))]
    return Weights(np.concatenate([part.weight for part in parts], axis=1), parts[0].bias)


def _read(layer: nn.Module, before: Weights) -> Weights:
    """The weights of a layer; `before` itself where it holds them, in its own type."""
    own = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    now = [own.get(name) for name in ("weight", "bias")]
    if all(_holds(a, b) for a, b in zip(now, before, strict=True)):
        return before
    weight, bias = (None if a is None else to_float64(a) for a in now)
    assert weight is not None
    return Weights(weight, bias)


def _holds(tensor: torch.Tensor | None, values: Array | None) -> bool:
    """Whether a tensor is these values, up to rounding: a bias was computed from a mean."""
    if tensor is None or values is None:
        return values is None
    was = _tensor(values).to(tensor.dtype)
    rounding = 4 * torch.finfo(tensor.dtype).eps * float(was.abs().max())
    return bool((tensor.detach().cpu() - was).abs().max() <= rounding)


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
