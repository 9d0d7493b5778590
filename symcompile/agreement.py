"""Run a model and its traced graph side by side: a trace can be wrong without any error."""

from __future__ import annotations

import torch
from torch import nn

from symcompile.calling import home, map_tensors, run, same
from symcompile.hybrid import Batch
from symcompile.state import preserving


def agree(model: nn.Module, traced: nn.Module, batch: Batch) -> bool:
    """Whether a traced graph gives what the model gives; a model that fails proves nothing."""
    expected = attempt(model, batch)
    if isinstance(expected, Exception):
        return True
    found = attempt(traced, batch)
    return not isinstance(found, Exception) and same(expected, found)


def attempt(module: nn.Module, batch: Batch) -> object:
    """What a forward gives, or the exception that it raises, always from one random state."""
    device = home(module)[0]
    devices = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), preserving(module), torch.enable_grad():
            torch.manual_seed(0)
            return map_tensors(torch.Tensor.detach, run(module, batch))
    except Exception as error:  # what a user's forward raises is data here
        return error
