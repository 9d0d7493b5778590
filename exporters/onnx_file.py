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
    kept = [one for one in plain.graph.initializer if not one.external_data]
    for one in plain.graph.initializer:
        if one.external_data:
            kind = onnx.helper.make_tensor_value_info(one.name, one.data_type, list(one.dims))
            plain.graph.input.append(kind)
    del plain.graph.initializer[:]
    plain.graph.initializer.extend(kept)
    return plain


def write(proto: Any, weights: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a model whose weights were set aside. Returns what was written: the file, and before it
    that of the weights where they have one."""
    size = proto.ByteSize() + sum(
        tensor.nbytes + len(name) + 99 for name, tensor in weights.items()
    )
    if size <= MOST_BYTES:
        with path.open("wb") as file:
            _write_whole(proto, weights, file)
        return [path]
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        places = _write_weights(weights, file)
    for one in proto.graph.initializer:
        if one.external_data:
            del one.external_data[:]
            offset, length = places[one.name]
            for key, value in (("location", data.name), ("offset", offset), ("length", length)):
                one.external_data.add(key=key, value=str(value))
    path.write_bytes(proto.SerializeToString())
    return [data, path]


# --- one message -----------------------------------------------------------------------------


def _write_whole(proto: Any, weights: Mapping[str, Any], file: BinaryIO) -> None:
    import onnx

    model, graph = onnx.ModelProto(), onnx.GraphProto()
    model.CopyFrom(proto)
    graph.CopyFrom(proto.graph)
    model.ClearField("graph")
    del graph.initializer[:]
    small = [one for one in proto.graph.initializer if one.name not in weights]
    graph.initializer.extend(small)
    large = [one for one in proto.graph.initializer if one.name in weights]
    heads = [_initializer_head(one, weights[one.name].nbytes) for one in large]
    body = graph.SerializeToString()
    size = len(body) + sum(map(len, heads)) + sum(weights[one.name].nbytes for one in large)
    file.write(model.SerializeToString() + _head(_GRAPH, size) + body)
    for one, head in zip(large, heads, strict=True):
        file.write(head)
        _write_values(weights[one.name], file)


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


# --- weights of their own ------------------------------------------------------------------------


def _write_weights(weights: Mapping[str, Any], file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Where each tensor begins, and how many bytes it has."""
    places = {}
    for name, tensor in weights.items():
        file.seek(-file.tell() % _PAGE, 1)
        places[name] = (file.tell(), tensor.nbytes)
        _write_values(tensor, file)
    return places
