"""Read a region's interface from a call: which tensors go in and out, and what counts as a sample.

The last dimension of a tensor holds features, everything before it samples. A tensor whose shape is
that of the samples has no feature dimension: it fills one column.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from symcompile.region import Interface, Key, Parameter, TensorInput, TensorOutput

_LITERALS = (bool, int, float, str, type(None))


class Unsupported(Exception):
    """The region can't be an equation; the message is the reason shown to the user."""


@dataclass(frozen=True)
class Call:
    """One observed call, its arguments bound to the parameters of forward."""

    arguments: Mapping[str, Any]
    output: Any


def bind(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name, with `*args` and `**kwargs` under their starred names."""
    signature = inspect.signature(module.forward)
    bound = signature.bind(*args, **kwargs)
    named = {}
    for name, value in bound.arguments.items():
        named[_starred(signature.parameters[name])] = value
    return named


def parameters(module: nn.Module) -> tuple[Parameter, ...]:
    """The parameters of the module's forward."""
    found = []
    for one in inspect.signature(module.forward).parameters.values():
        given = one.default is not inspect.Parameter.empty
        literal = one.default if given and isinstance(one.default, _LITERALS) else None
        found.append(Parameter(_starred(one), given, literal))
    return tuple(found)


def interface(module: nn.Module, call: Call, shorter: Callable[[Call], Any]) -> Interface:
    """The interface that a call shows; Unsupported with the reason if an equation can't have it.

    `shorter` runs the region again on fewer elements: a block fed with 1-D tensors either maps each
    element on its own, or takes the whole tensor as the features of one sample; only trying tells.
    """
    found = input_tensors(call.arguments)
    outputs, structure = _outputs(call.output)
    pointwise = _is_pointwise([t for _, _, t in found], outputs, lambda: shorter(call))
    samples = _sample_shape([t for _, _, t in found], pointwise)
    inputs = tuple(_input(name, keys, t, samples) for name, keys, t in found)
    return Interface(
        parameters(module), inputs, tuple(_output(t, samples) for t in outputs), structure
    )


def matrix_in(face: Interface, arguments: Mapping[str, Any]) -> torch.Tensor:
    """X [n_samples, n_inputs] of one call, float64, on the CPU."""
    tensors = [_at(arguments, one) for one in face.inputs]
    columns = [
        t.unsqueeze(-1) if one.scalar else t for t, one in zip(tensors, face.inputs, strict=True)
    ]
    samples = torch.broadcast_shapes(*(c.shape[:-1] for c in columns))
    wide = [c.expand(*samples, c.shape[-1]) for c in columns]
    return _matrix(wide, samples)


def matrix_out(face: Interface, output: Any, n_samples: int) -> torch.Tensor:
    """Y [n_samples, n_outputs] of one call, float64, on the CPU."""
    tensors, structure = _outputs(output)
    if structure != face.structure or len(tensors) != len(face.outputs):
        raise Unsupported("it returns another structure in one call than in another")
    columns = [
        t.unsqueeze(-1) if one.scalar else t for t, one in zip(tensors, face.outputs, strict=True)
    ]
    for column, one in zip(columns, face.outputs, strict=True):
        if column.ndim == 0 or column.shape[-1] != one.features:
            raise Unsupported("the number of its output features changes between calls")
        if column.shape[:-1].numel() != n_samples:
            raise Unsupported(
                f"it returns {column.shape[:-1].numel()} samples for {n_samples} that it was given:"
                " an equation maps each sample on its own"
            )
    return _matrix(columns, columns[0].shape[:-1])


def input_tensors(arguments: Mapping[str, Any]) -> list[tuple[str, tuple[Key, ...], torch.Tensor]]:
    """Floating tensors among the arguments, with the way to each."""
    found: list[tuple[str, tuple[Key, ...], torch.Tensor]] = []
    for name, value in arguments.items():
        for keys, leaf in _walk(value):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                found.append((name, keys, leaf))
            elif isinstance(leaf, torch.Tensor):
                raise Unsupported(
                    f"its input {name!r} has dtype {leaf.dtype}: equations take floating tensors"
                )
    if not found:
        raise Unsupported("it receives no floating-point tensor")
    return found


def settings(arguments: Mapping[str, Any]) -> dict[tuple[str, tuple[Key, ...]], Any]:
    """Arguments that are no tensors; an equation holds only for these."""
    return {
        (name, keys): leaf
        for name, value in arguments.items()
        for keys, leaf in _walk(value)
        if not isinstance(leaf, torch.Tensor)
    }


def _starred(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return stars.get(parameter.kind, "") + parameter.name


def _walk(value: Any, keys: tuple[Key, ...] = ()) -> list[tuple[tuple[Key, ...], Any]]:
    if type(value) in (tuple, list):
        return [leaf for k, item in enumerate(value) for leaf in _walk(item, (*keys, k))]
    if type(value) is dict:
        return [leaf for k, item in value.items() for leaf in _walk(item, (*keys, k))]
    return [(keys, value)]


def _at(arguments: Mapping[str, Any], one: TensorInput) -> torch.Tensor:
    value: Any = arguments.get(one.parameter)
    for key in one.keys:
        value = value[key]
    if not isinstance(value, torch.Tensor):
        raise Unsupported(f"its input {one.parameter!r} is not given in every call")
    width = 1 if one.scalar else (value.shape[-1] if value.ndim else 0)
    if width != one.features:
        raise Unsupported(
            f"its input {one.parameter!r} has {one.features} features in one call and {width} in"
            " another"
        )
    return value


def _matrix(columns: list[torch.Tensor], samples: torch.Size) -> torch.Tensor:
    flat = [c.detach().to("cpu", torch.float64).reshape(samples.numel(), -1) for c in columns]
    return torch.cat(flat, dim=1)


def _outputs(output: Any) -> tuple[list[torch.Tensor], Any]:
    """The tensors of an output and its structure, with each tensor's number at its place."""
    tensors: list[torch.Tensor] = []

    def place(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if not value.is_floating_point():
                raise Unsupported(f"it returns a tensor of dtype {value.dtype}")
            tensors.append(value)
            return len(tensors) - 1
        if type(value) in (tuple, list):
            return type(value)(place(item) for item in value)
        if type(value) is dict:
            return {key: place(item) for key, item in value.items()}
        raise Unsupported(
            f"it returns a {type(value).__name__}: expected tensors, in tuples or dicts"
        )

    structure = place(output)
    if not tensors:
        raise Unsupported("it returns no tensor")
    return tensors, structure


def _is_pointwise(
    inputs: list[torch.Tensor], outputs: list[torch.Tensor], shorter: Callable[[], Any]
) -> bool:
    size = inputs[0].shape[0] if inputs[0].ndim == 1 else 0
    if size < 2 or not all(tuple(t.shape) in ((size,), ()) for t in inputs):
        return False
    if not all(t.ndim >= 1 and t.shape[0] == size for t in outputs):
        return False
    try:
        tensors, _ = _outputs(shorter())
    except Exception:  # the block refuses another length: the elements are features
        return False
    return all(
        t.shape == (size - 1, *o.shape[1:]) and torch.allclose(t, o[:-1], rtol=1e-3, atol=1e-5)
        for t, o in zip(tensors, outputs, strict=True)
    )


def _sample_shape(inputs: list[torch.Tensor], pointwise: bool) -> torch.Size:
    if pointwise:
        return inputs[0].shape
    rank = max(t.ndim for t in inputs)
    if rank == 0:
        return torch.Size()
    try:
        return torch.broadcast_shapes(*(t.shape[:-1] for t in inputs if t.ndim == rank))
    except RuntimeError:
        shapes = ", ".join(str(list(t.shape)) for t in inputs)
        raise Unsupported(f"its inputs {shapes} do not share their sample dimensions") from None


def _input(
    name: str, keys: tuple[Key, ...], tensor: torch.Tensor, samples: torch.Size
) -> TensorInput:
    if tensor.shape == samples or tensor.ndim == 0:
        return TensorInput(name, keys, 1, scalar=True)
    try:
        fits = torch.broadcast_shapes(tensor.shape[:-1], samples) == samples
    except RuntimeError:
        fits = False
    if not fits:
        raise Unsupported(
            f"its input {name!r} has shape {list(tensor.shape)}, which does not fit samples of"
            f" shape {list(samples)}"
        )
    return TensorInput(name, keys, tensor.shape[-1])


def _output(tensor: torch.Tensor, samples: torch.Size) -> TensorOutput:
    if tensor.shape == samples:
        return TensorOutput(1, scalar=True)
    if tensor.ndim and tensor.shape[:-1] == samples:
        return TensorOutput(tensor.shape[-1])
    raise Unsupported(
        f"it returns shape {list(tensor.shape)} for samples of shape {list(samples)}:"
        " an equation maps each sample on its own"
    )
