"""Arguments of a call: told apart by the parameters of a forward, and put together again.

Values are held by parameter, under the name that Python writes: `x`, `*args`, `**kwargs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from torch import Tensor, fx, nn

from symcompile.modules.region import Interface, Key, Parameter, leaves


class UnsupportedError(Exception):
    """The region can't be an equation; the message is the reason shown to the user."""


def parameters(module: nn.Module) -> tuple[Parameter, ...]:
    """The parameters of the module's forward."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"the signature of its forward can't be read ({error})") from None
    read = []
    for parameter in signature.parameters.values():
        default = parameter.default
        name = str(parameter.replace(default=parameter.empty, annotation=parameter.empty))
        literal = type(default) in (bool, int, float, str)
        has_default = default is not parameter.empty
        read.append(Parameter(name, has_default, default if literal else None))
    return tuple(read)


def bind(
    parameters: Iterable[Parameter], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a call gives, by parameter; defaults are no part of it."""
    values: dict[str, Any] = {}
    rest, named = list(args), dict(kwargs)
    for name in (parameter.name for parameter in parameters):
        if name.startswith("**"):
            values[name] = named
        elif name.startswith("*"):
            values[name], rest = tuple(rest), []
        elif rest or name in named:
            values[name] = rest.pop(0) if rest else named.pop(name)
    return values


def unbind(
    parameters: Sequence[Parameter], values: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call that gives these values, by name where that can be."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    # What stands before `*args` can't be given by name.
    by_position = any(parameter.name.count("*") == 1 for parameter in parameters)
    for parameter in parameters:
        name = parameter.name
        if name.startswith("**"):
            kwargs |= values.get(name) or {}
        elif name.startswith("*"):
            args += values.get(name) or ()
            by_position = False
        elif by_position:
            args.append(values.get(name, parameter.default))
        elif name in values or not parameter.has_default:
            kwargs[name] = values.get(name)
    return tuple(args), kwargs


def export_order(
    values: Mapping[str, Any], n_positional: int, named: Iterable[str]
) -> Iterator[tuple[str, list[Key], Any]]:
    """Parameter, keys inside of it and value of each argument, as torch.export orders them: those
    given by position, then those given by name, in the order `named`."""
    spilled = {name: value for name, value in values.items() if name.count("*") == 1}
    by_position = n_positional - sum(map(len, spilled.values()))
    by_name: dict[str, tuple[str, list[Key], Any]] = {}
    for position, (name, value) in enumerate(values.items()):
        if name in spilled:
            for index, item in enumerate(value):
                yield name, [index], item
        elif name.startswith("**"):
            by_name |= {key: (name, [key], item) for key, item in value.items()}
        elif position < by_position:
            yield name, [], value
        else:
            by_name[name] = name, [], value
    yield from (by_name[name] for name in named)


# --- in a graph --------------------------------------------------------------------------------


def placeholders(graph: fx.Graph, parameters: Iterable[Parameter]) -> dict[str, fx.Node]:
    """A node for each parameter."""
    nodes: dict[str, fx.Node] = {}
    optional = False
    for parameter in parameters:
        # Python allows no required parameter after an optional one.
        optional = (optional or parameter.has_default) and not parameter.name.startswith("*")
        default = (parameter.default,) if optional else ()
        nodes[parameter.name] = graph.placeholder(parameter.name, None, *default)
    return nodes


def call_like(graph: fx.Graph, path: str, module: nn.Module, values: Mapping[str, Any]) -> fx.Node:
    """A call of the submodule at a path that gives these values to parameters of `module`, which
    stands there or will: by position where that can be, as hooks expect it."""
    known = inspect.signature(module.forward).parameters
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    by_name = False
    for name, value in values.items():
        by_name = by_name or (name in known and known[name].kind is known[name].KEYWORD_ONLY)
        if name.startswith("**"):
            kwargs |= value
        elif name.startswith("*"):
            args += value
            by_name = True
        elif by_name:
            kwargs[name] = value
        else:
            args.append(value)
    return graph.call_module(path, tuple(args), kwargs)


# --- tensors among them, and what is none ------------------------------------------------------


def input_tensors(values: Mapping[str, Any]) -> list[tuple[str, tuple[Key, ...], Tensor]]:
    """Floating tensors, each with its parameter and the way to it inside of that."""
    ways = leaves(dict(values))
    tensors = [(str(way[0]), way[1:], leaf) for way, leaf in ways if isinstance(leaf, Tensor)]
    for name, _, tensor in tensors:
        if not tensor.is_floating_point():
            raise UnsupportedError(
                f"its input {name!r} has dtype {tensor.dtype}: equations take floating tensors"
            )
    if not tensors:
        raise UnsupportedError("it receives no floating-point tensor")
    return tensors


def settings(values: Mapping[str, Any]) -> dict[tuple[Key, ...], Any]:
    """What is no tensor, by the way to each; an equation holds only for these."""
    return {way: leaf for way, leaf in leaves(dict(values)) if not isinstance(leaf, Tensor)}


def literal_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by parameter, without those inside of tuples and dicts."""
    return {str(way[0]): value for way, value in settings(values).items() if len(way) == 1}


def pick_tensors(
    interface: Interface, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> list[Tensor]:
    """The tensors of a call in the order of `interface.inputs`."""
    values: dict[str, Any] = dict.fromkeys(parameter.name for parameter in interface.parameters)
    values |= bind(interface.parameters, args, kwargs)
    return [reduce(getitem, spec.keys, values[spec.parameter]) for spec in interface.inputs]


def build_arguments(
    interface: Interface, inputs: Sequence[Any], settings: Mapping[str, Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that hold these tensors; what is not a tensor takes its setting, or its default."""
    held = {spec.parameter for spec in interface.inputs}
    values = {n: v for n, v in (settings or {}).items() if n not in held and n[:1] != "*"}
    for spec, tensor in zip(interface.inputs, inputs, strict=True):
        values[spec.parameter] = _placed(values.get(spec.parameter), spec.keys, tensor)
    return unbind(interface.parameters, values)


def _placed(container: Any, keys: tuple[Key, ...], tensor: Any) -> Any:
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
