"""Read an ONNX file: ours with its equations, any other one as the structure that it is.

The file is parsed and measured, never run. What it says of its equations is checked as every file's
is, and where all operators of a block are known here, also whether they compute its equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from symcompile.diff.onnx.block_check import check_blocks
from symcompile.diff.onnx.calls import DOMAIN
from symcompile.diff.onnx.metadata import Metadata, read_metadata
from symcompile.diff.onnx.parsing import MAX_BYTES, parse
from symcompile.diff.onnx.rows import File, Rows, function_digests, graph_rows
from symcompile.diff.onnx.tensors import Tensors, dtype_of
from symcompile.diff.snapshot import UNKNOWN_RANK, Snapshot
from symcompile.errors import ArtifactError, shown
from symcompile.storage import files
from symcompile.storage.codecs import NAME, printable
from symcompile.storage.reading import reading
from symcompile.storage.schema import Shape, Tensor

FOREIGN = "no equations of symcompile in it: structure only"

_BATCH, _UNNAMED = "batch", "?"
_MOST_NOTES = 5


def read(path: str) -> Snapshot:
    """An ONNX file as a snapshot.

    Raises ArtifactError if it is missing, damaged, edited, or no ONNX file.
    """
    with files.opened(path) as file:
        if files.size(file) > MAX_BYTES:
            raise files.unreadable(path, f"it is longer than {MAX_BYTES} bytes")
        data = file.read()
    with reading(path):
        return _snapshot(parse(data), path)


def _snapshot(model: Any, path: str) -> Snapshot:
    metadata, tensors = read_metadata(model), Tensors(path)
    functions = metadata.calls.functions
    others = [f for f in model.functions if f.domain != DOMAIN or f.name not in functions]
    digests = function_digests(others, tensors)
    file = File(tensors, metadata.calls, digests, metadata.is_parameter)
    rows = graph_rows(model.graph, file)
    if metadata.ours:
        _check_calls(rows, metadata)
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = inputs[0].type.tensor_type.shape.dim if inputs else ()
    batch = str(sizes[0].dim_param) if sizes else ""
    versions = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    versions.pop(DOMAIN, None)  # our own is no set of operators
    return Snapshot(
        source=printable(path),
        kind="ONNX",
        family="onnx",
        equations_known=metadata.ours,
        blocks=metadata.blocks,
        model=metadata.model,
        inputs=_signature(inputs, batch),
        outputs=_signature(model.graph.output, batch),
        parameters=metadata.parameters,
        opsets={printable(domain): version for domain, version in sorted(versions.items())},
        weights=rows.weights,
        level="onnx",
        nodes=tuple(rows.nodes),
        probes=metadata.probes,
        notes=tuple(_notes(metadata, rows, model)),
    )


def _check_calls(rows: Rows, metadata: Metadata) -> None:
    for node in rows.nodes:
        if node.operator.startswith(f"{DOMAIN}::"):
            name = shown(node.operator)
            raise ArtifactError(f"its graph calls {name}, of which its metadata tells nothing")
    for step in rows.steps:
        name = step.nodes[0].op_type
        if step.nodes[0].domain == DOMAIN and name in metadata.calls.gone:
            raise ArtifactError(f"its graph calls function {shown(name)}, which is missing")


def _notes(metadata: Metadata, rows: Rows, model: Any) -> Iterator[str]:
    if not metadata.ours:
        yield FOREIGN
        return
    alone = "by a tool: its nodes are compared one by one"
    gone = sorted({metadata.calls.functions[name] for name in metadata.calls.gone})
    notes = [f"the functions of block {path!r} were inlined {alone}" for path in gone]
    for name in rows.unclear:
        path = metadata.calls.flat[name].path
        notes.append(f"call {shown(name)} of block {path!r} was changed {alone}")
    notes += check_blocks(metadata, model, rows.steps)
    yield from notes[:_MOST_NOTES]
    if len(notes) > _MOST_NOTES:
        yield f"and {len(notes) - _MOST_NOTES} more such notes"


# --- arguments and results -----------------------------------------------------------------------


def _signature(values: Iterable[Any], batch: str) -> dict[str, Tensor]:
    """Inputs or outputs by name; `batch` is what the first size of the first input is called."""
    tensors: dict[str, Tensor] = {}
    for value in values:
        name = NAME.read(value.name)
        if name in tensors:
            raise ArtifactError(f"it has two inputs or outputs {shown(name)}")
        tensors[name] = _tensor(value.type, batch)
    return tensors


def _tensor(kind: Any, batch: str) -> Tensor:
    if kind.WhichOneof("value") != "tensor_type":
        return Tensor(str(kind.WhichOneof("value")).removesuffix("_type"), ())
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return Tensor(dtype_of(tensor.elem_type), UNKNOWN_RANK)
    shape: Shape = tuple(_size(size, k, batch) for k, size in enumerate(tensor.shape.dim))
    return Tensor(dtype_of(tensor.elem_type), shape)


def _size(dimension: Any, place: int, batch: str) -> int | str:
    """A number, or the name of a free size: exporters call the same one by other names."""
    if dimension.HasField("dim_value") and dimension.dim_value >= 0:
        return int(dimension.dim_value)
    name = dimension.dim_param
    if (name and name == batch) or (not name and place == 0):
        return _BATCH
    return printable(name, 100) or _UNNAMED
