"""Read a region's interface from a call: which tensors go in and out, and what counts as a sample.

The last dimension of a tensor holds features, everything before it samples. A tensor whose shape is
that of the samples has no feature dimension: it fills one column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from symcompile.errors import described
from symcompile.modules.arguments import (
    UnsupportedError,
    input_tensors,
    literal_settings,
    parameters,
    unbind,
)
from symcompile.modules.calling import map_tensors, same
from symcompile.modules.region import Interface, Key, TensorInput, TensorOutput
from symcompile.modules.region_call import rows_of
from symcompile.modules.state import preserving

# How many samples are run again, to see whether each is mapped on its own.
_PROOF = 16


@dataclass(frozen=True)
class Call:
    """One observed call, its arguments bound to the parameters of forward."""

    arguments: Mapping[str, Any]
    output: Any


def read_interface(module: nn.Module, call: Call) -> Interface:
    """The interface that a call shows; UnsupportedError with the reason if no equation can have it.

    The block is run again, on a few samples: only trying tells whether samples are independent, and
    whether a block fed with 1-D tensors maps each element on its own or takes the whole tensor as
    the features of one sample.
    """
    named = input_tensors(call.arguments)
    inputs = [tensor for _, _, tensor in named]
    outputs, structure = _outputs(call.output)
    samples = _sample_shape(inputs, _is_pointwise(module, call, inputs, outputs))
    interface = Interface(
        parameters(module),
        tuple(_input(name, keys, tensor, samples) for name, keys, tensor in named),
        tuple(_output(tensor, samples) for tensor in outputs),
        structure,
        len(samples),
    )
    return _proven(interface, module, call, outputs[0].dtype, inputs[0].device)


# --- matrices ----------------------------------------------------------------------------------


def matrix_in(interface: Interface, arguments: Mapping[str, Any]) -> Tensor:
    """X [n_samples, n_inputs] of one call, float64, on the CPU."""
    received = {(name, keys) for name, keys, _ in input_tensors(arguments)}
    if received != {(spec.parameter, spec.keys) for spec in interface.inputs}:
        raise UnsupportedError("it receives other tensors in one call than in another")
    columns = [_input_columns(spec, arguments) for spec in interface.inputs]
    try:
        samples = torch.broadcast_shapes(*(c.shape[:-1] for c in columns))
    except RuntimeError:
        shapes = ", ".join(str(list(c.shape[:-1])) for c in columns)
        raise UnsupportedError(f"its inputs have samples of different shapes: {shapes}") from None
    return _matrix([c.expand(*samples, c.shape[-1]) for c in columns], samples)


def _input_columns(spec: TensorInput, arguments: Mapping[str, Any]) -> Tensor:
    """The tensor of an input with its features in the last dimension."""
    value: Any = arguments.get(spec.parameter)
    tensor = reduce(getitem, spec.keys, value)
    if not isinstance(tensor, Tensor):
        raise UnsupportedError(f"its input {spec.parameter!r} is not given in every call")
    width = 1 if spec.scalar else (tensor.shape[-1] if tensor.ndim else 0)
    if width != spec.features:
        raise UnsupportedError(
            f"its input {spec.parameter!r} has {spec.features} features in one call and {width} in"
            " another"
        )
    return tensor.unsqueeze(-1) if spec.scalar else tensor


def matrix_out(interface: Interface, output: Any, n_samples: int) -> Tensor:
    """Y [n_samples, n_outputs] of one call, float64, on the CPU."""
    tensors, structure = _outputs(output)
    if structure != interface.structure or len(tensors) != len(interface.outputs):
        raise UnsupportedError("it returns another structure in one call than in another")
    pairs = list(zip(tensors, interface.outputs, strict=True))
    columns = [tensor.unsqueeze(-1) if spec.scalar else tensor for tensor, spec in pairs]
    for column, spec in zip(columns, interface.outputs, strict=True):
        if column.ndim == 0 or column.shape[-1] != spec.features:
            raise UnsupportedError("the number of its output features changes between calls")
        if column.shape[:-1].numel() != n_samples:
            raise UnsupportedError(
                f"it returns {column.shape[:-1].numel()} samples for {n_samples} that it was given:"
                " an equation maps each sample on its own"
            )
    return _matrix(columns, columns[0].shape[:-1])


def _matrix(columns: list[Tensor], samples: torch.Size) -> Tensor:
    flat = [c.detach().to("cpu", torch.float64) for c in columns]
    return torch.cat([c.reshape(samples.numel(), c.shape[-1]) for c in flat], dim=1)


# --- what a sample is --------------------------------------------------------------------------


def _outputs(output: Any) -> tuple[list[Tensor], Any]:
    """The tensors of an output and its structure, with each tensor's number at its place."""
    flat, spec = pytree.tree_flatten(output, lambda value: type(value) not in (tuple, list, dict))
    tensors: list[Tensor] = []
    numbers: list[int | None] = []
    for leaf in flat:
        if leaf is not None and not isinstance(leaf, Tensor):
            raise UnsupportedError(
                f"it returns a {type(leaf).__name__}: expected tensors, in tuples or dicts"
            )
        if leaf is not None and not leaf.is_floating_point():
            raise UnsupportedError(f"it returns a tensor of dtype {leaf.dtype}")
        numbers.append(None if leaf is None else len(tensors))
        tensors += [] if leaf is None else [leaf]
    if not tensors:
        raise UnsupportedError("it returns no tensor")
    return tensors, pytree.tree_unflatten(numbers, spec)


def _is_pointwise(
    module: nn.Module, call: Call, inputs: list[Tensor], outputs: list[Tensor]
) -> bool:
    """Whether 1-D tensors hold samples: each element of the result is then its own element's.

    Tried on the elements in reverse without the first (a cumulative sum fits any start), or on a
    lone element twice.
    """
    size = inputs[0].shape[0] if inputs[0].ndim == 1 else 0
    if not size or not all(tuple(t.shape) in ((size,), ()) for t in inputs):
        return False
    if not all(t.ndim >= 1 and t.shape[0] == size for t in outputs):
        return False
    index = torch.arange(size - 1, 0, -1) if size > 1 else torch.tensor([0, 0])
    index = index.to(inputs[0].device)
    chosen = map_tensors(lambda t: t[index] if t.ndim else t.clone(), dict(call.arguments))
    args, kwargs = unbind(parameters(module), chosen)
    try:
        with preserving(module):
            results, _ = _outputs(module(*args, **kwargs))
        return same([t.detach() for t in results], [t[index].detach() for t in outputs])
    except Exception:  # the block refuses another length: the elements are features
        return False


def _sample_shape(inputs: list[Tensor], pointwise: bool) -> torch.Size:
    if pointwise:
        return inputs[0].shape
    rank = max(t.ndim for t in inputs)
    try:
        return torch.broadcast_shapes(*(t.shape[:-1] for t in inputs if t.ndim == rank))
    except RuntimeError:
        shapes = ", ".join(str(list(t.shape)) for t in inputs)
        raise UnsupportedError(
            f"its inputs {shapes} do not share their sample dimensions"
        ) from None


def _input(name: str, keys: tuple[Key, ...], tensor: Tensor, samples: torch.Size) -> TensorInput:
    if tensor.shape == samples or tensor.ndim == 0:
        return TensorInput(name, keys, 1, scalar=True)
    try:
        fits = torch.broadcast_shapes(tensor.shape[:-1], samples) == samples
    except RuntimeError:
        fits = False
    if fits:
        return TensorInput(name, keys, tensor.shape[-1])
    raise UnsupportedError(
        f"its input {name!r} has shape {list(tensor.shape)}, which does not fit samples of"
        f" shape {list(samples)}"
    )


def _output(tensor: Tensor, samples: torch.Size) -> TensorOutput:
    if tensor.shape == samples:
        return TensorOutput(1, scalar=True)
    if tensor.ndim and tensor.shape[:-1] == samples:
        return TensorOutput(tensor.shape[-1])
    raise UnsupportedError(
        f"it returns shape {list(tensor.shape)} for samples of shape {list(samples)}:"
        " an equation maps each sample on its own"
    )


def _proven(
    interface: Interface, module: nn.Module, call: Call, dtype: torch.dtype, device: torch.device
) -> Interface:
    """The interface in the way of calling that gives the recorded values for single samples."""
    X = matrix_in(interface, call.arguments)
    if len(X) == 0:
        return interface
    Y = matrix_out(interface, call.output, len(X))
    few = torch.arange(len(X) - 1, 0, -max(1, len(X) // _PROOF))[:_PROOF]
    few = few if len(few) else torch.tensor([0, 0])
    rows = X[few].to(device, dtype).requires_grad_(torch.is_grad_enabled())
    problem = ""
    for one_by_one in (False, True):
        way = replace(interface, one_by_one=one_by_one)
        try:
            values = rows_of(way, literal_settings(call.arguments), module)(rows.clone())
        except Exception as error:  # whatever a user's block raises on input of another shape
            problem = problem or f"it can't be run on single samples ({described(error)})"
            if len(module._forward_pre_hooks) > 1:  # more than the one that records
                raise UnsupportedError(
                    f"its forward pre-hooks get in the way ({described(error)}): remove them"
                ) from None
            continue
        if same(values.detach().to("cpu"), Y[few].to(values.dtype)):
            return way
        problem = "run on single samples it gives other values than it gave in the model"
    raise UnsupportedError(
        f"{problem}: an equation maps each sample (everything before the last dimension) on its"
        " own, without a look at the others, at their position, or at chance"
    )
