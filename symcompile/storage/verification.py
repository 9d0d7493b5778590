"""Compare a stored graph with the model that it was made from, before a file is kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from symcompile.aten.decode import StoredGraph, decode
from symcompile.errors import ArtifactError
from symcompile.modules.agreement import agree_in_gradients, agree_without_gradients
from symcompile.modules.calling import (
    Batch,
    evaluating,
    left_out,
    map_tensors,
    rows,
    same,
    storable,
    submodule_path,
    take,
)
from symcompile.modules.region import Region
from symcompile.modules.state import preserving, same_random_state

MODES = (
    "after loading, train() acts as eval() does: the forward takes other steps in training mode"
    " than in evaluation mode, and one graph can't hold both"
)
GRAD_MODES = (
    "after loading, a call under torch.no_grad acts otherwise than the original's: a forward that"
    " switches gradients on, or asks whether they are, is the usual cause"
)
GRADIENTS = (
    "after loading, gradients are those of the operators that were run, not those of the original:"
    " an autograd.Function with a backward of its own is the usual cause, or torch.inference_mode"
)


def differences(
    module: nn.Module, graph: StoredGraph, regions: Mapping[str, Region], batch: Batch
) -> list[str]:
    """Run a stored graph beside its model: results must agree, also on another number of rows.

    Returns sentences that tell in what else the two differ, none in most cases. The module's mode
    is left as it was. Raises ArtifactError if the results are not the same.
    """
    blocks = {path: module.get_submodule(submodule_path(path)) for path in regions}
    stored = decode(graph, blocks)
    count = rows(batch)
    batches = [batch]
    if count is not None and count > 2 and graph.document["shapes"]["dynamic"] != "static":
        batches.append(take(batch, torch.arange(count - 1)))
    with evaluating(module, stored), same_random_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hooks that wait for gradients of inputs, say
        for inputs in batches:
            results, expected = (_outcome(model, inputs) for model in (stored, module))
            if isinstance(expected, Exception) and inputs is batch:
                raise ArtifactError(f"the model can't be called on its example: {expected}")
            if not isinstance(expected, Exception) and not _agree(results, expected):
                raise ArtifactError(
                    f"{type(module).__name__} can't be saved: its graph computes something else"
                    " than its forward; a forward that depends on Python values which change from"
                    " call to call is the usual cause"
                )
        parameters = dict(module.named_parameters()), dict(stored.named_parameters())
        gradients = agree_in_gradients(module, stored, batch, parameters)
        grad_modes = agree_without_gradients(module, stored, batch)
    modes = graph.document["modes"] == "both"
    agreeing = {MODES: modes, GRADIENTS: gradients, GRAD_MODES: grad_modes}
    return [*(words for words, agrees in agreeing.items() if not agrees), *_missing(module, batch)]


def _missing(module: nn.Module, batch: Batch) -> list[str]:
    """What of the results no graph can hold."""
    with evaluating(module), same_random_state(), preserving(module), torch.no_grad():
        missing = left_out(_attempt(module, batch))
    if not missing:
        return []
    advice = ""
    if any("Cache" in result for result in missing):
        advice = "; model.config.use_cache = False before compiling leaves a cache out"
    return [f"after loading, the model returns None for {', '.join(missing)}{advice}"]


def _attempt(module: nn.Module, batch: Batch) -> Any:
    torch.manual_seed(0)
    try:
        own = map_tensors(torch.clone, batch)  # a forward may write into its inputs
        return module.forward(*own.args, **own.kwargs)
    except Exception as error:  # what a user's forward raises is data here
        return error


def _outcome(module: nn.Module, batch: Batch) -> Any:
    """What a forward gives, as a file holds it and without its history: that of a large model is
    larger than the model, and two would be in memory at once."""
    results = _attempt(module, batch)
    if isinstance(results, Exception):
        return results
    return map_tensors(torch.Tensor.detach, storable(results))


def _agree(results: Any, expected: Any) -> bool:
    if isinstance(results, Exception):
        return False
    ours, theirs = map(pytree.tree_leaves, (results, expected))
    return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
