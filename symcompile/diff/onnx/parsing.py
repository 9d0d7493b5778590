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
MAX_PACKED = 2**25  # bytes of whole numbers, of which each takes up to sixteen times that

_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}  # bytes by the type on the wire; groups, 3 and 4, ONNX has none of
_NODE = "onnx.NodeProto"
_DEEPEST = 200  # messages inside of each other; protobuf itself reads 100


def parse(data: bytes) -> Any:
    """The onnx.ModelProto that a file holds; nothing of it is run, and no other file is opened.

    Raises ArtifactError if it is no ONNX model, or too large.
    """
    import onnx

    if len(data) > MAX_BYTES:
        raise ArtifactError(f"it is longer than {MAX_BYTES} bytes")
    if data[:1] in b"{[<" or not data.strip(b"\0"):
        raise ArtifactError("it is no artifact, manifest or ONNX file")
    check_size(data)
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's own error class derives from Exception alone
        raise ArtifactError("it is no artifact, manifest or ONNX file, or a damaged one") from error
    if not model.HasField("graph") or model.ir_version < 1 or not model.opset_import:
        raise ArtifactError("it is no ONNX model, or only the beginning of one")
    return model


def check_size(data: bytes) -> None:
    """ArtifactError for what would take far more memory than the file itself."""
    try:
        _count(data)
    except (LookupError, UnicodeDecodeError):
        raise ArtifactError("it is no artifact, manifest or ONNX file, or a damaged one") from None


def _count(data: bytes) -> None:
    """Field by field; LookupError if one is damaged."""
    import onnx

    at = nodes = fields = packed = 0
    inside = [(_layout(onnx.ModelProto.DESCRIPTOR), len(data))]
    while inside:
        (messages, numbers, texts), end = inside[-1]
        if at == end:
            inside.pop()
            continue
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        fields += 1
        if wire == _VARINT:
            at = _varint(data, at)[1]
        elif wire != _LENGTH:
            at += _FIXED[wire]
        else:
            length, start = _varint(data, at)
            at = start + length
            if field in messages and at <= end and len(inside) <= _DEEPEST:
                nodes += messages[field].full_name == _NODE
                inside.append((_layout(messages[field]), at))
                at = start
            elif field in messages:
                raise IndexError
            elif field in texts:
                data[start:at].decode()
            elif field in numbers:
                packed += length
        if at > end:
            raise IndexError
        if nodes > MAX_NODES:
            raise ArtifactError(f"it has more than {MAX_NODES} nodes")
        if fields > MAX_FIELDS or packed > MAX_PACKED:
            raise ArtifactError(f"it holds more than {MAX_FIELDS} values")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise IndexError


@cache
def _layout(kind: Any) -> tuple[dict[int, Any], set[int], set[int]]:
    """Of a message: the types of the messages in it, its fields of whole numbers, and its texts."""
    messages: dict[int, Any] = {}
    numbers, texts = set(), set()
    for field in kind.fields:
        if field.type == field.TYPE_MESSAGE:
            messages[field.number] = field.message_type
        elif field.type == field.TYPE_STRING:
            texts.add(field.number)
        elif field.type not in (field.TYPE_BYTES, field.TYPE_FLOAT, field.TYPE_DOUBLE):
            numbers.add(field.number)
    return messages, numbers, texts
