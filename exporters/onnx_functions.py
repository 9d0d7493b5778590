"""Symbolic blocks as local functions of an ONNX model.

The exporter of torch inlines every function and the optimizer destroys them, so they are put in
last: the model is exported with an opaque operator for each call of a block, the blocks are
exported side by side, and the graph of each becomes the body of the function that the operator
then names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

import torch
from torch import nn

from symcompile.aten.opaque import Block, BlockCall
from symcompile.aten.sizes import is_free
from symcompile.exporters.onnx_operators import OPAQUE_DOMAIN, Signature, signature_of
from symcompile.modules.calling import Batch
from symcompile.modules.region import Interface
from symcompile.storage.onnx_schema import FlatCall

DOMAIN = "symcompile"


def one_call_each(calls: Iterable[BlockCall]) -> dict[Signature, BlockCall]:
    """One call for each function that is needed: a block called with tensors of another rank or
    dtype is another function, because a body may hold axis numbers and casts."""
    first: dict[Signature, BlockCall] = {}
    for call in calls:
        first.setdefault(signature_of(call.path, input_values(call)), call)
    return first


def unique_names(signatures: Iterable[Signature]) -> dict[Signature, str]:
    """An identifier for each function, made from the path of its block."""
    names: dict[Signature, str] = {}
    for signature in signatures:
        stem = re.sub(r"\W+", "_", signature[0]).strip("_") or "model"
        stem = f"_{stem}" if stem[0].isdigit() else stem
        spellings = chain([stem], (f"{stem}_{number}" for number in count(2)))
        names[signature] = next(name for name in spellings if name not in names.values())
    return names


def input_values(call: BlockCall) -> list[torch.Tensor]:
    """The (fake) tensors that the node receives."""
    nodes: Any = call.node.args[0]
    return [node.meta["val"] for node in nodes]


class Together(nn.Module):
    """Blocks side by side, each on tensors of its own, so that one export serves them all."""

    def __init__(self, blocks: Sequence[tuple[nn.Module, Block, int]]) -> None:
        super().__init__()
        # A Block closes over its module, which the exporter has to see as a submodule.
        self.modules_of_blocks = nn.ModuleList(module for module, _, _ in blocks)
        self.blocks = [(block, n_inputs) for _, block, n_inputs in blocks]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = list(inputs)
        outputs: list[torch.Tensor] = []
        for block, n_inputs in self.blocks:
            outputs += block(rest[:n_inputs])
            rest = rest[n_inputs:]
        return tuple(outputs)


def take_apart(model: Any, interfaces: Iterable[Interface]) -> list[Any]:
    """The graph of each block from the onnx_ir.Model of `Together`."""
    import onnx_ir

    graph = model.graph
    own_outputs(graph)
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    graphs = []
    for interface in interfaces:
        n_inputs, n_outputs = len(interface.inputs), len(interface.outputs)
        graphs.append(onnx_ir.convenience.extract(graph, inputs[:n_inputs], outputs[:n_outputs]))
        inputs, outputs = inputs[n_inputs:], outputs[n_outputs:]
    return graphs


def small_example(calls: Iterable[BlockCall]) -> Batch:
    """Tensors of the ranks and features of these calls, one call after the other; every free size
    gets a number of its own, so that none is taken for another, nor for a number of features."""
    tensors: list[torch.Tensor] = []
    for call in calls:
        values = input_values(call)
        free = sorted({str(size) for value in values for size in value.shape if is_free(size)})
        fixed = {int(str(size)) for value in values for size in value.shape if not is_free(size)}
        numbers = (n for n in count(3) if n not in fixed)
        chosen = dict(zip(free, numbers, strict=False))
        for value in values:
            shape = [chosen.get(str(size)) or int(str(size)) for size in value.shape]
            tensors.append(torch.ones(shape, dtype=value.dtype))
    return Batch(tuple(tensors), {})


def as_function(graph: Any, name: str, interface: Interface, provenance: Mapping[str, str]) -> Any:
    """An onnx_ir.Function from the graph of a block, which is used up.

    Args:
        provenance: metadata of the function; "text" also becomes its documentation.
    """
    import onnx_ir

    _constants_into_nodes(graph)
    for value, tensor in zip(graph.inputs, interface.inputs, strict=True):
        words = [tensor.parameter.lstrip("*"), *map(str, tensor.keys)]
        value.name = re.sub(r"\W+", "_", "_".join(words))
    for number, value in enumerate(graph.outputs):
        value.name = f"output_{number}"
    _rename_inner(graph, name)
    function = onnx_ir.Function(DOMAIN, name, graph=graph, attributes=[])
    function.metadata_props.update(provenance)
    function.doc_string = provenance.get("text", "")
    return function


def insert_functions(model: Any, functions: Mapping[str, Any]) -> None:
    """Point the opaque operators of an onnx_ir.Model at these functions, by name."""
    import onnx_ir

    for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == OPAQUE_DOMAIN:
            node.domain = DOMAIN
            node.name = f"{node.op_type}/{node.name}"
            metadata = functions[node.op_type].metadata_props
            node.metadata_props["symcompile.target"] = metadata["target"]
    model.opset_imports.pop(OPAQUE_DOMAIN, None)
    if functions:
        model.opset_imports[DOMAIN] = 1
    for function in functions.values():
        model.functions[function.identifier()] = function


def _constants_into_nodes(graph: Any) -> None:
    """A function has no initializers: each becomes a Constant node, with all its digits."""
    import onnx_ir

    nodes = []
    # Sorted, so that the same model gives the same file.
    for _, value in sorted(graph.initializers.items()):
        tensor = onnx_ir.tensor(value.const_value.numpy(), name=value.name)
        node = onnx_ir.node("Constant", inputs=[], attributes={"value": tensor})
        onnx_ir.convenience.replace_all_uses_with(value, node.outputs[0])
        node.outputs[0].name = value.name
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        nodes.append(node)
    graph.initializers.clear()
    for node in reversed(nodes):
        graph.insert_before(graph[0], node) if len(graph) else graph.append(node)


def own_outputs(graph: Any) -> None:
    """An output that is a weight gets a value of its own; what an equation `x0`, or two equal ones,
    would share has one by the `OutputFixPass`."""
    import onnx_ir

    for place, value in enumerate(graph.outputs):
        if value.is_initializer():
            node = onnx_ir.node("Identity", inputs=[value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[place] = node.outputs[0]


def _rename_inner(graph: Any, prefix: str) -> None:
    """Node names tell the block also after inlining; inner values keep off the public names.

    Types and shapes go: a call elsewhere has other sizes, under the same symbols.
    """
    public = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        value.type = value.shape = None
    for position, node in enumerate(graph):
        node.name = f"{prefix}/{node.op_type}_{position}"
        for value in node.outputs:
            if id(value) not in public:
                value.name = (
                    f"v{position}" if len(node.outputs) == 1 else f"v{position}_{value.index()}"
                )


# --- functions written into the graph, for toolchains without them ---------------------------


def flat_calls(proto: Any, signatures: Mapping[str, Signature]) -> list[FlatCall]:
    """The calls of functions in an onnx.ModelProto; `signatures` by the function's name."""
    sizes = {body.name: len(body.node) for body in proto.functions if body.domain == DOMAIN}
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
        for inner in graphs_in(node):
            yield from _nodes(inner)


def graphs_in(node: Any) -> Iterator[Any]:
    """The branches of an onnx.NodeProto, and the bodies of its loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def inlined(proto: Any) -> Any:
    """The model without functions: the nodes of a call are named after it, whatever the inliner
    calls them, `<call>/<operator>_<position>`."""
    from onnx import inliner

    flat = inliner.inline_local_functions(proto)
    for opset in [opset for opset in flat.opset_import if opset.domain == DOMAIN]:
        flat.opset_import.remove(opset)
    bodies = {body.name: [node.name for node in body.node] for body in proto.functions}
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
            same = next(rest)
            for pair in zip(graphs_in(node), graphs_in(same), strict=True):
                _rename(*pair, bodies)
