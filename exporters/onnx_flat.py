"""Functions written into the graph, for toolchains without them, so that each call can be told.

The nodes of a call are named after it, `<call>/<operator>_<position>`, whatever the inliner calls
them. What a call reads and gives stands in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from symcompile.exporters.onnx_functions import DOMAIN
from symcompile.exporters.onnx_operators import Signature
from symcompile.storage.rows import FlatCall


def flat_calls(proto: Any, signatures: Mapping[str, Signature]) -> list[FlatCall]:
    """The calls of functions in an onnx.ModelProto; `signatures` by the function's name."""
    sizes = {one.name: len(one.node) for one in proto.functions if one.domain == DOMAIN}
    return [
        FlatCall(
            node.name,
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            sizes[node.op_type],
            signatures[node.op_type][0],
        )
        for node in _nodes(proto.graph)
        if node.domain == DOMAIN
    ]


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of graphs inside of nodes after the node."""
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def inlined(proto: Any) -> Any:
    """The model without functions."""
    from onnx import inliner

    flat = inliner.inline_local_functions(proto)
    for place, one in reversed(list(enumerate(flat.opset_import))):
        if one.domain == DOMAIN:
            del flat.opset_import[place]
    bodies = {one.name: [node.name for node in one.node] for one in proto.functions}
    _rename(proto.graph, flat.graph, bodies)
    return flat


def _rename(before: Any, after: Any, bodies: Mapping[str, list[str]]) -> None:
    """The inliner puts the nodes of a body, in their order, where the call was."""
    rest = iter(after.node)
    for node in before.node:
        if node.domain == DOMAIN:
            for name in bodies[node.op_type]:
                next(rest).name = f"{node.name}/{name.rpartition('/')[2]}"
        else:
            pairs: Iterable[tuple[Any, Any]] = zip(_graphs(node), _graphs(next(rest)), strict=True)
            for inner, same in pairs:
                _rename(inner, same, bodies)
