"""Biases take up a constant that is left out of what comes before them.

Where a block's output reaches the rest of a model through sums and linear layers only, a constant
in it is nothing but a part of the next biases, and whoever leaves it out has to add it there. A few
steps of training do not get there if the constant is large beside what varies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symcompile.modules.calling import Batch, evaluating, run, watched, without_gradients
from symcompile.modules.state import preserving, same_random_state

# How far a difference may be from constant: a share of itself, and one of what it is a part of.
_CONSTANT, _ROUNDING = 1e-3, 1e-5


def absorb(module: nn.Module, other: nn.Module, example: Batch) -> None:
    """Add to biases of `module` what makes its linear layers see what those of `other` see.

    Args:
        other: the same model, with constants in a block's output which that of `module` lacks.
        example: what both are run on.

    A layer whose inputs differ by more than a constant stays as it is, and so do frozen biases and
    layers behind: training has to deal with these.
    """
    goals = _inputs(other, example)
    absorbed: set[str] = set()
    while True:
        inputs = _inputs(module, example)
        untouched = (name for name in inputs if name not in absorbed)
        name = next((n for n in untouched if _differ(inputs[n], goals[n])), None)
        if name is None:
            return
        shift = _constant(inputs[name], goals[name])
        layer = module.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        if shift is None or layer.bias is None or not layer.bias.requires_grad:
            return
        with torch.no_grad():
            layer.bias.add_(layer.weight @ shift.to(layer.weight.dtype))
        absorbed.add(name)


def _differ(values: Tensor, goal: Tensor) -> bool:
    if values.shape != goal.shape:
        return True
    return bool((goal - values).abs().max() > _ROUNDING * values.abs().max())


def _constant(values: Tensor, goal: Tensor) -> Tensor | None:
    """The row [n_features] that all rows of the difference [n_rows, n_features] are, if so."""
    if values.shape != goal.shape:
        return None
    difference = goal - values
    row = difference.median(dim=0).values
    room = _CONSTANT * row.abs().max() + _ROUNDING * values.abs()
    return row if bool(((difference - row).abs() <= room).all()) else None


def _inputs(module: nn.Module, example: Batch) -> dict[str, Tensor]:
    """What each linear layer gets [n_rows, n_features], all calls together, in their order."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, call: Batch) -> None:
        values = (call.args[0] if call.args else call.kwargs["input"]).detach()
        seen.setdefault(name, []).append(values.reshape(-1, values.shape[-1]))

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    with watched(layers, note), same_random_state(), preserving(module), evaluating(module):
        without_gradients(lambda: run(module, example))
    return {name: torch.cat(calls) for name, calls in seen.items()}
