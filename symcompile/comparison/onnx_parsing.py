"""Parse the bytes of an ONNX file in bounded memory.

Two bytes of a protobuf can stand for an object of a hundred, so what is in a file is counted along
its wire format before it is parsed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from symcompile.errors import ArtifactError

MAX_BYTES = 2**31 - 1  # what protobuf can hold
MAX_NODES = 200_000
MAX_FIELDS = 2_000_000  # 10 a node are usual
MAX_PACKED = 2**26  # bytes of whole numbers, of which each takes up to eight times that

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_NODE = "onnx.NodeProto"


def parse(data: bytes) -> Any:
    """The onnx.ModelProto that a file holds; nothing of it is run, and no other file is opened.

    Raises ArtifactError if it is no ONNX model, or too large.
    """
    import onnx

    if len(data) > MAX_BYTES:
        raise ArtifactError(f"it is longer than {MAX_BYTES} bytes")
    if data[:1] in b"{[<" or not data.strip(b"\0"):
        raise ArtifactError("it is no ONNX file")
    check_size(data)
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's own error class derives from Exception alone
        raise ArtifactError("it is no ONNX file, or a damaged one") from error
    if not model.HasField("graph") or model.ir_version < 1 or not model.opset_import:
        raise ArtifactError("it is no ONNX model, or only the beginning of one")
    return model


def check_size(data: bytes) -> None:
    """ArtifactError for what would take far more memory than the file itself."""
    import onnx

    open_parts = [(onnx.ModelProto.DESCRIPTOR, 0, len(data))]
    nodes = fields = packed = 0
    try:
        while open_parts:
            kind, at, end = open_parts.pop()
            messages, numbers = _layout(kind)
            nodes += kind.full_name == _NODE
            while at < end:
                tag, at = _varint(data, at)
                fields += 1
                if tag & 7 != _LENGTH:
                    at = _skipped(data, at, tag & 7)
                    continue
                length, at = _varint(data, at)
                inner = messages.get(tag >> 3)
                if inner is not None:
                    open_parts.append((inner, at, at + length))
                elif tag >> 3 in numbers:
                    packed += length
                at += length
                if at > end:
                    raise IndexError
                if fields > MAX_FIELDS or packed > MAX_PACKED:
                    raise ArtifactError(f"it holds more than {MAX_FIELDS} values")
            if nodes > MAX_NODES:
                raise ArtifactError(f"it has more than {MAX_NODES} nodes")
    except IndexError:
        raise ArtifactError("it is no ONNX file, or a damaged one") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while shift < 70:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
    raise IndexError


def _skipped(data: bytes, at: int, wire: int) -> int:
    if wire == _VARINT:
        return _varint(data, at)[1]
    if wire == _FIXED64:
        return at + 8
    if wire == _FIXED32:
        return at + 4
    raise IndexError  # groups, which ONNX has none of


@cache
def _layout(kind: Any) -> tuple[dict[int, Any], set[int]]:
    """Of a message: the types of the messages in it, and its fields of packed whole numbers."""
    messages, numbers = {}, set()
    for field in kind.fields:
        if field.type == field.TYPE_MESSAGE:
            messages[field.number] = field.message_type
        elif field.type not in (
            field.TYPE_STRING,
            field.TYPE_BYTES,
            field.TYPE_FLOAT,
            field.TYPE_DOUBLE,
        ):
            numbers.add(field.number)
    return messages, numbers
