"""Call a region: between rows of X, tensors in the order of its interface, and its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import reduce
from operator import getitem
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from symcompile.modules.calling import tensors
from symcompile.modules.region import Interface, Region
from symcompile.modules.state import preserving

Rows = Callable[[torch.Tensor], torch.Tensor]

# --- tensors among the arguments ---------------------------------------------------------------


def bound_values(
    defaults: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Value of each parameter in a call; parameters by name with their stars, and defaults."""
    values: dict[str, Any] = {}
    rest, named = list(args), dict(kwargs)
    for name, default in defaults.items():
        if name.startswith("**"):
            values[name], named = named, {}
        elif name.startswith("*"):
            values[name], rest = tuple(rest), []
        else:
            values[name] = rest.pop(0) if rest else named.pop(name, default)
    return values


def pick_tensors(
    interface: Interface, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[torch.Tensor]:
    """The tensors of a call in the order of `interface.inputs`."""
    defaults = {parameter.name: parameter.default for parameter in interface.parameters}
    values = bound_values(defaults, args, kwargs)
    return [reduce(getitem, spec.keys, values[spec.parameter]) for spec in interface.inputs]


def build_arguments(
    interface: Interface, inputs: Sequence[Any], settings: Mapping[str, Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that hold these tensors; what is not a tensor takes its setting, or its default."""
    held = {spec.parameter for spec in interface.inputs}
    fixed = {n: v for n, v in (settings or {}).items() if n not in held and n[:1] != "*"}
    values: dict[str, Any] = {}
    for spec, tensor in zip(interface.inputs, inputs, strict=True):
        name = spec.parameter.lstrip("*")
        values[name] = _placed(values.get(name), spec.keys, tensor)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    # What stands before `*args` can't be given by name.
    by_position = any(parameter.name.count("*") == 1 for parameter in interface.parameters)
    for parameter in interface.parameters:
        name = parameter.name.lstrip("*")
        if parameter.name.startswith("**"):
            kwargs |= values.get(name) or {}
        elif parameter.name.startswith("*"):
            args += values.get(name) or ()
            by_position = False
        elif by_position:
            args.append(values.get(name, fixed.get(name, parameter.default)))
        elif name in values:
            kwargs[name] = values[name]
        elif name in fixed or not parameter.has_default:
            kwargs[name] = fixed.get(name, parameter.default)
    return tuple(args), kwargs


def _placed(container: Any, keys: tuple[int | str, ...], tensor: Any) -> Any:
    """The nested tuples and dicts `container` with `tensor` at `keys`; gaps are None."""
    if not keys:
        return tensor
    key = keys[0]
    if isinstance(key, str):
        entries = dict(container or {})
        return {**entries, key: _placed(entries.get(key), keys[1:], tensor)}
    items = list(container or ())
    items += [None] * (key + 1 - len(items))
    items[key] = _placed(items[key], keys[1:], tensor)
    return tuple(items)


def build_structure(structure: Any, outputs: Sequence[Any]) -> Any:
    """What a region returns: outputs in the nested tuples, lists and dicts of `structure`."""
    return pytree.tree_map(lambda number: None if number is None else outputs[number], structure)


# --- rows --------------------------------------------------------------------------------------


def on_rows(region: Region, module: nn.Module, *, kept: bool = True) -> Rows:
    """The block as a function of rows [n_samples, n_inputs], giving [n_samples, n_outputs].

    Each call starts from the state that the module has now, unless `kept` is False.
    """
    return rows_of(region.interface, region.settings, module, kept=kept)


def rows_of(
    interface: Interface, settings: Mapping[str, Any], module: nn.Module, *, kept: bool = True
) -> Rows:
    """The same for a block that is not a region yet; settings are as they were recorded."""

    def call(rows: torch.Tensor) -> torch.Tensor:
        args, kwargs = arguments(interface, settings, rows)
        with preserving(module) if kept else nullcontext():
            outputs = tensors(module(*args, **kwargs))
        return torch.cat([t.reshape(len(rows), -1) for t in outputs], dim=-1)

    def one_by_one(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([call(row) for row in rows.split(1)])

    return one_by_one if interface.one_by_one else call


def arguments(
    interface: Interface, settings: Mapping[str, Any], rows: torch.Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the block for rows [n_samples, n_inputs], in the rank that it takes."""
    inputs, start = [], 0
    dims = interface.sample_dims if interface.one_by_one else max(1, interface.sample_dims)
    samples = (len(rows), *[1] * (dims - 1))[:dims]
    for spec in interface.inputs:
        columns = rows[:, start : start + spec.features]
        inputs.append(columns.reshape(samples if spec.scalar else (*samples, spec.features)))
        start += spec.features
    return build_arguments(interface, inputs, settings)


def in_place_of(region: Region, function: Rows) -> Callable[..., Any]:
    """A function of rows as something that can be called with the block's own arguments."""

    interface = region.interface

    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = pick_tensors(interface, args, kwargs)
        pairs = zip(inputs, interface.inputs, strict=True)
        wide = [t.unsqueeze(-1) if spec.scalar else t for t, spec in pairs]
        samples = torch.broadcast_shapes(*(t.shape[:-1] for t in wide))
        rows = torch.cat([t.expand(*samples, t.shape[-1]) for t in wide], dim=-1)
        values = function(rows.reshape(-1, rows.shape[-1]))
        values = values.to(inputs[0].dtype).reshape(*samples, -1)
        outputs, start = [], 0
        for spec in interface.outputs:
            columns = values[..., start : start + spec.features]
            outputs.append(columns[..., 0] if spec.scalar else columns)
            start += spec.features
        return build_structure(interface.structure, outputs)

    return call


def replaced(
    root: nn.Module, paths: Mapping[str, Callable[..., Any]], run: Callable[[], Any]
) -> Any:
    """Run `root` with the results of some submodules replaced; the module itself is not changed.

    A submodule is still called, and its result dropped: hooks reach every model, whatever its
    class, and are gone afterwards.
    """
    with ExitStack() as hooks:
        for path, function in paths.items():
            for hook in _diverting(root.get_submodule(path), function):
                hooks.enter_context(hook)
        return run()


def _diverting(module: nn.Module, function: Callable[..., Any]) -> list[RemovableHandle]:
    results: list[Any] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        # Now, because the block may write into its inputs.
        results.append(function(*args, **kwargs))

    def after(*_: Any) -> Any:
        return results.pop()

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]
