"""How a model is called: its parameters, and where an exported graph finds its inputs in them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.utils import _pytree as pytree

from symcompile.aten.values import encode_value, identifier
from symcompile.errors import ArtifactError, shown
from symcompile.modules.arguments import bind, export_order, parameters
from symcompile.modules.calling import Batch

Json = dict[str, Any]
MAX_NODES = 500_000

_KINDS = {
    "": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "*": inspect.Parameter.VAR_POSITIONAL,
    "**": inspect.Parameter.VAR_KEYWORD,
}


def read_signature(module: nn.Module) -> list[Json]:
    """The parameters of the forward in order, stars and literal defaults included."""
    rows = []
    for parameter in parameters(module):
        identifier(parameter.name.lstrip("*"))
        default = {"default": encode_value(parameter.default)} if parameter.has_default else {}
        rows.append({"name": parameter.name, **default})
    return rows


def rows_under(document: Any, key: str) -> list[Json]:
    """The rows under one key of a graph document; ArtifactError if these are none, or too many."""
    rows = document.get(key)
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        raise ArtifactError(f"graph: {key!r} is not a list of objects")
    if len(rows) > MAX_NODES:
        raise ArtifactError(f"graph: {len(rows)} {key}, at most {MAX_NODES}")
    return rows


def check_signature(document: Any) -> None:
    """Raise ArtifactError if the parameters in a graph document are none that Python would take."""
    checked: list[inspect.Parameter] = []
    before = ""  # the stars that were last
    try:
        for row in rows_under(document, "signature"):
            target = row.get("name")
            name = identifier(target.lstrip("*") if type(target) is str else target)
            stars = str(target).removesuffix(name)
            follows = before == "" or (before == "*" and stars != "*")
            if stars not in _KINDS or not follows or name == "self":
                raise ArtifactError(f"graph: parameter {shown(target)} can't stand in a signature")
            by_name = before == "*" and not stars
            kind = inspect.Parameter.KEYWORD_ONLY if by_name else _KINDS[stars]
            default = None if "default" in row else inspect.Parameter.empty
            checked.append(inspect.Parameter(name, kind, default=default))
            before = stars or before
        inspect.Signature(checked)
    except ValueError as error:
        raise ArtifactError(f"graph: its parameters are no signature: {error}") from None


def read_inputs(
    program: ExportedProgram, example: Batch, module: nn.Module
) -> tuple[list[Json], list[Json], list[Json]]:
    """Where each input node finds its tensor, what is baked in, and the sizes of containers."""
    specs = traced_inputs(program)
    nodes = (node for node, spec in specs if spec.kind is InputKind.USER_INPUT)
    inputs, constants = [], []
    signature, bound = read_signature(module), bind(parameters(module), *example)
    containers: list[Json] = [
        {"parameter": row["name"], "keys": [], "length": len(bound.get(row["name"], ()))}
        for row in signature
        if row["name"].startswith("*")
    ]
    order = program.call_spec.in_spec.children()[1].context
    for parameter, start, value in export_order(bound, len(example.args), order):
        for keys, length in _containers(value, start):
            containers.append({"parameter": parameter, "keys": keys, "length": length})
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            where = {"parameter": parameter, "keys": start + [_plain_key(key) for key in path]}
            node = next(nodes)
            if isinstance(leaf, torch.Tensor) or node.users:
                inputs.append({"name": node.name, **where})
            else:
                constants.append({**where, "value": encode_value(leaf)})
    for row in signature:
        if "default" in row and row["name"] not in bound:
            constants.append({"parameter": row["name"], "keys": [], "value": row["default"]})
    return inputs, constants, containers


def traced_inputs(program: ExportedProgram) -> Iterator[tuple[fx.Node, InputSpec]]:
    """What goes into an exported graph, with what it is."""
    nodes = (node for node in program.graph.nodes if node.op == "placeholder")
    return zip(nodes, program.graph_signature.input_specs, strict=True)


def _plain_key(key: Any) -> int | str:
    plain = getattr(key, "idx", None)
    plain = getattr(key, "key", None) if plain is None else plain
    if isinstance(plain, (int, str)):
        return plain
    raise ArtifactError(
        f"an argument of the model holds a value at {key}: a .symc file knows tensors in tuples,"
        " lists and dicts"
    )


def _containers(value: Any, keys: list[int | str]) -> Iterator[tuple[list[int | str], int]]:
    """Every tuple, list and dict in a value with the number of its items, outermost first."""
    if isinstance(value, (tuple, list)):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        yield keys, len(value)
        for key, item in value.items():
            yield from _containers(item, [*keys, key])
