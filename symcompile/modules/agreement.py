"""Run a model and its traced graph side by side: a trace can be wrong without any error.

Values alone do not tell. torch.fx drops `torch.no_grad` and its kin, and the backward of an
autograd.Function; so what training sees is compared as well: which gradients there are, what they
are, and what a call gives under no_grad.

torch.fx follows one path through a forward. Where the path depends on an optional argument, on the
mode or on a size, the trace is wrong without any error, so a trace is compared with the model in
evaluation mode, in training mode, on another number of rows, and without the arguments that may be
left out.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from symcompile.modules.calling import (
    TOLERANCE,
    Batch,
    evaluating,
    home,
    in_mode,
    map_tensors,
    rows,
    run,
    same,
    storable,
    take,
    tensors,
)
from symcompile.modules.state import preserving

Gradients = dict[str, torch.Tensor]
Parameters = Mapping[str, torch.Tensor]

# How much of a gradient is compared.
_ENTRIES = 1024
# Which gradients there are does not depend on the number of rows.
_FEW_ROWS = 16

TRAINS_OTHERWISE = "trains otherwise than the model"


class Tracer(fx.Tracer):
    """Keeps the targets whole, and without `enter_all` everything but their parents.

    Modules are told by identity: one that has two names goes by the first of them here.
    """

    def __init__(self, targets: Collection[nn.Module], enter_all: bool = True) -> None:
        super().__init__()
        self.targets = {id(target) for target in targets}
        self.enter_all = enter_all
        self.thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        # torch.fx patches nn.Module for the whole process while it traces.
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # The graph would call the original's own ScriptMethod, whatever module it is copied to.
        if id(m) in self.targets or isinstance(m, torch.jit.ScriptModule):
            return True
        if any(id(submodule) in self.targets for submodule in m.modules()):
            return False
        return not self.enter_all or super().is_leaf_module(m, module_qualified_name)


def disagreement(model: nn.Module, traced: nn.Module, example: Batch) -> str | None:
    """What is wrong with a traced graph, such as "gives other values than the model"; or None."""
    with evaluating(model, traced):
        if not agree(model, traced, example):
            return "gives other values than the model"
        if not learn_alike(model, traced, _few_rows(model, example)):
            return TRAINS_OTHERWISE
        if not agree(model, traced, _resized(example)):
            return "has a batch size baked in"
        for name, shorter in _without_optional(model, example):
            if not agree(model, traced, shorter):
                return f"has the use of the optional argument {name!r} baked in"
    with in_mode(True, model, traced):
        if not agree(model, traced, example):
            return "has the evaluation or training mode baked in"
        few = _few_rows(model, example)
        return None if learn_alike(model, traced, few) else TRAINS_OTHERWISE


def _few_rows(model: nn.Module, example: Batch) -> Batch:
    """The first rows of the example, where the model runs on them: gradients are dear."""
    if (rows(example) or 0) <= _FEW_ROWS:
        return example
    few = take(example, torch.arange(_FEW_ROWS))
    return example if isinstance(attempt(model, few), Exception) else few


def _resized(example: Batch) -> Batch:
    """One row less, or a single row twice; the batch itself where it has no rows."""
    count = rows(example)
    if not count:
        return example
    return take(example, torch.arange(count - 1) if count > 1 else torch.tensor([0, 0]))


def _without_optional(model: nn.Module, example: Batch) -> Iterator[tuple[str, Batch]]:
    """The example with each keyword left out that has a default, and with fewer arguments."""
    parameters = inspect.signature(model.forward).parameters
    optional = [n for n, p in parameters.items() if p.default is not inspect.Parameter.empty]
    for name in example.kwargs:
        if name in optional:
            yield name, Batch(example.args, {n: v for n, v in example.kwargs.items() if n != name})
    positional = list(parameters)[: len(example.args)]
    while positional and positional[-1] in optional:
        name = positional.pop()
        yield name, Batch(example.args[: len(positional)], example.kwargs)


def agree(model: nn.Module, traced: nn.Module, batch: Batch) -> bool:
    """Whether a traced graph gives what the model gives; a model that fails proves nothing."""
    expected = attempt(model, batch)
    if isinstance(expected, Exception):
        return True
    result = attempt(traced, batch)
    return not isinstance(result, Exception) and same(expected, result)


def learn_alike(model: nn.Module, traced: nn.Module, example: Batch) -> bool:
    """Whether training sees the same in both: in gradients, and in what no_grad gives."""
    gradients = agree_in_gradients(model, traced, example)
    return gradients and agree_without_gradients(model, traced, example)


def agree_without_gradients(model: nn.Module, traced: nn.Module, batch: Batch) -> bool:
    """The same under torch.no_grad; results that require gradients even there do so in both."""
    expected, result = (attempt(m, batch, with_gradients=False) for m in (model, traced))
    if isinstance(expected, Exception):
        return True
    if isinstance(result, Exception):
        return False
    # A stored graph has dicts in the place of dataclasses.
    ours, theirs = (pytree.tree_leaves(storable(value)) for value in (expected, result))
    if not same(ours, theirs):
        return False
    return [t.requires_grad for t in tensors(expected)] == [
        t.requires_grad for t in tensors(result)
    ]


def agree_in_gradients(
    model: nn.Module,
    traced: nn.Module,
    batch: Batch,
    parameters: tuple[Parameters, Parameters] | None = None,
) -> bool:
    """Whether both give the same gradients to the same parameters, and to the same inputs where
    these require one.

    `parameters` are those of model and graph, by names that both have; by default the model's own,
    which the graph shares.
    """
    own = dict(model.named_parameters())
    ours, theirs = parameters or (own, own)
    for example in (batch, map_tensors(_requiring_grad, batch)):
        expected = gradients(model, example, ours)
        if expected is None:
            continue
        slopes = gradients(traced, example, theirs)
        if slopes is None or not same_gradients(expected, slopes):
            return False
    return True


def _requiring_grad(tensor: torch.Tensor) -> torch.Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.detach().clone().requires_grad_()


def same_gradients(first: Gradients, second: Gradients) -> bool:
    """Equal up to rounding; the largest gradient of all sets what rounding is."""
    if first.keys() != second.keys():
        return False
    finite = [slope[torch.isfinite(slope)] for slope in first.values()]
    scale = max((float(slope.abs().max()) for slope in finite if slope.numel()), default=0.0)
    for name, ours in first.items():
        theirs, limit = second[name], TOLERANCE.get(ours.dtype, 1e-4)
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            return False
        if not torch.allclose(ours, theirs, rtol=limit, atol=limit * scale, equal_nan=True):
            return False
    return True


def gradients(module: nn.Module, batch: Batch, parameters: Parameters) -> Gradients | None:
    """What backward() from a weighted sum of the results leaves at parameters, by name, and at
    those inputs that require a gradient. None where the module can't be differentiated.

    Of each an excerpt, see `_excerpt`. The parameters' own .grad is put back.
    """
    sources = {name: p for name, p in parameters.items() if p.requires_grad}
    inputs = enumerate(tensors(batch))
    sources |= {f"input {k}": t for k, t in inputs if t.requires_grad and t.is_leaf}
    before = [(source, source.grad) for source in sources.values()]
    try:
        for source in sources.values():
            source.grad = None
        # What the forward left behind must stay until the backward has read it.
        with warnings.catch_warnings(), _one_start(module), torch.enable_grad():
            # Of what is asked for on purpose, gradients of inputs say.
            warnings.simplefilter("ignore")
            total = _weighted_sum(run(module, batch))
            if total is not None:
                total.backward()
            slopes = {name: source.grad for name, source in sources.items()}
            return {name: _excerpt(s) for name, s in slopes.items() if s is not None}
    except Exception:  # whatever a user's forward or backward raises
        return None
    finally:
        for source, grad in before:
            source.grad = grad


def _excerpt(slope: torch.Tensor) -> torch.Tensor:
    """Evenly spaced entries of a gradient and its root mean square: a whole one is as large as the
    weights."""
    if slope.layout is not torch.strided:
        slope = slope.coalesce().values()
    flat = (torch.view_as_real(slope) if slope.is_complex() else slope).reshape(-1)
    entries = flat[:: max(1, flat.numel() // _ENTRIES)].clone()
    size = torch.linalg.vector_norm(flat) / max(flat.numel(), 1) ** 0.5
    return torch.cat([entries, size.reshape(1)])


def _weighted_sum(results: object) -> torch.Tensor | None:
    """Of all results that require a gradient, with weights that no symmetry cancels."""
    total: torch.Tensor | None = None
    for result in tensors(results):
        if result.requires_grad:
            real = torch.view_as_real(result.resolve_conj()) if result.is_complex() else result
            weights = torch.arange(real.numel(), device=real.device).cos().to(real.dtype)
            summed = (real.reshape(-1) * weights).sum()
            total = summed if total is None else total + summed
    return total


def attempt(module: nn.Module, batch: Batch, *, with_gradients: bool = True) -> object:
    """What a forward gives, or the exception that it raises, always from one random state."""
    try:
        with _one_start(module), torch.set_grad_enabled(with_gradients):
            result = run(module, batch)
            return map_tensors(torch.Tensor.detach, result) if with_gradients else result
    except Exception as error:  # what a user's forward raises is data here
        return error


@contextmanager
def _one_start(module: nn.Module) -> Iterator[None]:
    device = home(module)[0]
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), preserving(module):
        torch.manual_seed(0)
        yield
