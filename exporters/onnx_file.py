"""Write an ONNX file tensor by tensor: its weights are never in memory a second time.

A ModelProto holds all of its weights, and serializing one makes another copy. Here the model is
serialized without them, and each is put into the file when its turn comes: into the one message
that an ONNX file is, or, where that would pass the 2 GiB that protobuf allows, into a file of its
own beside it, `<name>.data`, as ONNX has it for such models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 2**31 - 1

# Tensors up to this stay in the model, since shapes are told from some of them.
_SMALL = 1024
# ONNX Runtime maps tensors into memory that begin on a page, those of Windows included.
_PAGE = 2**16

# Field numbers of onnx.proto, as tags of fields that hold bytes: number << 3 | 2.
_GRAPH, _INITIALIZER, _RAW_DATA = (number << 3 | 2 for number in (7, 5, 9))


def set_aside(model: Any) -> dict[str, Any]:
    """Take the values of the large initializers out of an onnx_ir.Model: by name, in order.

    What is left in their places has type and shape, and says that the values are elsewhere.
    """
    import onnx_ir

    weights = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor.nbytes > _SMALL:
            weights[name] = tensor
            value.const_value = onnx_ir.ExternalTensor(
                "weights", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name
            )
    return weights


def without_weights(proto: Any) -> Any:
    """The same graph as a model that is complete: what was set aside comes in as an input."""
    import onnx

    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    del plain.graph.initializer[:]
    for tensor in proto.graph.initializer:
        if tensor.external_data:
            plain.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            plain.graph.initializer.append(tensor)
    return plain


def write(proto: Any, weights: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a model whose weights were set aside. Returns what was written: the file, and before it
    that of the weights where they have one."""
    size = proto.ByteSize() + sum(
        tensor.nbytes + len(name) + 99 for name, tensor in weights.items()
    )
    if size <= MOST_BYTES:
        with path.open("wb") as file:
            _write_message(proto, weights, file)
        return [path]
    data = path.with_name(f"{path.name}.data")
    offsets = {}
    with data.open("wb") as file:
        for name, tensor in weights.items():
            file.seek(-file.tell() % _PAGE, 1)
            offsets[name] = file.tell()
            _write_values(tensor, file)
    for initializer in proto.graph.initializer:
        if initializer.external_data:
            del initializer.external_data[:]
            name = initializer.name
            place = {"location": data.name, "offset": offsets[name], "length": weights[name].nbytes}
            for key, value in place.items():
                initializer.external_data.add(key=key, value=str(value))
    path.write_bytes(proto.SerializeToString())
    return [data, path]


# --- one message -----------------------------------------------------------------------------


def _write_message(proto: Any, weights: Mapping[str, Any], file: BinaryIO) -> None:
    import onnx

    model, graph = onnx.ModelProto(), onnx.GraphProto()
    model.CopyFrom(proto)
    graph.CopyFrom(proto.graph)
    model.ClearField("graph")
    del graph.initializer[:]
    heads: dict[str, bytes] = {}
    for initializer in proto.graph.initializer:
        name = initializer.name
        if name in weights:
            heads[name] = _initializer_head(initializer, weights[name].nbytes)
        else:
            graph.initializer.append(initializer)
    body = graph.SerializeToString()
    size = len(body) + sum(len(head) + weights[name].nbytes for name, head in heads.items())
    file.write(model.SerializeToString() + _head(_GRAPH, size) + body)
    for name, head in heads.items():
        file.write(head)
        _write_values(weights[name], file)


def _initializer_head(proto: Any, nbytes: int) -> bytes:
    """What stands before the values of an initializer in the file of a model."""
    import onnx

    plain = onnx.TensorProto(dims=proto.dims, data_type=proto.data_type, name=proto.name)
    description = plain.SerializeToString() + _head(_RAW_DATA, nbytes)
    return _head(_INITIALIZER, len(description) + nbytes) + description


def _head(tag: int, length: int) -> bytes:
    """The tag of a field and the number of bytes in it."""
    return bytes([*_varint(tag), *_varint(length)])


def _varint(number: int) -> Iterator[int]:
    """Seven bits at a time, the lowest first; all but the last are marked."""
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number


def _write_values(tensor: Any, file: BinaryIO) -> None:
    data = tensor.tobytes()
    assert len(data) == tensor.nbytes
    file.write(data)
