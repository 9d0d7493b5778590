"""Fine-tune: train what was put in the regions' places, all of it together, and nothing else.

These are a block's few parameters: projections, affine map and constants. Other layers may adapt by
low-rank updates (LoRA, by the `peft` library), where the user asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any

import torch
from torch import nn

from symcompile.errors import ChoiceError, DataError, EngineError
from symcompile.modules.batches import as_batches
from symcompile.modules.calling import Batch, run
from symcompile.modules.recorder import Objective, scalar_of
from symcompile.modules.schedule import one_cycle

# Of the gradient of all parameters together, so that no single batch throws the blocks off.
_LARGEST_NORM = 1.0


def finetune(
    module: nn.Module,
    parameters: list[nn.Parameter],
    data: Any,
    objective: Objective,
    *,
    steps: int,
    learning_rate: float,
    lora: Any = None,
) -> tuple[float, ...]:
    """Train parameters of a module in place, by Adam with one cycle of step sizes.

    Args:
        data: batches, which are gone through again where they are fewer than the steps.
        objective: of the module's results and of what it was called with.
        lora: a `peft.LoraConfig`, for low-rank updates of other layers that are trained along and
            merged into them.

    Returns the loss of each step. Raises DataError for no data or an objective that gives no number
    of what is trained, ChoiceError if the loss is not finite (the parameters are then as they were
    before), EngineError if peft is missing.
    """
    _, batches = as_batches(data, module)
    before = [parameter.detach().clone() for parameter in parameters]
    losses: list[float] = []
    with _adapted(module, lora) as (adapted, added):
        trained = [*parameters, *added]
        if not trained:
            raise ChoiceError("there is nothing to train: no target was replaced")
        optimizer = torch.optim.Adam(trained, lr=learning_rate)
        schedule = one_cycle(optimizer, steps)
        for batch, _ in zip(_again(batches), range(steps), strict=False):
            loss = _loss(adapted, batch, objective)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                _put(parameters, before)
                raise ChoiceError(
                    f"the loss of step {len(losses)} is {losses[-1]}: train with a lower"
                    " learning_rate; the equations are as they were"
                )
            _step(loss, trained, optimizer)
            schedule.step()
    return tuple(losses)


def _again(batches: Iterable[Batch]) -> Iterator[Batch]:
    kept: list[Batch] = []

    def noted() -> Iterator[Batch]:
        for batch in batches:
            kept.append(batch)
            yield batch

    return chain(noted(), chain.from_iterable(repeat(kept)))


def _loss(module: nn.Module, batch: Batch, objective: Callable[..., Any]) -> torch.Tensor:
    with torch.enable_grad():
        loss = scalar_of(objective(run(module, batch), *batch.args, **batch.kwargs))
    if not loss.requires_grad:
        raise DataError(
            "objective= does not depend on what is trained, as far as autograd can see: it has to"
            " be computed of the model's results, outside of torch.no_grad()"
        )
    return loss


def _step(
    loss: torch.Tensor, trained: list[nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Gradients of what is trained alone: those of the rest of the model would cost as much."""
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(trained, _LARGEST_NORM)
    optimizer.step()
    optimizer.zero_grad()


def _put(parameters: list[nn.Parameter], values: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


@contextmanager
def _adapted(module: nn.Module, lora: Any) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """The module with low-rank updates, and their parameters; afterwards these are merged, and what
    needs gradients is what did before."""
    if lora is None:
        yield module, []
        return
    try:
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise EngineError("lora= needs the peft library: pip install peft") from error
    needed = {name: one.requires_grad for name, one in module.named_parameters()}
    wrapped = LoraModel(module, {"default": lora}, "default")
    try:
        added = [one for name, one in module.named_parameters() if "lora_" in name]
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed.get(name.replace(".base_layer.", "."), True))
        yield module, added
    finally:
        wrapped.merge_and_unload()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed[name])
