"""Whole model: a root with the model's own signature, for the target ".": it calls one block."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from symcompile.errors import TargetError
from symcompile.modules.calling import WHOLE
from symcompile.modules.region import Region


def root_for(region: Region, body: nn.Module, name: str) -> fx.GraphModule:
    """A root with the model's own signature that calls `body`: where the target is ".".

    `name` is that of the model's class, which the root shows.
    Raises TargetError for a forward with `*args` or `**kwargs`.
    """
    graph = fx.Graph()
    arguments: list[fx.Node] = []
    keywords: dict[str, Any] = {}
    for parameter in region.interface.parameters:
        if parameter.name.startswith("*"):
            raise TargetError(
                f"target '.': forward takes {parameter.name}: name a submodule instead of '.'"
            )
        default = (parameter.default,) if parameter.has_default else ()
        node = graph.placeholder(parameter.name, None, *default)
        if keywords or parameter.has_default:
            keywords[parameter.name] = node
        else:
            arguments.append(node)
    graph.output(graph.call_module(WHOLE, tuple(arguments), keywords))
    root = nn.Module()
    root.add_module(WHOLE, body)
    return fx.GraphModule(root, graph, name)
