"""Fine-tune: train what was put in the regions' places, all of it together, and nothing else.

These are a block's few parameters: projections, affine map and constants. Other layers may adapt by
low-rank updates (LoRA, by the `peft` library), where the user asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch import nn

from symcompile.errors import ChoiceError, EngineError
from symcompile.modules.batches import as_batches
from symcompile.modules.calling import Batch, run
from symcompile.modules.objective import Objective, independent, loss_of
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
    of what is trained, ChoiceError if the loss is not finite, EngineError if peft is missing.
    Whatever ends the training before its end, the module is then as it was.
    """
    _, batches = as_batches(data, module)
    before = [parameter.detach().clone() for parameter in parameters]
    with _adapted(module, lora) as (adapted, added):
        trained = [*parameters, *added]
        if not trained:
            raise ChoiceError("there is nothing to train: no target was replaced")
        optimizer = torch.optim.Adam(trained, lr=learning_rate)
        schedule = one_cycle(optimizer, steps)
        losses: list[float] = []
        try:
            for batch in islice(_again(batches), steps):
                loss = _loss(adapted, batch, objective)
                losses.append(_finite(loss, len(losses) + 1))
                _step(loss, trained, optimizer)
                schedule.step()
        except BaseException:
            _put(parameters, before)
            raise
    return tuple(losses)


def _finite(loss: torch.Tensor, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ChoiceError(
            f"the loss of step {step} is {value}: train with a lower learning_rate; the equations"
            " are as they were"
        )
    return value


def _again(batches: Iterable[Batch]) -> Iterator[Batch]:
    kept: list[Batch] = []

    def noted() -> Iterator[Batch]:
        for batch in batches:
            kept.append(batch)
            yield batch

    return chain(noted(), chain.from_iterable(repeat(kept)))


def _loss(module: nn.Module, batch: Batch, objective: Callable[..., Any]) -> torch.Tensor:
    with torch.enable_grad():
        loss = loss_of(objective, run(module, batch), batch)
    if not loss.requires_grad:
        raise independent("what is trained")
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
    """The module with low-rank updates, and their parameters; afterwards these are merged, or gone
    where training failed, and what needs gradients is what did before."""
    if lora is None:
        yield module, []
        return
    try:
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise EngineError("lora= needs the peft library: pip install peft") from error
    needed = {name: one.requires_grad for name, one in module.named_parameters()}
    wrapped = LoraModel(module, {"default": lora}, "default")
    finish = wrapped.unload
    try:
        added = [one for name, one in module.named_parameters() if "lora_" in name]
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed.get(name.replace(".base_layer.", "."), True))
        yield module, added
        finish = wrapped.merge_and_unload
    finally:
        finish()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(needed[name])
