"""Read a module that torch.fx has traced: its structure, since nothing in it tells of equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from symcompile.aten.sizes import is_free
from symcompile.diff.readers.manifest import in_order
from symcompile.diff.snapshot import Snapshot
from symcompile.modules.calling import dtype_name, result_places
from symcompile.storage.codecs import printable
from symcompile.storage.graph_rows import fx_rows
from symcompile.storage.model_rows import own_tensors, tensor_digest
from symcompile.storage.reading import reading
from symcompile.storage.schema import GRAPH, Shape, Tensor

NOTE = "no equations of symcompile in it: structure only"


def read(module: fx.GraphModule) -> Snapshot:
    """A traced module as a snapshot; the module is not run.

    Dtypes and shapes of inputs and outputs are known where the tracer has noted them; else they are
    "" and (). ArtifactError for a graph that is too large to be compared.
    """
    name = type(module).__name__
    with reading(name):
        return Snapshot(
            source=name,
            kind="GraphModule",
            equations_known=False,
            model=name,
            inputs=dict(_inputs(module)),
            outputs=dict(_outputs(module)),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            weights=dict(_weights(module)),
            level="fx",
            nodes=in_order(GRAPH.read({"nodes": fx_rows(module)}).nodes),
            notes=(NOTE,),
        )


def _inputs(module: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    for node in module.graph.nodes:
        if node.op == "placeholder":
            yield printable(str(node.target).lstrip("*")), _tensor(node)


def _outputs(module: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    # torch.export writes results flat; their structure stands beside the graph.
    spec = getattr(getattr(module.graph._codegen, "pytree_info", None), "out_spec", None)
    for node in module.graph.nodes:
        if node.op == "output":
            flat: Any = node.args[0]
            results = flat if spec is None else pytree.tree_unflatten(list(flat), spec)
            for place, leaf in result_places(results):
                yield printable(place), _tensor(leaf)


def _tensor(node: Any) -> Tensor:
    """What the tracer has noted of a node: under "val" (torch.export) or "tensor_meta" (fx)."""
    meta = node.meta if isinstance(node, fx.Node) else {}
    noted: Any = meta.get("val", meta.get("tensor_meta"))
    dtype = getattr(noted, "dtype", None)
    if not isinstance(dtype, torch.dtype):
        return Tensor("", ())
    shape: Shape = tuple(str(size) if is_free(size) else int(size) for size in noted.shape)
    return Tensor(dtype_name(dtype), shape)


def _weights(module: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, and plain tensors that the graph reads."""
    tensors = dict(own_tensors(module))
    registered = {id(tensor) for tensor in tensors.values()}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value: Any = module
            for name in str(node.target).split("."):
                value = getattr(value, name, None)
            if isinstance(value, torch.Tensor) and id(value) not in registered:
                tensors.setdefault(str(node.target), value)
    for name, tensor in sorted(tensors.items()):
        row = Tensor(dtype_name(tensor.dtype), tuple(tensor.shape), tensor_digest(tensor))
        yield printable(name), row
