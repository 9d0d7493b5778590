"""How a model is called: its parameters, and where an exported graph finds its inputs in them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from symcompile.aten.values import encode_value, identifier
from symcompile.errors import ArtifactError, shown
from symcompile.modules.calling import Batch

Json = dict[str, Any]


def read_signature(module: nn.Module) -> list[Json]:
    """The parameters of the forward in order, stars and literal defaults included."""
    rows = []
    for parameter in inspect.signature(module.forward).parameters.values():
        row: Json = {"name": _stars(parameter) + identifier(parameter.name)}
        if parameter.default is not parameter.empty:
            row["default"] = _literal(parameter.default)
        rows.append(row)
    return rows


def check_signature(document: Any) -> None:
    """Raise ArtifactError if the parameters in a graph document are none that Python would take."""
    rows = document.get("signature")
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        raise ArtifactError("graph: 'signature' is not a list of objects")
    names: set[str] = set()
    stars, optional = "", False
    for row in rows:
        target = row.get("name")
        name = identifier(target.lstrip("*") if type(target) is str else target)
        mark = target.removesuffix(name)
        if mark not in ("", "*", "**") or name in names or name == "self":
            raise ArtifactError(f"graph: parameter {shown(target)} can't stand in a signature")
        if stars == "**" or (mark == "*" and stars):
            raise ArtifactError(f"graph: parameter {shown(target)} stands after {stars!r}")
        if optional and not stars and not mark and "default" not in row:
            raise ArtifactError(f"graph: parameter {shown(target)} has no default, one before has")
        if mark and "default" in row:
            raise ArtifactError(f"graph: parameter {shown(target)} has a default")
        names.add(name)
        stars, optional = mark or stars, optional or "default" in row


def _stars(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "*"
    return "**" if parameter.kind is parameter.VAR_KEYWORD else ""


def _literal(value: Any) -> Any:
    plain = value is None or type(value) in (bool, int, float, str)
    return encode_value(value, _no_leaf) if plain else None


def _no_leaf(value: Any) -> Any:
    return NotImplemented


def read_inputs(
    program: ExportedProgram, example: Batch, module: nn.Module
) -> tuple[list[Json], list[Json], list[Json]]:
    """Where each input node finds its tensor, what is baked in, and the sizes of containers."""
    nodes = iter(user_inputs(program))
    inputs, constants, containers = [], [], []
    given = set()
    order = program.call_spec.in_spec.children()[1].context
    for parameter, start, value in arguments_of(module, example, order):
        given.add(parameter)
        for keys, length in _containers(value, start):
            containers.append({"parameter": parameter, "keys": keys, "length": length})
        for keys, leaf in _leaves(value):
            where = {"parameter": parameter, "keys": start + keys}
            node = next(nodes)
            if isinstance(leaf, torch.Tensor) or node.users:
                inputs.append({"name": node.name, **where})
            else:
                constants.append({**where, "value": encode_value(leaf, _no_leaf)})
    for row in read_signature(module):
        if "default" in row and row["name"] not in given:
            constants.append({"parameter": row["name"], "keys": [], "value": row["default"]})
    return inputs, constants, _starred(module, example) + containers


def user_inputs(program: ExportedProgram) -> Iterator[fx.Node]:
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            yield node


def arguments_of(
    module: nn.Module, example: Batch, order: Iterable[str]
) -> Iterator[tuple[str, list[int | str], Any]]:
    """Parameter, keys inside of it and value of each argument, as torch.export orders them."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    positional, named, star, stars = _kinds(parameters)
    for index, value in enumerate(example.args):
        if index < len(positional):
            yield positional[index], [], value
        else:
            yield star, [index - len(positional)], value
    for name in order:
        yield (
            (name, [], example.kwargs[name])
            if name in named
            else (stars, [name], example.kwargs[name])
        )


def _starred(module: nn.Module, example: Batch) -> list[Json]:
    """How many arguments `*args` and `**kwargs` got."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    positional, named, star, stars = _kinds(parameters)
    counts = {
        star: max(len(example.args) - len(positional), 0),
        stars: len(set(example.kwargs) - set(named)),
    }
    return [{"parameter": name, "keys": [], "length": n} for name, n in counts.items() if name]


def _kinds(parameters: list[inspect.Parameter]) -> tuple[list[str], list[str], str, str]:
    """Names that take positions, names that can be given by name, and the starred ones or ""."""
    plain = [p for p in parameters if not _stars(p)]
    starred = {_stars(p): _stars(p) + p.name for p in parameters}
    positional = [p.name for p in plain if p.kind is not p.KEYWORD_ONLY]
    named = [p.name for p in plain if p.kind is not p.POSITIONAL_ONLY]
    return positional, named, starred.get("*", ""), starred.get("**", "")


def _leaves(value: Any) -> Iterator[tuple[list[int | str], Any]]:
    for path, leaf in pytree.tree_flatten_with_path(value)[0]:
        yield [_plain_key(key) for key in path], leaf


def _plain_key(key: Any) -> int | str:
    found = getattr(key, "idx", None)
    found = getattr(key, "key", None) if found is None else found
    if isinstance(found, (int, str)):
        return found
    raise ArtifactError(
        f"an argument of the model holds a value at {key}: a .symc file knows tensors in tuples,"
        " lists and dicts"
    )


def _containers(value: Any, keys: list[int | str]) -> Iterator[tuple[list[int | str], int]]:
    """Every tuple, list and dict in a value with the number of its items, outermost first."""
    if isinstance(value, Mapping):
        yield keys, len(value)
        for key, item in value.items():
            yield from _containers(item, [*keys, key])
    elif isinstance(value, (tuple, list)):
        yield keys, len(value)
        for index, item in enumerate(value):
            yield from _containers(item, [*keys, index])
