"""Nodes of a graph as plain rows: [name, operator, input nodes, weights, arguments].

Rows say what a node does and not what it is called: in the text of its arguments % is the next
input node and @ the next weight, so that a renamed node changes the lists only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import _get_qualified_name

from symcompile.aten.values import encode_value
from symcompile.errors import ArtifactError

Json = dict[str, Any]
Row = list[Any]

# Where an object lies in memory is no property of it.
_ADDRESS = re.compile(r" (at|object at) 0x[0-9a-fA-F]+")
_MAX_TEXT = 1_000


def aten_rows(document: Json) -> Iterator[Row]:
    """Rows of a graph document, see `symcompile.aten.document`; a block is "region:<path>"."""
    for row in document["inputs"]:
        keys = "".join(f"[{key!r}]" for key in row["keys"])
        yield [row["name"], "input", [], [], row["parameter"] + keys]
    for row in document["nodes"]:
        pattern = _Pattern()
        operator = f"region:{row['path']}" if "path" in row else row["op"]
        yield pattern.row(row["name"], operator, pattern.call(row["args"], row["kwargs"]))
    pattern = _Pattern()
    yield pattern.row("output", "output", pattern.of(document["output"]))


def fx_rows(module: fx.GraphModule, regions: Mapping[str, str] | None = None) -> list[Row]:
    """Rows of a traced module.

    `regions` gives the region's path for each submodule that is one, by the submodule's name. Other
    submodules stand as their class with their weights; weights that have a node of their own stand
    with the nodes that use them.
    """
    read = [node for node in module.graph.nodes if node.op != "get_attr"]
    return [_fx_row(module, node, regions or {}) for node in read]


def _fx_row(module: fx.GraphModule, node: fx.Node, regions: Mapping[str, str]) -> Row:
    pattern, target = _Pattern(), str(node.target)
    if node.op == "placeholder":
        default = "".join(f"={pattern.of(_encoded(value))}" for value in node.args)
        return [node.name, "input", [], [], target + default]
    if node.op == "output":
        return pattern.row("output", "output", pattern.of(_encoded(node.args[0])))
    arguments = pattern.call(
        [_encoded(value) for value in node.args],
        {name: _encoded(value) for name, value in node.kwargs.items()},
    )
    if node.op != "call_module":
        return pattern.row(node.name, _function(node), arguments)
    if target in regions:
        return pattern.row(node.name, f"region:{regions[target]}", arguments)
    called = module.get_submodule(target)
    settings = _settings(called)
    for named in (called.named_parameters, called.named_buffers):
        pattern.weights += [f"{target}.{name}" for name, _ in named(remove_duplicate=False)]
    text = f"{arguments}; {settings}" if settings else arguments
    return pattern.row(node.name, type(called).__name__, text)


def _function(node: fx.Node) -> str:
    if node.op == "call_method":
        return f"Tensor.{node.target}"
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    try:
        return _get_qualified_name(node.target)  # type: ignore[arg-type]
    except (AttributeError, RuntimeError):  # an object of the user's that can be called
        return type(node.target).__name__


def _settings(module: nn.Module) -> str:
    """What a module says about itself beside its weights; of a traced one, its graph's digest."""
    if isinstance(module, fx.GraphModule):
        rows = json.dumps(fx_rows(module))
        return "graph " + hashlib.sha256(rows.encode()).hexdigest()[:16]
    return _escaped(_ADDRESS.sub("", module.extra_repr())[:_MAX_TEXT])


def _encoded(value: Any) -> Any:
    """A node's argument in the form that graph documents have, see `symcompile.aten.values`."""
    return encode_value(value, _leaf)


def _leaf(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"state": value.target} if value.op == "get_attr" else {"node": value.name}
    if isinstance(value, slice):
        return {"slice": [_encoded(bound) for bound in (value.start, value.stop, value.step)]}
    if isinstance(value, Mapping):
        return {"dict": [[str(key), _encoded(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)) or is_dataclass(value):
        return NotImplemented
    try:
        return encode_value(value)
    except ArtifactError:  # of a type that no file could hold
        return {"type": "..." if value is ... else type(value).__name__}


def _escaped(text: str) -> str:
    """Text in which % and @ stand for themselves no more."""
    return text.replace("%", "\\u0025").replace("@", "\\u0040")


class _Pattern:
    """Writes arguments as text in which % is the next input node and @ the next weight."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.weights: list[str] = []

    def row(self, name: str, operator: str, text: str) -> Row:
        return [name, operator, self.nodes, self.weights, text]

    def call(self, args: list[Any], kwargs: Json) -> str:
        shown = [self.of(value) for value in args]
        return ", ".join([*shown, *(f"{key}={self.of(kwargs[key])}" for key in sorted(kwargs))])

    def of(self, value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(map(self.of, value)) + "]"
        if not isinstance(value, dict):
            return _escaped(json.dumps(value, ensure_ascii=False))
        if set(value) == {"node"}:
            self.nodes.append(value["node"])
            return "%"
        if set(value) == {"state"}:
            self.weights.append(value["state"])
            return "@"
        return self.tagged(value)

    def tagged(self, value: Json) -> str:
        tag, content = next(iter(value.items()))
        if tag in ("tuple", "slice"):
            inner = ", ".join(map(self.of, content))
            return f"({inner})" if tag == "tuple" else f"slice({inner})"
        if tag == "dict":
            pairs = [f"{_escaped(repr(key))}: {self.of(item)}" for key, item in content]
            return "{" + ", ".join(pairs) + "}"
        if tag == "named":
            fields = ", ".join(f"{key}={self.of(item)}" for key, item in value["fields"])
            return f"{content}({fields})"
        if tag == "training":  # whether a module trains, or a rate that is zero where it does not
            return f"training * {value['times']}" if "times" in value else "training"
        return str(content) if tag == "type" else f"{tag} {content}"
