"""How much memory the values of an ONNX graph take, told before it runs.

The shapes of all values are inferred by ONNX for inputs of given sizes; a value is alive from the
node that makes it to the last one that reads it, and those of the graph's outputs to the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Shapes = Mapping[str, Sequence[int]]


def peak_bytes(proto: Any, inputs: Shapes) -> int:
    """The most bytes that inputs and values of a graph take at once; weights do not count.

    Args:
        proto: an onnx.ModelProto, whose weights may be elsewhere.
        inputs: the shape of each input of the graph, by name.
    """
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    _set_shapes(sized.graph, inputs)
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    return _peak(inferred.graph, _sizes(inferred.graph))


def _set_shapes(graph: Any, inputs: Shapes) -> None:
    """Sizes of the inputs as numbers; what was known of other values by symbols is forgotten."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        kind.ClearField("shape")
        for size in inputs.get(value.name, ()):
            kind.shape.dim.add(dim_value=size)


def _sizes(graph: Any) -> dict[str, int]:
    """Bytes of each value whose shape is known."""
    values = (*graph.input, *graph.value_info, *graph.output)
    found = {value.name: _bytes_of(value.type.tensor_type) for value in values}
    return {name: size for name, size in found.items() if size is not None}


def _bytes_of(kind: Any) -> int | None:
    import onnx

    if not kind.HasField("shape") or not all(one.HasField("dim_value") for one in kind.shape.dim):
        return None
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    except KeyError:
        return None
    return width * math.prod(one.dim_value for one in kind.shape.dim)


def _peak(graph: Any, sizes: Mapping[str, int]) -> int:
    last = {name: place for place, node in enumerate(graph.node) for name in _read_by(node)}
    forever = {value.name for value in (*graph.input, *graph.output)}
    fixed = {one.name for one in graph.initializer}
    known = {value.name: sizes.get(value.name, 0) for value in graph.input}
    alive = most = sum(known.values())
    for place, node in enumerate(graph.node):
        made = [name for name in node.output if name]
        if set(_read_by(node)) <= fixed | {""}:  # computed once, from weights
            fixed.update(made)
            continue
        # One of unknown shape is taken to be as large as the largest that it is made from.
        largest = max((known.get(name, 0) for name in node.input), default=0)
        known |= {name: sizes.get(name, largest) for name in made}
        alive += sum(known[name] for name in made)
        most = max(most, alive)
        done = {name for name in {*_read_by(node), *made} if last.get(name, place) == place}
        alive -= sum(known.get(name, 0) for name in done - forever)
    return most


def _read_by(node: Any) -> Iterable[str]:
    """What a node reads, graphs inside of it included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read_by(inner)
