"""Read a region's interface from a call: which tensors go in and out, and what counts as a sample.

The last dimension of a tensor holds features, everything before it samples. A tensor whose shape is
that of the samples has no feature dimension: it fills one column.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from symcompile.errors import described
from symcompile.modules.calling import map_tensors, same
from symcompile.modules.region import Interface, Key, Parameter, TensorInput, TensorOutput
from symcompile.modules.region_call import rows_of
from symcompile.modules.state import preserving

_LITERALS = (bool, int, float, str, type(None))
# How many samples are run again, to see whether each is mapped on its own.
_PROOF = 16


class UnsupportedError(Exception):
    """The region can't be an equation; the message is the reason shown to the user."""


@dataclass(frozen=True)
class Call:
    """One observed call, its arguments bound to the parameters of forward."""

    arguments: Mapping[str, Any]
    output: Any


def bind(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name, with `*args` and `**kwargs` under their starred names."""
    signature = _signature(module)
    bound = signature.bind(*args, **kwargs)
    named = {}
    for name, value in bound.arguments.items():
        named[_starred(signature.parameters[name])] = value
    return named


def parameters(module: nn.Module) -> tuple[Parameter, ...]:
    """The parameters of the module's forward."""
    found = []
    for one in _signature(module).parameters.values():
        given = one.default is not inspect.Parameter.empty
        literal = one.default if given and isinstance(one.default, _LITERALS) else None
        found.append(Parameter(_starred(one), given, literal))
    return tuple(found)


def unbind(module: nn.Module, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Positional and keyword arguments again, from what `bind` gave."""
    plain = {name.lstrip("*"): value for name, value in arguments.items()}
    bound = inspect.BoundArguments(_signature(module), OrderedDict(plain))
    return bound.args, bound.kwargs


def interface(module: nn.Module, call: Call) -> Interface:
    """The interface that a call shows; UnsupportedError with the reason if no equation can have it.

    The block is run again, on a few samples: only trying tells whether samples are independent, and
    whether a block fed with 1-D tensors maps each element on its own or takes the whole tensor as
    the features of one sample.
    """
    named = input_tensors(call.arguments)
    inputs = [tensor for _, _, tensor in named]
    outputs, structure = _outputs(call.output)
    samples = _sample_shape(inputs, _is_pointwise(module, call, inputs, outputs))
    face = Interface(
        parameters(module),
        tuple(_input(name, keys, t, samples) for name, keys, t in named),
        tuple(_output(t, samples) for t in outputs),
        structure,
        len(samples),
    )
    return _proven(face, module, call, outputs[0].dtype, inputs[0].device)


def literal_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by parameter, without those inside of tuples and dicts."""
    return {name: value for (name, keys), value in settings(arguments).items() if not keys}


def _proven(
    face: Interface, module: nn.Module, call: Call, dtype: torch.dtype, device: torch.device
) -> Interface:
    """The interface in the way of calling that gives the recorded values for single samples."""
    X = matrix_in(face, call.arguments)
    if len(X) == 0:
        return face
    Y = matrix_out(face, call.output, len(X))
    few = torch.arange(len(X) - 1, 0, -max(1, len(X) // _PROOF))[:_PROOF]
    few = few if len(few) else torch.tensor([0, 0])
    given = X[few].to(device, dtype).requires_grad_(torch.is_grad_enabled())
    problem = ""
    for one_by_one in (False, True):
        way = replace(face, one_by_one=one_by_one)
        try:
            found = rows_of(way, literal_settings(call.arguments), module)(given.clone())
        except Exception as error:  # whatever a user's block raises on input of another shape
            problem = problem or f"it can't be run on single samples ({described(error)})"
            if len(module._forward_pre_hooks) > 1:  # more than the one that records
                raise UnsupportedError(
                    f"its forward pre-hooks get in the way ({described(error)}): remove them"
                ) from None
            continue
        if same(found.detach().to("cpu"), Y[few].to(found.dtype)):
            return way
        problem = "run on single samples it gives other values than it gave in the model"
    raise UnsupportedError(
        f"{problem}: an equation maps each sample (everything before the last dimension) on its"
        " own, without a look at the others, at their position, or at chance"
    )


def matrix_in(face: Interface, arguments: Mapping[str, Any]) -> torch.Tensor:
    """X [n_samples, n_inputs] of one call, float64, on the CPU."""
    given = {(name, keys) for name, keys, _ in input_tensors(arguments)}
    if given != {(one.parameter, one.keys) for one in face.inputs}:
        raise UnsupportedError("it receives other tensors in one call than in another")
    columns = [_column(one, _at(arguments, one)) for one in face.inputs]
    try:
        samples = torch.broadcast_shapes(*(c.shape[:-1] for c in columns))
    except RuntimeError:
        shapes = ", ".join(str(list(c.shape[:-1])) for c in columns)
        raise UnsupportedError(f"its inputs have samples of different shapes: {shapes}") from None
    return _matrix([c.expand(*samples, c.shape[-1]) for c in columns], samples)


def matrix_out(face: Interface, output: Any, n_samples: int) -> torch.Tensor:
    """Y [n_samples, n_outputs] of one call, float64, on the CPU."""
    tensors, structure = _outputs(output)
    if structure != face.structure or len(tensors) != len(face.outputs):
        raise UnsupportedError("it returns another structure in one call than in another")
    columns = [_column(one, t) for one, t in zip(face.outputs, tensors, strict=True)]
    for column, one in zip(columns, face.outputs, strict=True):
        if column.ndim == 0 or column.shape[-1] != one.features:
            raise UnsupportedError("the number of its output features changes between calls")
        if column.shape[:-1].numel() != n_samples:
            raise UnsupportedError(
                f"it returns {column.shape[:-1].numel()} samples for {n_samples} that it was given:"
                " an equation maps each sample on its own"
            )
    return _matrix(columns, columns[0].shape[:-1])


def _column(one: TensorInput | TensorOutput, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.unsqueeze(-1) if one.scalar else tensor


def input_tensors(arguments: Mapping[str, Any]) -> list[tuple[str, tuple[Key, ...], torch.Tensor]]:
    """Floating tensors among the arguments, with the way to each."""
    found: list[tuple[str, tuple[Key, ...], torch.Tensor]] = []
    for name, value in arguments.items():
        for keys, leaf in _walk(value):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                found.append((name, keys, leaf))
            elif isinstance(leaf, torch.Tensor):
                raise UnsupportedError(
                    f"its input {name!r} has dtype {leaf.dtype}: equations take floating tensors"
                )
    if not found:
        raise UnsupportedError("it receives no floating-point tensor")
    return found


def settings(arguments: Mapping[str, Any]) -> dict[tuple[str, tuple[Key, ...]], Any]:
    """Arguments that are no tensors; an equation holds only for these."""
    return {
        (name, keys): leaf
        for name, value in arguments.items()
        for keys, leaf in _walk(value)
        if not isinstance(leaf, torch.Tensor)
    }


def _signature(module: nn.Module) -> inspect.Signature:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"the signature of its forward can't be read ({error})") from None


def _starred(parameter: inspect.Parameter) -> str:
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
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
        raise UnsupportedError(f"its input {one.parameter!r} is not given in every call")
    width = 1 if one.scalar else (value.shape[-1] if value.ndim else 0)
    if width != one.features:
        raise UnsupportedError(
            f"its input {one.parameter!r} has {one.features} features in one call and {width} in"
            " another"
        )
    return value


def _matrix(columns: list[torch.Tensor], samples: torch.Size) -> torch.Tensor:
    flat = [c.detach().to("cpu", torch.float64) for c in columns]
    return torch.cat([c.reshape(samples.numel(), c.shape[-1]) for c in flat], dim=1)


def _outputs(output: Any) -> tuple[list[torch.Tensor], Any]:
    """The tensors of an output and its structure, with each tensor's number at its place."""
    tensors: list[torch.Tensor] = []

    def place(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, torch.Tensor):
            if not value.is_floating_point():
                raise UnsupportedError(f"it returns a tensor of dtype {value.dtype}")
            tensors.append(value)
            return len(tensors) - 1
        if type(value) in (tuple, list):
            return type(value)(place(item) for item in value)
        if type(value) is dict:
            return {key: place(item) for key, item in value.items()}
        raise UnsupportedError(
            f"it returns a {type(value).__name__}: expected tensors, in tuples or dicts"
        )

    structure = place(output)
    if not tensors:
        raise UnsupportedError("it returns no tensor")
    return tensors, structure


def _is_pointwise(
    module: nn.Module, call: Call, inputs: list[torch.Tensor], outputs: list[torch.Tensor]
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
    args, kwargs = unbind(module, chosen)
    try:
        with preserving(module):
            found, _ = _outputs(module(*args, **kwargs))
        return len(found) == len(outputs) and all(
            same(a.detach(), b[index].detach()) for a, b in zip(found, outputs, strict=True)
        )
    except Exception:  # the block refuses another length: the elements are features
        return False


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
        raise UnsupportedError(
            f"its inputs {shapes} do not share their sample dimensions"
        ) from None


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
        raise UnsupportedError(
            f"its input {name!r} has shape {list(tensor.shape)}, which does not fit samples of"
            f" shape {list(samples)}"
        )
    return TensorInput(name, keys, tensor.shape[-1])


def _output(tensor: torch.Tensor, samples: torch.Size) -> TensorOutput:
    if tensor.shape == samples:
        return TensorOutput(1, scalar=True)
    if tensor.ndim and tensor.shape[:-1] == samples:
        return TensorOutput(tensor.shape[-1])
    raise UnsupportedError(
        f"it returns shape {list(tensor.shape)} for samples of shape {list(samples)}:"
        " an equation maps each sample on its own"
    )
