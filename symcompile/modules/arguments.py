"""Between the arguments of a region's forward and its tensors in the order of its interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from symcompile.modules.region import Interface


def pick_tensors(
    interface: Interface, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[torch.Tensor]:
    """The tensors of a call in the order of `interface.inputs`."""
    values = _bind(interface, args, kwargs)
    picked = []
    for one in interface.inputs:
        value = values[one.parameter.lstrip("*")]
        for key in one.keys:
            value = value[key]
        picked.append(value)
    return picked


def _bind(interface: Interface, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Value of each parameter by its bare name."""
    values: dict[str, Any] = {}
    rest, named = list(args), dict(kwargs)
    for parameter in interface.parameters:
        name = parameter.name.lstrip("*")
        if parameter.name.startswith("**"):
            values[name], named = named, {}
        elif parameter.name.startswith("*"):
            values[name], rest = tuple(rest), []
        elif rest:
            values[name] = rest.pop(0)
        else:
            values[name] = named.pop(name, parameter.default)
    return values


def build_arguments(
    interface: Interface, inputs: Sequence[torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that hold these tensors; what is not a tensor takes its default."""
    values: dict[str, Any] = {}
    for one, tensor in zip(interface.inputs, inputs, strict=True):
        name = one.parameter.lstrip("*")
        values[name] = _placed(values.get(name), one.keys, tensor)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    variadic = any(p.name.startswith("*") and p.name[1] != "*" for p in interface.parameters)
    for parameter in interface.parameters:
        name = parameter.name.lstrip("*")
        if parameter.name.startswith("**"):
            kwargs |= values.get(name) or {}
        elif parameter.name.startswith("*"):
            args += values.get(name) or ()
            variadic = False
        elif variadic:
            args.append(values.get(name, parameter.default))
        elif name in values:
            kwargs[name] = values[name]
        elif not parameter.has_default:
            kwargs[name] = parameter.default
    return tuple(args), kwargs


def _placed(container: Any, keys: tuple[int | str, ...], tensor: torch.Tensor) -> Any:
    """The nested tuples and dicts `container` with `tensor` at `keys`; gaps are None."""
    if not keys:
        return tensor
    key = keys[0]
    if isinstance(key, str):
        known = dict(container or {})
        return {**known, key: _placed(known.get(key), keys[1:], tensor)}
    items = list(container or ())
    items += [None] * (key + 1 - len(items))
    items[key] = _placed(items[key], keys[1:], tensor)
    return tuple(items)


def build_structure(structure: Any, outputs: Sequence[torch.Tensor]) -> Any:
    """What a region returns: outputs in the nested tuples, lists and dicts of `structure`."""
    if isinstance(structure, Mapping):
        return {key: build_structure(one, outputs) for key, one in structure.items()}
    if isinstance(structure, (tuple, list)):
        built = [build_structure(one, outputs) for one in structure]
        return tuple(built) if isinstance(structure, tuple) else built
    return None if structure is None else outputs[structure]
