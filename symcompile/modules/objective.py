"""Objectives: what a model is to minimise, as users write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from symcompile.errors import DataError
from symcompile.modules.calling import Batch

# Of a model's results and of what it was called with; the mean over a batch.
Objective: TypeAlias = Callable[..., torch.Tensor]


def loss_of(objective: Objective, result: Any, batch: Batch) -> torch.Tensor:
    """A tensor without dimensions; DataError if the objective gives no number."""
    loss = objective(result, *batch.args, **batch.kwargs)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        found = list(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise DataError(
            f"objective= gave {found}: expected a tensor of one number, the mean loss of the batch"
        )
    return loss.reshape(())


def independent(of: str) -> DataError:
    """The error of an objective that autograd can't follow to what it is about."""
    return DataError(
        f"objective= does not depend on {of}, as far as autograd can see: it has to be computed of"
        " the model's results, outside of torch.no_grad()"
    )
